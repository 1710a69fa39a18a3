//! The run folder itself: made, opened again, locked against a second process.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use ddae_base::files::write_whole;
use ddae_base::lock;
use ddae_base::plain;
use ddae_model::config::RunConfig;

use crate::TrainError;

/// What a run leaves in its folder; `--force` removes these and nothing else.
const FILES: [&str; 3] = ["config.yaml", "log.txt", "stats.jsonl"];
const FOLDERS: [&str; 3] = ["checkpoints", "samples", "tensorboard"];

/// A run folder that is this process's.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    log: File,
    start: Instant,
}

impl RunFolder {
    /// Makes the folder of a new run.
    ///
    /// # Errors
    /// When the folder is not empty, unless `force` is set and it holds an earlier run, which is removed.
    pub fn create(path: &Path, force: bool) -> Result<RunFolder, TrainError> {
        match fs::read_dir(path) {
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(TrainError::io(path)(e)),
            Ok(mut entries) => {
                let message = match (entries.next().is_some(), holds_run(path)?, force) {
                    (false, ..) => None,
                    (true, true, false) => {
                        Some("holds a run already: go on with --resume, or replace it with --force")
                    }
                    (true, true, true) => {
                        RunFolder::lock(path)?.remove_run()?;
                        None
                    }
                    (true, false, _) => Some("is not empty and holds no run: give another folder with --run"),
                };
                if let Some(message) = message {
                    let (path, message) = (path.to_path_buf(), message.to_string());
                    return Err(TrainError::Folder { path, message });
                }
            }
        }
        for name in ["", FOLDERS[0], FOLDERS[1], FOLDERS[2]] {
            let folder = path.join(name);
            fs::create_dir_all(&folder).map_err(TrainError::io(&folder))?;
        }
        RunFolder::lock(path)
    }

    /// Opens the folder of an earlier run.
    ///
    /// # Errors
    /// When it holds no run, or another process is at work in it.
    pub fn open(path: &Path) -> Result<RunFolder, TrainError> {
        RunFolder::expect(path)?;
        RunFolder::lock(path)
    }

    /// Refuses a folder in which there is no run.
    ///
    /// # Errors
    /// When it holds no run.
    pub fn expect(path: &Path) -> Result<(), TrainError> {
        if path.join("checkpoints").is_dir() {
            return Ok(());
        }
        let message = "holds no run to resume: start one without --resume".to_string();
        Err(TrainError::Folder { path: path.to_path_buf(), message })
    }

    /// The log is the lock: the system gives it back however the process ends.
    fn lock(path: &Path) -> Result<RunFolder, TrainError> {
        let log_path = path.join("log.txt");
        let log =
            File::options().append(true).create(true).open(&log_path).map_err(TrainError::io(&log_path))?;
        let path = path.to_path_buf();
        match lock::try_acquire(&log).map_err(TrainError::io(&log_path))? {
            true => Ok(RunFolder { path, log, start: Instant::now() }),
            false => {
                let message = "another process is training in this folder".to_string();
                Err(TrainError::Folder { path, message })
            }
        }
    }

    fn remove_run(&self) -> Result<(), TrainError> {
        for name in FOLDERS {
            let folder = self.path.join(name);
            gone(fs::remove_dir_all(&folder)).map_err(TrainError::io(&folder))?;
        }
        for name in FILES {
            let file = self.path.join(name);
            gone(fs::remove_file(&file)).map_err(TrainError::io(&file))?;
        }
        Ok(())
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `checkpoints/`.
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join(FOLDERS[0])
    }

    /// `samples/`.
    pub fn samples(&self) -> PathBuf {
        self.path.join(FOLDERS[1])
    }

    /// `tensorboard/`.
    pub fn tensorboard(&self) -> PathBuf {
        self.path.join(FOLDERS[2])
    }

    /// `stats.jsonl`.
    pub fn stats(&self) -> PathBuf {
        self.path.join("stats.jsonl")
    }

