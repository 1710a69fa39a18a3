//! One process at a time for one output.
//!
//! Two processes that write the same files under the same temporary names would damage each other's work. A lock is
//! held by the process, not by the file: it ends with the process, however that ends. Where the file system has no
//! locks, there is no protection.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::InferError;

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
    pub fn folder(path: &Path) -> Result<Lock, InferError> {
        let file = File::open(path).map_err(InferError::io("open", path))?;
        acquire(&file, path)?;
        Ok(Lock { file, made: None })
    }

    /// Locks the output `path`, which need not exist, by a file `path.lock` beside it.
    ///
    /// # Errors
    /// When another process holds it, or the file cannot be made.
    pub fn output(path: &Path) -> Result<Lock, InferError> {
        let mut name = path.as_os_str().to_owned();
        name.push(".lock");
        let lock = PathBuf::from(name);
        loop {
            let file = OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .open(&lock)
                .map_err(InferError::io("create", &lock))?;
            acquire(&file, path)?;
            // Its last holder may have removed the file in the meantime; then the lock is on one that no other process
            // will find.
            if is_same(&file, &lock).map_err(InferError::io("read", &lock))? {
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

fn acquire(file: &File, path: &Path) -> Result<(), InferError> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(InferError::InUse { path: path.to_path_buf() }),
        // A file system without locks.
        Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => Ok(()),
        Err(TryLockError::Error(source)) => {
            Err(InferError::Io { action: "lock", path: path.to_path_buf(), source })
        }
    }
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
        let message = Lock::output(&output).expect_err("held").to_string();
        assert!(message.ends_with(
            "train.h5: another ddae-infer is writing here; wait for it, or choose another output"
        ));
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
}
