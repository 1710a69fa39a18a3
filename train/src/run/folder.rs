//! The run folder itself: made, opened again, locked against a second process.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ddae_base::files::{append, clear_leftovers, output_left, write_whole};
use ddae_base::lock;
use ddae_base::plain;
use ddae_checkpoint::is_checkpoint_name;
use ddae_model::config::RunConfig;

use super::checkpoints::is_set_aside;
use crate::TrainError;

/// What a run leaves in its folder; `--force` removes these and nothing else.
const FILES: [&str; 3] = ["config.yaml", LOG, "stats.jsonl"];
const LOG: &str = "log.txt";
/// How long another look is taken at a log that is locked.
const PATIENCE: Duration = Duration::from_millis(200);
const FOLDERS: [&str; 3] = ["checkpoints", "samples", "tensorboard"];

/// The sheet of images after so many epochs of the run in a folder.
pub(crate) fn sheet(run: &Path, epoch: u64) -> PathBuf {
    run.join(FOLDERS[1]).join(format!("epoch_{epoch:04}.png"))
}

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
    /// When the folder holds a run, unless `force` is set, which removes it; when it holds something else, or files
    /// that no run made where those of the run are.
    pub fn create(path: &Path, force: bool) -> Result<RunFolder, TrainError> {
        let refuse = |message: &str| {
            Err(TrainError::Folder { path: path.to_path_buf(), message: message.to_string() })
        };
        match holds(path)? {
            Holds::Other => return refuse("is not empty and holds no run: give another folder with --run"),
            Holds::Run if !force => {
                return refuse("holds a run already: go on with --resume, or replace it with --force");
            }
            Holds::Run | Holds::Nothing => {}
        }
        fs::create_dir_all(path).map_err(TrainError::io(path))?;
        // The log comes first: what a process leaves that is ended while it begins is known as a run by it.
        let run = RunFolder::lock(path)?;
        if force {
            run.remove_run()?;
        }
        run.make_folders()?;
        run.clear()?;
        Ok(run)
    }

    /// Opens the folder of an earlier run.
    ///
    /// # Errors
    /// When it holds no run, or another process is at work in it.
    pub fn open(path: &Path) -> Result<RunFolder, TrainError> {
        RunFolder::expect(path)?;
        let run = RunFolder::lock(path)?;
        run.make_folders()?;
        run.clear()?;
        Ok(run)
    }

    fn make_folders(&self) -> Result<(), TrainError> {
        for name in FOLDERS {
            let folder = self.path.join(name);
            fs::create_dir_all(&folder).map_err(TrainError::io(&folder))?;
        }
        Ok(())
    }

    /// Whether a run was begun in a folder: the log is the first that a run writes.
    pub fn is_begun(path: &Path) -> bool {
        path.join(LOG).is_file()
    }

    /// Whether the log has a line that says so: what follows its time begins with `start`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn has_said(&self, start: &str) -> Result<bool, TrainError> {
        let path = self.path.join(LOG);
        let says = |line: Vec<u8>| {
            let line = String::from_utf8_lossy(&line).into_owned();
            line.split_once("] ").is_some_and(|(_, said)| said.starts_with(start))
        };
        let lines = BufReader::new(File::open(&path).map_err(TrainError::io(&path))?).split(b'\n');
        for line in lines {
            if says(line.map_err(TrainError::io(&path))?) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Refuses a folder in which there is no run.
    ///
    /// # Errors
    /// When it holds no run.
    pub fn expect(path: &Path) -> Result<(), TrainError> {
        if path.join("checkpoints").is_dir() || matches!(holds(path)?, Holds::Run) {
            return Ok(());
        }
        let message = "holds no run to resume: start one without --resume".to_string();
        Err(TrainError::Folder { path: path.to_path_buf(), message })
    }

    /// The log is the lock: the system gives it back however the process ends.
    fn lock(path: &Path) -> Result<RunFolder, TrainError> {
        let log_path = path.join(LOG);
        let log = append(&log_path)?;
        let path = path.to_path_buf();
        let attempt = || lock::try_acquire(&log).map_err(TrainError::io(&log_path));
        // Who looks whether a run is running has its log for a moment.
        let is_mine = attempt()? || {
            std::thread::sleep(PATIENCE);
            attempt()?
        };
        match is_mine {
            true => Ok(RunFolder { path, log, start: Instant::now() }),
            false => {
                let message = "another process is training in this folder".to_string();
                Err(TrainError::Folder { path, message })
            }
        }
    }

    /// Removes the run that was here, and nothing that no run makes. The log stays, emptied: it is the lock.
    fn remove_run(&self) -> Result<(), TrainError> {
        let mut made = Vec::new();
        for name in FOLDERS {
            let folder = self.path.join(name);
            let entries = match fs::read_dir(&folder) {
                Err(e) if e.kind() == ErrorKind::NotFound => continue,
                entries => entries.map_err(TrainError::io(&folder))?,
            };
            for entry in entries {
                let entry = entry.map_err(TrainError::io(&folder))?;
                let file_name = entry.file_name();
                let is_own =
                    output_left(&file_name).unwrap_or(&file_name).to_str().is_some_and(|n| is_made(name, n));
                if !is_own || entry.file_type().map_err(TrainError::io(&folder))?.is_dir() {
                    let message = format!(
                        "--force removes an old run and nothing else, and {name}/{} is of no run: move it away, or give \
                         another folder with --run",
                        file_name.display()
                    );
                    return Err(TrainError::Folder { path: self.path.clone(), message });
                }
                made.push(entry.path());
            }
        }
        let files = FILES.iter().filter(|name| **name != LOG).map(|name| self.path.join(name));
        for file in made.into_iter().chain(files) {
            gone(fs::remove_file(&file)).map_err(TrainError::io(&file))?;
        }
        self.log.set_len(0).map_err(TrainError::io(&self.path.join(LOG)))
    }

    /// Removes what processes left here that were ended while they wrote.
    fn clear(&self) -> Result<(), TrainError> {
        clear_leftovers(&self.path, |name| FILES.contains(&name))?;
        for name in FOLDERS {
            let folder = self.path.join(name);
            if folder.is_dir() {
                clear_leftovers(&folder, |file| is_made(name, file))?;
            }
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
        self.log.write_all(line.as_bytes()).map_err(TrainError::io(&self.path.join(LOG)))
    }
}

/// What a folder is good for.
enum Holds {
    /// It is not there, or empty but for empty folders that a run would make.
    Nothing,
    /// An earlier run: all its files, or those of one that was ended while it began, and nothing else.
    Run,
    /// Something else.
    Other,
}

fn holds(path: &Path) -> Result<Holds, TrainError> {
    let entries = match fs::read_dir(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Holds::Nothing),
        entries => entries.map_err(TrainError::io(path))?,
    };
    if FILES.iter().all(|name| path.join(name).is_file()) {
        return Ok(Holds::Run);
    }
    let (mut is_of_a_run, mut is_empty) = (path.join(LOG).is_file(), true);
    for entry in entries {
        let name = entry.map_err(TrainError::io(path))?.file_name();
        let name = name.to_string_lossy();
        let is_folder = FOLDERS.contains(&&*name);
        let left = output_left(name.as_ref().as_ref()).and_then(|output| output.to_str());
        is_of_a_run &= is_folder || FILES.contains(&left.unwrap_or(&name));
        is_empty &= is_folder && is_empty_folder(&path.join(&*name));
    }
    Ok(match is_empty {
        true => Holds::Nothing,
        false if is_of_a_run => Holds::Run,
        false => Holds::Other,
    })
}

