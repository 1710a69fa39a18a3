//! Files that appear under their names when they are whole, or not at all.
//!
//! Until then a file has a temporary name, `NAME.0123456789abcdef.partial` with random digits, that is made for it and
//! never one that was there; no link is followed. While it is written, a lock keeps other writers from the same output
//! ([`crate::lock`]). It is synced before it gets its name and its folder after that, so that neither an error nor the
//! end of the process or the machine leaves half a file under a final name. After an error the partial file is removed.
//! What a process left that was ended by force is removed by the next that locks the same output, and by no other.
//!
//! A file replaces nothing but regular files: see [`target()`].

mod folders;
mod partial;
mod target;
mod temporary;

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

pub use folders::{ScratchFolder, fill_whole};
pub use partial::{PartialFile, name_again};
pub use target::target;
pub(crate) use temporary::clear;
pub use temporary::{clear_leftovers, output_left};

use crate::lock::Lock;

/// What the system says about a file: always with its final name.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {source}", path.display())]
pub struct FileError {
    /// What was being done: `read`, `write`, …
    pub action: &'static str,
    /// The file or folder.
    pub path: PathBuf,
    /// What the system says.
    pub source: io::Error,
}

impl FileError {
    /// For `map_err` on the system's errors about `path`.
    pub fn of(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError + use<> {
        let path = path.to_path_buf();
        move |source| FileError { action, path, source }
    }
}

/// Writes a file, in place of what is there.
///
/// ```
/// use std::io::Write;
/// let folder = tempfile::tempdir()?;
/// ddae_base::files::write_whole(&folder.path().join("a.txt"), |out| writeln!(out, "all or nothing"))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// Those of `write` and of the system; when what is there is no regular file ([`target()`]), or another process is
/// writing it.
pub fn write_whole(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<&File>) -> io::Result<()>,
) -> Result<(), FileError> {
    fill_file(PartialFile::create(path)?, write)
}

/// Like [`write_whole`], for an output that is locked already.
///
/// # Errors
/// Those of `write` and of the system.
pub fn write_locked(
    lock: &Lock,
    write: impl FnOnce(&mut BufWriter<&File>) -> io::Result<()>,
) -> Result<(), FileError> {
    fill_file(PartialFile::under(lock)?, write)
}

fn fill_file(
    partial: PartialFile,
    write: impl FnOnce(&mut BufWriter<&File>) -> io::Result<()>,
) -> Result<(), FileError> {
    let mut out = BufWriter::with_capacity(1 << 16, partial.file());
    let written = write(&mut out).and_then(|()| out.flush());
    // What is left in the buffer after an error must not be written by dropping it.
    let _ = out.into_parts();
    written.map_err(FileError::of("write", partial.path()))?;
    partial.finish()
}

/// Opens a file to add to its end, and makes it where there is none.
///
/// # Errors
/// When `path` is there and no regular file ([`target()`]), or the system refuses.
pub fn append(path: &Path) -> Result<File, FileError> {
    let target = target(path)?;
    let mut options = OpenOptions::new();
    options.append(true).create(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    options.open(target).map_err(FileError::of("open", path))
}

pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(suffix);
    PathBuf::from(name)
}

/// The folder of `path`, for a bare name the current one.
pub fn folder(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Brings the names in a folder to the disk.
///
/// # Errors
/// When the system refuses, unless because the file system cannot sync folders.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    match File::open(folder)?.sync_all() {
        Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => {
            Ok(())
        }
        synced => synced,
    }
}

#[cfg(test)]
mod tests;
