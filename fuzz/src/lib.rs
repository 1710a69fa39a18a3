//! What the targets share: bytes as files that lie in memory.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use rustix::fs::{MemfdFlags, memfd_create};
use tempfile::TempDir;

/// A file without a name in any folder, for readers that open a path.
pub struct MemoryFile(File);

impl MemoryFile {
    /// A file that holds `bytes`.
    ///
    /// # Panics
    /// When the system has none.
    pub fn new(bytes: &[u8]) -> MemoryFile {
        let mut file = File::from(memfd_create("input", MemfdFlags::CLOEXEC).expect("a file in memory"));
        file.write_all(bytes).expect("memory");
        MemoryFile(file)
    }

    /// A path under which this process can open it.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.0.as_raw_fd()))
    }
}

/// An empty folder, in memory where the system has a file system there, that goes away when it is dropped.
///
/// # Panics
/// When it cannot be made.
pub fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.expect("a folder")
}