fn is_empty_folder(path: &Path) -> bool {
    fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none())
}

/// Whether a file is named like those that a run makes in one of its folders.
fn is_made(folder: &str, name: &str) -> bool {
    let is_numbered = |end: &str| {
        let epoch = name.strip_prefix("epoch_").and_then(|rest| rest.strip_suffix(end));
        epoch.is_some_and(|epoch| epoch.len() >= 4 && epoch.bytes().all(|digit| digit.is_ascii_digit()))
    };
    match folder {
        "checkpoints" => is_checkpoint_name(name) || is_set_aside(name),
        "samples" => is_numbered(".png"),
        _ => name.starts_with("events.out.tfevents.") && name.ends_with(".ddae"),
    }
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
        fs::write(path.path().join("samples/mine.png"), "mine").expect("written");
        let text = refusal(RunFolder::create(path.path(), true));
        assert!(text.ends_with("holds no run: give another folder with --run"), "{text}");
        assert!(path.path().join("samples/mine.png").is_file());
    }

    /// Wherever a process is ended while it makes the folder, also one of an earlier version, which made the folders
    /// first.
    #[test]
    fn a_folder_that_was_only_begun_can_be_used() {
        let (log, config) =
            (&["log.txt"][..], &["log.txt", "config.yaml.lock", "config.yaml.0123456789abcdef.partial"]);
        for (folders, files) in [
            (&[][..], &[][..]),
            (&["checkpoints"], &[]),
            (&["checkpoints", "samples"], &[]),
            (&["checkpoints", "samples", "tensorboard"], &[]),
            (&[], log),
            (&["checkpoints"], log),
            (&["checkpoints", "samples", "tensorboard"], log),
            (&["checkpoints", "samples", "tensorboard"], config),
        ] {
            let path = tempfile::tempdir().expect("a folder");
            for folder in folders {
                fs::create_dir(path.path().join(folder)).expect("created");
            }
            for file in files {
                fs::write(path.path().join(file), "").expect("written");
            }
            let run = RunFolder::create(path.path(), !files.is_empty()).expect("used");
            assert!(
                run.checkpoints().is_dir()
                    && run.path().join("samples").is_dir()
                    && run.tensorboard().is_dir()
            );
            assert_eq!(fs::read_dir(path.path()).expect("a folder").count(), 4, "{folders:?} {files:?}");
        }
    }

    #[test]
    fn an_old_run_makes_way_only_where_nothing_else_is_lost() {
        let path = tempfile::tempdir().expect("a folder");
        let run = RunFolder::create(path.path(), false).expect("created");
        let own = [
            run.checkpoints().join("epoch_0010.safetensors"),
            run.checkpoints().join("epoch_0020.safetensors.1"),
            run.checkpoints().join("latest.safetensors.0123456789abcdef.partial"),
            sheet(run.path(), 12345),
            run.tensorboard().join("events.out.tfevents.1.5.7.ddae"),
        ];
        drop(run);
        for mine in [
            "checkpoints/best.safetensors",
            "checkpoints/best.safetensors.1",
            "checkpoints/epoch_0010.safetensors.old",
            "samples/epoch_0010.png.txt",
            "tensorboard/events",
            "samples/x/y",
        ] {
            let mine = path.path().join(mine);
            fs::create_dir_all(mine.parent().expect("a folder")).expect("created");
            own.iter().chain([&mine]).for_each(|file| fs::write(file, "x").expect("written"));
            let text = refusal(RunFolder::create(path.path(), true));
            assert!(text.contains("is of no run: move it away, or give another folder with --run"), "{text}");
            assert!(own.iter().chain([&mine]).all(|file| file.is_file()), "{text}");
            fs::remove_file(&mine).expect("removed");
        }
        fs::remove_dir(path.path().join("samples/x")).expect("removed");
        drop(RunFolder::create(path.path(), true).expect("replaced"));
        assert!(own.iter().all(|file| !file.exists()));
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
    fn a_run_that_ended_while_it_began_can_be_opened() {
        let path = tempfile::tempdir().expect("a folder");
        fs::write(path.path().join("log.txt"), "[      0.0 s] start       with the weights of a\n")
            .expect("written");
        let run = RunFolder::open(path.path()).expect("opened");
        assert!(run.checkpoints().is_dir() && RunFolder::is_begun(path.path()));
        assert!(run.has_said("start       with").expect("read"));
        assert!(!run.has_said("with the weights").expect("read"));
    }

    #[test]
    fn nothing_is_resumed_where_no_run_is() {
        let path = tempfile::tempdir().expect("a folder");
        let text = refusal(RunFolder::open(path.path()));
        assert!(text.ends_with("holds no run to resume: start one without --resume"), "{text}");
        assert!(!path.path().join("log.txt").exists());
    }
}
