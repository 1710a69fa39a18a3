//! One process at a time for one output.
//!
//! Two processes that write the same files under the same temporary names would damage each other's work. A lock is
//! held by the process, not by the file: it ends with the process, however that ends. Where the file system has no
//! locks, there is no protection.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::files::FileError;

/// Why there is no lock.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("{}: another process is writing here; wait for it, or choose another output", path.display())]
    InUse {
        /// The file or folder.
        path: PathBuf,
    },
    /// The system refuses.
    #[error(transparent)]
    File(#[from] FileError),
}

/// A lock that is held until this is dropped.
#[derive(Debug)]
pub struct Lock {
    file: File,
    /// The file made for the lock, removed at the end.
    made: Option<PathBuf>,
}

impl Lock {
    /// Locks a folder.
    ///
    /// # Errors
    /// When another process holds it, or it cannot be opened.
    pub fn folder(path: &Path) -> Result<Lock, LockError> {
        let file = File::open(path).map_err(FileError::of("open", path))?;
        hold(&file, path)?;
        Ok(Lock { file, made: None })
    }

    /// Locks the output `path`, which need not exist, by a file `path.lock` beside it.
    ///
    /// # Errors
    /// When another process holds it, or the file cannot be made.
    pub fn output(path: &Path) -> Result<Lock, LockError> {
        let mut name = path.as_os_str().to_owned();
        name.push(".lock");
        let lock = PathBuf::from(name);
        loop {
            let file = open(&lock).map_err(FileError::of("create", &lock))?;
            hold(&file, path)?;
            // Its last holder may have removed the file in the meantime; then the lock is on one that no other process
            // will find.
            if is_same(&file, &lock).map_err(FileError::of("read", &lock))? {
                return Ok(Lock { file, made: Some(lock) });
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Removed while it is held. What fails here leaves an empty file that the next holder takes over.
        if let Some(path) = &self.made {
            let _ = fs::remove_file(path);
        }
        let _ = self.file.unlock();
    }
}

/// Locks an open file until it is closed. `false` when another process has it.
///
/// # Errors
/// When the system refuses, unless because the file system has no locks.
pub fn try_acquire(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => unless_unsupported(Err(error)).map(|()| true),
    }
}

/// The same, waiting for the process that has it.
///
/// # Errors
/// Like [`try_acquire`].
pub fn acquire(file: &File) -> io::Result<()> {
    unless_unsupported(file.lock())
}

/// Opens the file `path` in place of which another process may open one of its own: locked, and still the file of that
/// name. `None` when another process has it.
pub(crate) fn open_alone(path: &Path) -> io::Result<Option<File>> {
    loop {
        let file = open(path)?;
        if !try_acquire(&file)? {
            return Ok(None);
        }
        if is_same(&file, path)? {
            return Ok(Some(file));
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).truncate(false).write(true).open(path)
}

fn hold(file: &File, path: &Path) -> Result<(), LockError> {
    match try_acquire(file).map_err(FileError::of("lock", path))? {
        true => Ok(()),
        false => Err(LockError::InUse { path: path.to_path_buf() }),
    }
}

fn unless_unsupported(locked: io::Result<()>) -> io::Result<()> {
    locked.or_else(|error| if error.kind() == io::ErrorKind::Unsupported { Ok(()) } else { Err(error) })
}

/// Whether `path` still names the open file.
fn is_same(file: &File, path: &Path) -> io::Result<bool> {
    let open = file.metadata()?;
    match fs::metadata(path) {
        Ok(named) => Ok((open.dev(), open.ino()) == (named.dev(), named.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_has_one_holder_and_nothing_is_left() {
        let root = tempfile::tempdir().expect("a folder");
        let output = root.path().join("train.h5");
        let held = Lock::output(&output).expect("free");
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
        assert!(message(Lock::output(Path::new("none/a"))).starts_with("cannot create none/a.lock: "));
    }
}
