//! The run folder itself: made, opened again, locked against a second process.

use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use ddae_model::config::Config;

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
                let is_run = FILES.iter().all(|name| path.join(name).is_file());
                let message = match (entries.next().is_some(), is_run, force) {
                    (false, ..) => None,
                    (true, true, false) => {
                        Some("holds a run already: go on with --resume, or replace it with --force")
                    }
                    (true, true, true) => {
                        let old = RunFolder::open(path)?;
                        old.remove_run()?;
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
        if !path.join("checkpoints").is_dir() {
            let message = "holds no run to resume: start one without --resume".to_string();
            return Err(TrainError::Folder { path: path.to_path_buf(), message });
        }
        RunFolder::lock(path)
    }

    /// The log is the lock: the system gives it back however the process ends.
    fn lock(path: &Path) -> Result<RunFolder, TrainError> {
        let log_path = path.join("log.txt");
        let log =
            File::options().append(true).create(true).open(&log_path).map_err(TrainError::io(&log_path))?;
        match log.try_lock() {
            Ok(()) => Ok(RunFolder { path: path.to_path_buf(), log, start: Instant::now() }),
            Err(TryLockError::WouldBlock) => {
                let message = "another process is training in this folder".to_string();
                Err(TrainError::Folder { path: path.to_path_buf(), message })
            }
            Err(TryLockError::Error(e)) => Err(TrainError::io(&log_path)(e)),
        }
    }

    fn remove_run(&self) -> Result<(), TrainError> {
        for name in FOLDERS {
            let folder = self.path.join(name);
            match fs::remove_dir_all(&folder) {
                Err(e) if e.kind() != ErrorKind::NotFound => return Err(TrainError::io(&folder)(e)),
                _ => {}
            }
        }
        for name in FILES {
            let file = self.path.join(name);
            fs::remove_file(&file).map_err(TrainError::io(&file))?;
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
    pub fn write_config(&self, config: &Config) -> Result<(), TrainError> {
        let path = self.path.join("config.yaml");
        let partial = path.with_extension("yaml.partial");
        fs::write(&partial, config.to_yaml())
            .and_then(|()| fs::rename(&partial, &path))
            .map_err(TrainError::io(&path))
    }

    /// Adds a line to `log.txt`, with the seconds since the process began.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn log(&mut self, line: &str) -> Result<(), TrainError> {
        let line = format!("[{:9.1} s] {line}\n", self.start.elapsed().as_secs_f64());
        self.log.write_all(line.as_bytes()).map_err(TrainError::io(&self.path.join("log.txt")))
    }
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
    fn nothing_is_resumed_where_no_run_is() {
        let path = tempfile::tempdir().expect("a folder");
        let text = refusal(RunFolder::open(path.path()));
        assert!(text.ends_with("holds no run to resume: start one without --resume"), "{text}");
        assert!(!path.path().join("log.txt").exists());
    }
}
