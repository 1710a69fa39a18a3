//! One file on its way to its name.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use super::target::check_name;
use super::temporary::Temporary;
use super::{FileError, folder, sync_folder};
use crate::lock::{Lock, LockError, is_same};

/// A file that is written bit by bit. Dropped before [`PartialFile::finish`], it disappears.
///
/// While there is one, the output is locked: a second writer is refused.
#[derive(Debug)]
pub struct PartialFile {
    // Removed before the lock is let go.
    place: Temporary,
    file: File,
    path: PathBuf,
    target: PathBuf,
    _lock: Option<Lock>,
}

impl PartialFile {
    /// Begins a file that will be called `path`, and locks that.
    ///
    /// # Errors
    /// When `path` is there and no regular file ([`super::target()`]), another process writes there, or the system refuses.
    pub fn create(path: &Path) -> Result<PartialFile, FileError> {
        let lock = Lock::output(path).map_err(LockError::into_file_error)?;
        let begun = PartialFile::under(&lock)?;
        Ok(PartialFile { _lock: Some(lock), ..begun })
    }

    /// Begins the file that the caller has locked, and keeps locked until it is finished or dropped.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn under(lock: &Lock) -> Result<PartialFile, FileError> {
        let (path, target) = (lock.path().to_path_buf(), lock.target().to_path_buf());
        let made = Temporary::make(&target, create_new).map_err(FileError::of("write", &path));
        let (place, file) = made?;
        Ok(PartialFile { place, file, path, target, _lock: None })
    }

    /// The final name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The name until then, for a library that opens the file by itself.
    pub fn partial(&self) -> &Path {
        self.place.path()
    }

    /// The file, open for writing.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Syncs the file and gives it its name. What a library did to it must have reached the system.
    ///
    /// # Errors
    /// When the system refuses; when what is there meanwhile is no regular file.
    pub fn finish(mut self) -> Result<(), FileError> {
        self.finish_here()
    }

    /// The same for who cannot give it away. The output is locked until this is dropped.
    ///
    /// # Errors
    /// Like [`PartialFile::finish`].
    pub fn finish_here(&mut self) -> Result<(), FileError> {
        let published = self.file.sync_all().and_then(|()| self.publish());
        published.map_err(FileError::of("write", &self.path))
    }

    /// Gives up what the file takes on the disk, for a library that keeps it open: removing it would not. Does nothing
    /// once it has got its name.
    pub fn empty(&self) {
        if !self.place.is_kept() {
            // It is given up anyway.
            let _ = self.file.set_len(0);
        }
    }

    fn publish(&mut self) -> io::Result<()> {
        check_name(&self.target)?;
        if !is_same(&self.file, self.place.path())? {
            return Err(io::Error::other(format!(
                "{} was taken away while it was being written",
                self.place.path().display()
            )));
        }
        fs::rename(self.place.path(), &self.target)?;
        self.place.keep();
        sync_folder(folder(&self.target))
    }
}

/// Makes a file that is not there yet; a link is not followed.
fn create_new(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}

/// Gives the finished file `from` a second name, in place of the file that has it, without a copy where the file system
/// can. A link of that name is replaced by the name, and what it leads to stays.
///
/// # Errors
/// When another process writes there, what is there is neither file nor link, or the system refuses.
pub fn name_again(from: &Path, to: &Path) -> Result<(), FileError> {
    let error = || FileError::of("write", to);
    check_name(to).map_err(error())?;
    let _lock = Lock::name(to).map_err(LockError::into_file_error)?;
    let link_or_copy = |name: &Path| match fs::hard_link(from, name) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => copy(from, name),
        linked => linked,
    };
    // The temporary name stays, and has to be removed, where `to` is a name of `from` already.
    let (place, ()) = Temporary::make(to, link_or_copy).map_err(error())?;
    fs::rename(place.path(), to).and_then(|()| sync_folder(folder(to))).map_err(error())
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let mut source = File::open(from)?;
    let mut copy = create_new(to)?;
    let copied = io::copy(&mut source, &mut copy).and_then(|_| copy.sync_all());
    if copied.is_err() {
        let _ = fs::remove_file(to);
    }
    copied
}
