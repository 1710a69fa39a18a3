//! Many images in one file of NumPy's format.

use std::os::unix::fs::FileExt;
use std::path::Path;

use ddae_base::files::PartialFile;

use ddae_data::interleave::interleave;

use crate::error::InferError;
use crate::npy::header;

/// Writes images, in any order, into one `.npy` array of uint8 `[N, H, W, C]` (NumPy's format, version 1.0).
///
/// The file appears with [`NpyWriter::finish`].
pub struct NpyWriter {
    partial: PartialFile,
    /// Where the first image begins.
    offset: u64,
    shape: [usize; 3],
}

impl NpyWriter {
    /// Begins a file for `count` images of `shape = [C, H, W]`. Images that are not written are black.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn create(path: &Path, count: usize, shape: [usize; 3]) -> Result<NpyWriter, InferError> {
        let [c, h, w] = shape;
        let header = header("|u1", &[count, h, w, c]);
        let offset = header.len() as u64;
        let partial = PartialFile::create(path)?;
        let length = offset + (count * shape.iter().product::<usize>()) as u64;
        let begun = partial.file().write_all_at(&header, 0).and_then(|()| partial.file().set_len(length));
        begun.map_err(InferError::io("write", path))?;
        Ok(NpyWriter { partial, offset, shape })
    }

    /// Writes image number `index`, levels `[C, H, W]`.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write(&self, index: usize, levels: &[u8]) -> Result<(), InferError> {
        let at = self.offset + (index * levels.len()) as u64;
        let mut pixels = Vec::with_capacity(levels.len());
        interleave(levels, self.shape[0], &mut pixels);
        let written = self.partial.file().write_all_at(&pixels, at);
        written.map_err(InferError::io("write", self.partial.path()))
    }

    /// Syncs the file and gives it its name.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn finish(self) -> Result<(), InferError> {
        Ok(self.partial.finish()?)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn arrays_are_laid_out_as_numpy_reads_them() {
        let root = tempfile::tempdir().expect("a folder");
        let path = root.path().join("x.npy");
        let writer = NpyWriter::create(&path, 2, [3, 1, 2]).expect("a file");
        writer.write(1, &[1, 2, 3, 4, 5, 6]).expect("written");
        writer.write(0, &[11, 12, 13, 14, 15, 16]).expect("written");
        assert!(!path.exists());
        writer.finish().expect("written");
        let bytes = fs::read(&path).expect("the file");
        assert_eq!(bytes.len(), 128 + 12);
        assert_eq!(&bytes[..10], b"\x93NUMPY\x01\x00\x76\x00");
        let text = std::str::from_utf8(&bytes[10..128]).expect("text");
        assert_eq!(text.trim_end(), "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 1, 2, 3), }");
        assert!(text.ends_with('\n'));
        assert_eq!(bytes[128..], [11, 13, 15, 12, 14, 16, 1, 3, 5, 2, 4, 6]);
    }

    #[test]
    fn an_unfinished_array_disappears() {
        let root = tempfile::tempdir().expect("a folder");
        drop(NpyWriter::create(&root.path().join("x.npy"), 5, [1, 2, 2]).expect("a file"));
        assert_eq!(fs::read_dir(root.path()).expect("a folder").count(), 0);
        let nowhere = root.path().join("no/x.npy");
        let message = NpyWriter::create(&nowhere, 5, [1, 2, 2]).err().expect("an error").to_string();
        assert!(message.starts_with(&format!("cannot write {}: ", nowhere.display())), "{message}");
    }
}