    /// Writes `config.yaml`.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn write_config(&self, config: &RunConfig) -> Result<(), TrainError> {
        let config = config.to_yaml();
        Ok(write_whole(&self.path.join("config.yaml"), |out| out.write_all(config.as_bytes()))?)
    }

    /// Adds a line to `log.txt`, with the seconds since the process began.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn log(&mut self, line: &str) -> Result<(), TrainError> {
        let line = format!("[{:9.1} s] {}\n", self.start.elapsed().as_secs_f64(), plain(line));
        self.log.write_all(line.as_bytes()).map_err(TrainError::io(&self.path.join("log.txt")))
    }
}

/// Whether a run has been in the folder: one that has left all its files, or one that ended while it began and left
/// nothing else.
fn holds_run(path: &Path) -> Result<bool, TrainError> {
    if FILES.iter().all(|name| path.join(name).is_file()) {
        return Ok(true);
    }
    let mut is_only_a_run = path.join("log.txt").is_file();
    for entry in fs::read_dir(path).map_err(TrainError::io(path))? {
        let name = entry.map_err(TrainError::io(path))?.file_name().to_string_lossy().into_owned();
        let name = name.strip_suffix(".partial").unwrap_or(&name);
        is_only_a_run &= FILES.contains(&name) || FOLDERS.contains(&name);
    }
    Ok(is_only_a_run)
}

/// What is not there need not be removed.
fn gone(removed: std::io::Result<()>) -> std::io::Result<()> {
    removed.or_else(|e| if e.kind() == ErrorKind::NotFound { Ok(()) } else { Err(e) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(result: Result<RunFolder, TrainError>) -> String {
        result.expect_err("refused").to_string()
    }

    #[test]
    fn a_run_is_not_overwritten_unless_forced() {
        let parent = tempfile::tempdir().expect("a folder");
        let path = parent.path().join("run");
        let run = RunFolder::create(&path, false).expect("created");
        fs::write(run.stats(), "").expect("written");
        fs::write(path.join("config.yaml"), "").expect("written");
        fs::write(run.checkpoints().join("latest.safetensors"), "x").expect("written");
        fs::write(path.join("notes.txt"), "mine").expect("written");
        let busy = refusal(RunFolder::open(&path));
        assert!(busy.ends_with("another process is training in this folder"), "{busy}");
        drop(run);
        let text = refusal(RunFolder::create(&path, false));
        assert!(text.ends_with("go on with --resume, or replace it with --force"), "{text}");
        let run = RunFolder::create(&path, true).expect("replaced");
        assert!(!run.checkpoints().join("latest.safetensors").exists());
        assert_eq!(fs::read_to_string(path.join("notes.txt")).expect("kept"), "mine");
    }

    #[test]
    fn a_folder_of_other_things_is_refused_even_when_forced() {
        let path = tempfile::tempdir().expect("a folder");
        fs::create_dir(path.path().join("samples")).expect("created");
        let text = refusal(RunFolder::create(path.path(), true));
        assert!(text.ends_with("holds no run: give another folder with --run"), "{text}");
        assert!(path.path().join("samples").is_dir());
    }

    #[test]
    fn a_run_that_ended_while_it_began_can_be_replaced() {
        let path = tempfile::tempdir().expect("a folder");
        drop(RunFolder::create(path.path(), false).expect("created"));
        let text = refusal(RunFolder::create(path.path(), false));
        assert!(text.ends_with("go on with --resume, or replace it with --force"), "{text}");
        drop(RunFolder::create(path.path(), true).expect("replaced"));
        fs::write(path.path().join("notes.txt"), "mine").expect("written");
        let text = refusal(RunFolder::create(path.path(), true));
        assert!(text.ends_with("holds no run: give another folder with --run"), "{text}");
    }

    #[test]
    fn nothing_is_resumed_where_no_run_is() {
        let path = tempfile::tempdir().expect("a folder");
        let text = refusal(RunFolder::open(path.path()));
        assert!(text.ends_with("holds no run to resume: start one without --resume"), "{text}");
        assert!(!path.path().join("log.txt").exists());
    }
}
