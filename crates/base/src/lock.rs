//! One process at a time for one output.
//!
//! Two processes that write the same output would replace each other's work. A lock is held by the process, not by the
//! file: it ends with the process, however that ends. Where the file system has no locks, there is no protection.
//!
//! The lock on the output `NAME` is on an empty file `NAME.lock` beside it, which is there while it is held. One that is
//! there and not held is of a process that was ended by force; who takes it over removes what that left of the output.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::files::{self, FileError, with_suffix};

/// What is said of an output that another process has.
const IN_USE: &str = "another process is writing here; wait for it, or choose another output";

/// Why there is no lock.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("{}: {IN_USE}", path.display())]
    InUse {
        /// The file or folder.
        path: PathBuf,
    },
    /// The system refuses, or the output cannot be written: see [`files::target()`].
    #[error(transparent)]
    File(#[from] FileError),
}

impl LockError {
    /// The same as an error of writing the output.
    pub fn into_file_error(self) -> FileError {
        match self {
            LockError::File(error) => error,
            LockError::InUse { path } => {
                FileError { action: "write", path, source: io::Error::new(ErrorKind::ResourceBusy, IN_USE) }
            }
        }
    }
}

/// A lock that is held until this is dropped.
#[derive(Debug)]
pub struct Lock {
    file: File,
    /// The output as it was given, or the folder.
    path: PathBuf,
    /// The file that is replaced.
    target: PathBuf,
    /// The file made for the lock, removed at the end; for a folder itself.
    lock: PathBuf,
    is_made: bool,
    is_sure: bool,
}

impl Lock {
    /// Locks a folder.
    ///
    /// # Errors
    /// When another process holds it, or it cannot be opened.
    pub fn folder(path: &Path) -> Result<Lock, LockError> {
        let file = File::open(path).map_err(FileError::of("open", path))?;
        let is_sure = held(file.try_lock(), path)?;
        let [target, lock, path] = [(); 3].map(|()| path.to_path_buf());
        Ok(Lock { file, path, target, lock, is_made: false, is_sure })
    }

    /// Locks a folder against those that want it for themselves ([`Lock::folder`]), and not against others that share it.
    ///
    /// # Errors
    /// When a process has it for itself, or it cannot be opened.
    pub fn shared_folder(path: &Path) -> Result<Lock, LockError> {
        let file = File::open(path).map_err(FileError::of("open", path))?;
        let is_sure = held(file.try_lock_shared(), path)?;
        let [target, lock, path] = [(); 3].map(|()| path.to_path_buf());
        Ok(Lock { file, path, target, lock, is_made: false, is_sure })
    }

    /// Locks the output `path`, which need not exist, by a file `NAME.lock` beside it; for a link to a file, that file.
    ///
    /// # Errors
    /// When another process holds it, the output can be no file ([`files::target()`]), or the lock cannot be made.
    pub fn output(path: &Path) -> Result<Lock, LockError> {
        Lock::new(path, files::target(path)?)
    }

    /// The same for a name, whatever it leads to.
    pub(crate) fn name(path: &Path) -> Result<Lock, LockError> {
        Lock::new(path, path.to_path_buf())
    }

    fn new(path: &Path, target: PathBuf) -> Result<Lock, LockError> {
        let error = || FileError::of("write", path);
        let lock = lock_of(&target);
        loop {
            let opened = open(&lock).map_err(|source| refusal(path, &lock, source))?;
            // None: its last holder removed the file meanwhile.
            let Some((file, is_new)) = opened else { continue };
            let found = file.metadata().map_err(error())?;
            if !found.is_file() || found.len() > 0 {
                return Err(foreign(path, &lock).into());
            }
            let is_sure = held(file.try_lock(), path)?;
            // Its last holder may have removed the file in the meantime; then the lock is on one that no other process
            // will find.
            if is_same(&file, &lock).map_err(error())? {
                if !is_new && is_sure {
                    files::clear(&target);
                }
                return Ok(Lock { file, path: path.to_path_buf(), target, lock, is_made: true, is_sure });
            }
        }
    }

    /// Whether there is a lock on the file `path`, which is no link: held, or left by a process that was ended by force.
    pub fn is_there(path: &Path) -> bool {
        fs::symlink_metadata(lock_of(path)).is_ok()
    }

    /// The output as it was given, or the folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file that is replaced: the output, or what it is a link to.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// The lock's own file, or the folder: for who ends the process without dropping this.
    pub fn file_path(&self) -> &Path {
        &self.lock
    }

    /// Whether the file system has locks, so that nobody else holds this one.
    pub(crate) fn is_sure(&self) -> bool {
        self.is_sure
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Removed while it is held. What fails here leaves an empty file that the next holder takes over.
        if self.is_made && is_same(&self.file, &self.lock).unwrap_or(false) {
            let _ = fs::remove_file(&self.lock);
        }
        let _ = self.file.unlock();
    }
}

fn lock_of(target: &Path) -> PathBuf {
    with_suffix(target, ".lock")
}

/// Locks an open file until it is closed. `false` when another process has it.
///
/// # Errors
/// When the system refuses, unless because the file system has no locks.
pub fn try_acquire(file: &File) -> io::Result<bool> {
    Ok(outcome(file.try_lock())?.is_some())
}

