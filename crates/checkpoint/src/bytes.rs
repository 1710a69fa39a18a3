//! The bytes of a file without reading them: a map, from which the system fetches what is looked at.

use std::fs::File;
use std::io;
use std::ops::{Deref, Range};
use std::path::Path;

use memmap2::Mmap;
use sha2::{Digest, Sha256};

/// How much is hashed at a time.
const PIECE: usize = 8 << 20;

/// The bytes of a file.
pub(super) enum Bytes {
    Mapped(Mmap),
    Owned(Vec<u8>),
}

impl Bytes {
    /// Maps a file.
    ///
    /// # Errors
    /// The system's; a folder is `ErrorKind::IsADirectory`.
    pub fn open(path: &Path) -> io::Result<Bytes> {
        let file = File::open(path)?;
        let info = file.metadata()?;
        if info.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        if info.len() == 0 {
            return Ok(Bytes::Owned(Vec::new()));
        }
        // SAFETY: the map is only read. A file that another process shortens meanwhile would end this process with a
        // signal; checkpoints are replaced by renaming, never shortened.
        unsafe { Mmap::map(&file) }.map(Bytes::Mapped)
    }

    /// Says that `range` is not needed any more, so that what was looked at does not stay in this process's memory.
    pub fn release(&self, range: Range<usize>) {
        #[cfg(unix)]
        if let Bytes::Mapped(map) = self {
            let length = range.len().min(map.len().saturating_sub(range.start));
            // SAFETY: the map is of a file and never written to, so a page that is given back comes again from the file,
            // with the same bytes, when it is looked at. A failure costs memory only.
            let _ = unsafe {
                map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, range.start, length)
            };
        }
    }

    /// Feeds everything to a hash.
    pub fn hash(&self, hash: &mut Sha256) {
        for (i, piece) in self.chunks(PIECE).enumerate() {
            hash.update(piece);
            self.release(i * PIECE..i * PIECE + piece.len());
        }
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Mapped(map) => map,
            Bytes::Owned(bytes) => bytes,
        }
    }
}
