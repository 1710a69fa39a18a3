//! A folder on its way to its name, or for files on their way to theirs.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::temporary::Temporary;
use super::{FileError, folder, sync_folder};
use crate::lock::{Lock, LockError};

/// A folder of this user beside an output, in which it is made, while the output is locked. Dropped, it is removed.
#[derive(Debug)]
pub struct ScratchFolder {
    // Removed before the lock is let go.
    place: Temporary,
    lock: Lock,
}

impl ScratchFolder {
    /// Locks the output `path` and makes a folder beside it.
    ///
    /// # Errors
    /// When `path` is there and no regular file ([`super::target()`]), another process writes there, or the system refuses.
    pub fn beside(path: &Path) -> Result<ScratchFolder, FileError> {
        let lock = Lock::output(path).map_err(LockError::into_file_error)?;
        ScratchFolder::under(lock, 0o700)
    }

    fn under(lock: Lock, mode: u32) -> Result<ScratchFolder, FileError> {
        let make = |path: &Path| DirBuilder::new().mode(mode).create(path);
        let made = Temporary::make(lock.target(), make).map_err(FileError::of("write", lock.path()));
        let (place, ()) = made?;
        Ok(ScratchFolder { place, lock })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.place.path()
    }

    /// The lock on the output.
    pub fn lock(&self) -> &Lock {
        &self.lock
    }

    /// All that there is until the output is: for who ends the process without dropping this. The first is a folder.
    pub fn leftovers(&self) -> [PathBuf; 2] {
        [self.path().to_path_buf(), self.lock.file_path().to_path_buf()]
    }
}

/// Fills a new folder, which has a temporary name until `fill` has ended; what an ended process left of it is removed.
/// The files in it are `fill`'s to sync.
///
/// # Errors
/// Those of `fill` and of the system, and when another process fills it; nothing is left.
pub fn fill_whole<E: From<FileError>>(
    path: &Path,
    fill: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<(), E> {
    let lock = Lock::name(path).map_err(LockError::into_file_error)?;
    let mut folder_in_work = ScratchFolder::under(lock, 0o777)?;
    fill(folder_in_work.path())?;
    let renamed = fs::rename(folder_in_work.path(), path);
    renamed.map_err(FileError::of("create", path))?;
    folder_in_work.place.keep();
    Ok(sync_folder(folder(path)).map_err(FileError::of("create", path))?)
}
