//! A folder in which a test runs programs.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ddae_tests::programs::{self, Ended, Program, Running};
use ddae_tests::refusals::{refused, snapshot};
use tempfile::TempDir;

const PREFIX: &str = "ddae-e2e-";
/// No run of the tests takes that long.
const OUTDATED: Duration = Duration::from_secs(3600);

/// A folder of its own for a test, taken away at its end.
#[derive(Debug)]
pub struct Place {
    folder: TempDir,
}

impl Place {
    /// An empty folder.
    pub fn new() -> Place {
        Place { folder: TempDir::with_prefix(PREFIX).expect("a temporary folder") }
    }

    /// An empty folder for what many tests share, which nobody takes away at the end: it lies where cargo keeps what
    /// tests leave. Those of earlier runs are removed.
    pub fn lasting() -> Place {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR"));
        for entry in fs::read_dir(root).into_iter().flatten().flatten() {
            let is_ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
            let modified = entry.metadata().and_then(|metadata| metadata.modified());
            let age = modified.ok().and_then(|modified| modified.elapsed().ok());
            if is_ours && age.is_some_and(|age| age > OUTDATED) {
                // Another process may be doing the same.
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        Place { folder: TempDir::with_prefix_in(PREFIX, root).expect("a temporary folder") }
    }

    /// The path of something in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file, in folders that are made if need be.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a folder above")).expect("a new folder");
        fs::write(&path, bytes).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }

    /// Reads a file.
    #[track_caller]
    pub fn read(&self, name: &str) -> Vec<u8> {
        read(&self.path(name))
    }

    /// Reads a text.
    #[track_caller]
    pub fn text(&self, name: &str) -> String {
        String::from_utf8(self.read(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    /// Copies a file, or a folder with everything in it, from another place.
    pub fn bring(&self, from: &Place, name: &str) {
        copy(&from.path(name), &self.path(name));
    }

    /// A command line as one types it (without quoting), to be run here: its first word is one of our programs.
    pub fn command(&self, line: &str) -> Command {
        let mut words = line.split_whitespace();
        let name = words.next().unwrap_or_default();
        let program = Program::named(name).unwrap_or_else(|| panic!("'{name}' is none of our programs"));
        let mut command = program.command();
        command.args(words).current_dir(self.folder.path());
        command
    }

    /// Runs a command line to its end.
    #[track_caller]
    pub fn run(&self, line: &str) -> Ended {
        programs::run(&mut self.command(line))
    }

    /// Runs a command line that must succeed; gives what it prints.
    #[track_caller]
    pub fn done(&self, line: &str) -> String {
        self.run(line).success().to_string()
    }

    /// Starts a command line.
    #[track_caller]
    pub fn start(&self, line: &str) -> Running {
        Running::start(&mut self.command(line))
    }

    /// Names of all files below the folder `name` (all here: an empty name), sorted; folders end with a slash.
    pub fn names(&self, name: &str) -> Vec<String> {
        snapshot(&self.path(name)).into_keys().collect()
    }

    /// All files here with their contents, folders with none.
    pub fn snapshot(&self) -> BTreeMap<String, Option<Vec<u8>>> {
        snapshot(self.folder.path())
    }

    /// Command lines that fail ([`ddae_tests::refusals::refused`]).
    #[track_caller]
    pub fn refuses<L: AsRef<str>, W: AsRef<str>>(&self, cases: impl IntoIterator<Item = (i32, L, W)>) {
        refused(self.folder.path(), |line| self.run(line), cases);
    }
}

/// Reads a file.
#[track_caller]
pub fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn copy(from: &Path, to: &Path) {
    if !from.is_dir() {
        fs::create_dir_all(to.parent().expect("a folder above")).expect("a new folder");
        fs::copy(from, to).unwrap_or_else(|e| panic!("{}: {e}", from.display()));
        return;
    }
    fs::create_dir_all(to).expect("a new folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        copy(&entry.path(), &to.join(entry.file_name()));
    }
}