/// The same, waiting for the process that has it.
///
/// # Errors
/// Like [`try_acquire`].
pub fn acquire(file: &File) -> io::Result<()> {
    file.lock().or_else(|error| if error.kind() == ErrorKind::Unsupported { Ok(()) } else { Err(error) })
}

/// `None` when another process has it; otherwise whether there are locks at all.
fn outcome(attempt: Result<(), TryLockError>) -> io::Result<Option<bool>> {
    match attempt {
        Ok(()) => Ok(Some(true)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => Ok(Some(false)),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Whether there are locks at all.
fn held(attempt: Result<(), TryLockError>, path: &Path) -> Result<bool, LockError> {
    let outcome = outcome(attempt).map_err(FileError::of("lock", path))?;
    outcome.ok_or_else(|| LockError::InUse { path: path.to_path_buf() })
}

/// Opens the file of a lock, and makes it if there is none; then the second is true. Links are not followed, and what is
/// no regular file is not waited for. `None` when it went away in between.
fn open(lock: &Path) -> io::Result<Option<(File, bool)>> {
    match OpenOptions::new().write(true).create_new(true).open(lock) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
            match OpenOptions::new().write(true).custom_flags(flags).open(lock) {
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
                opened => Ok(Some((opened?, false))),
            }
        }
        made => Ok(Some((made?, true))),
    }
}

/// What the system's refusal to open a lock means.
fn refusal(path: &Path, lock: &Path, source: io::Error) -> FileError {
    match fs::symlink_metadata(lock) {
        Ok(found) if !found.is_file() => foreign(path, lock),
        _ => FileError { action: "write", path: path.to_path_buf(), source },
    }
}

/// That something else has the name of the lock.
fn foreign(path: &Path, lock: &Path) -> FileError {
    let message =
        format!("{} is there and is no lock; move it away, or choose another output", lock.display());
    FileError { action: "write", path: path.to_path_buf(), source: io::Error::other(message) }
}

/// Whether `path` names the open file, itself and not by a link.
pub(crate) fn is_same(file: &File, path: &Path) -> io::Result<bool> {
    let open = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(named) => Ok((open.dev(), open.ino()) == (named.dev(), named.ino())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn an_output_has_one_holder_and_nothing_is_left() {
        let root = tempfile::tempdir().expect("a folder");
        let output = root.path().join("train.h5");
        assert!(!Lock::is_there(&output));
        let held = Lock::output(&output).expect("free");
        assert!(Lock::is_there(&output));
        assert!(matches!(Lock::output(&output), Err(LockError::InUse { path }) if path == output));
        drop(held);
        drop(Lock::output(&output).expect("free again"));
        assert_eq!(fs::read_dir(root.path()).expect("a folder").count(), 0);
    }

    #[test]
    fn a_folder_has_one_holder() {
        let root = tempfile::tempdir().expect("a folder");
        let held = Lock::folder(root.path()).expect("free");
        assert!(Lock::folder(root.path()).is_err());
        drop(held);
        Lock::folder(root.path()).expect("free again");
    }

    #[test]
    fn what_cannot_be_opened_is_named() {
        let message = |lock: Result<Lock, LockError>| lock.expect_err("no such folder").to_string();
        assert!(message(Lock::folder(Path::new("none"))).starts_with("cannot open none: "));
        assert!(message(Lock::output(Path::new("none/a"))).starts_with("cannot write none/a: No such file"));
    }

    #[test]
    fn a_link_and_its_file_are_one_output() {
        let root = tempfile::tempdir().expect("a folder");
        let [file, link] = ["file", "link"].map(|name| root.path().join(name));
        fs::write(&file, "").expect("written");
        symlink(&file, &link).expect("a link");
        let held = Lock::output(&link).expect("free");
        assert!(matches!(Lock::output(&file), Err(LockError::InUse { .. })));
        drop(held);
        drop(Lock::output(&file).expect("free again"));
    }

    #[test]
    fn a_lock_that_was_left_is_taken_over_and_what_is_none_stays() {
        let root = tempfile::tempdir().expect("a folder");
        let [output, lock] = ["a", "a.lock"].map(|name| root.path().join(name));
        let [mine, others] =
            ["a", "b"].map(|name| root.path().join(format!("{name}.0123456789abcdef.partial")));
        for path in [&lock, &mine, &others] {
            fs::write(path, "").expect("left");
        }
        drop(Lock::output(&output).expect("nobody holds it"));
        assert!(!lock.exists() && !mine.exists() && others.exists());

        let refused = || Lock::output(&output).expect_err("no lock").to_string();
        let wanted = format!(
            "cannot write {}: {} is there and is no lock; move it away, or choose another output",
            output.display(),
            lock.display()
        );
        fs::write(&lock, "versions of a package").expect("written");
        assert_eq!(refused(), wanted);
        assert_eq!(fs::read_to_string(&lock).expect("kept"), "versions of a package");
        fs::remove_file(&lock).expect("removed");
        for planted in [&others, Path::new("none"), Path::new("/dev/null")] {
            symlink(planted, &lock).expect("a link");
            assert_eq!(refused(), wanted);
            fs::remove_file(&lock).expect("still a link");
        }
        fs::create_dir(&lock).expect("created");
        assert_eq!(refused(), wanted);
        assert!(lock.is_dir() && !Path::new("none").exists());
    }
}
