//! A file that is filled bit by bit.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use ddae_base::files::PartialFile;

use crate::error::InferError;

/// Where a file's bytes go; what the system refuses is said with the file's name.
pub(super) struct Out<'o> {
    file: BufWriter<&'o File>,
    path: &'o Path,
}

impl Out<'_> {
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), InferError> {
        self.file.write_all(bytes).map_err(InferError::io("write", self.path))
    }

    pub(super) fn line(&mut self, text: &str) -> Result<(), InferError> {
        self.write(text.as_bytes())?;
        self.write(b"\n")
    }
}

/// Writes a file that appears under its name when it is whole, in place of what is there.
pub(super) fn write_whole(
    path: &Path,
    fill: impl FnOnce(&mut Out<'_>) -> Result<(), InferError>,
) -> Result<(), InferError> {
    let partial = PartialFile::create(path)?;
    fill_file(partial.file(), path, fill)?;
    Ok(partial.finish()?)
}

/// Writes and syncs a new file in a folder that nobody else knows yet.
pub(super) fn write_new(
    path: &Path,
    fill: impl FnOnce(&mut Out<'_>) -> Result<(), InferError>,
) -> Result<(), InferError> {
    let file = File::create_new(path).map_err(InferError::io("write", path))?;
    fill_file(&file, path, fill)?;
    file.sync_all().map_err(InferError::io("write", path))
}

fn fill_file(
    file: &File,
    path: &Path,
    fill: impl FnOnce(&mut Out<'_>) -> Result<(), InferError>,
) -> Result<(), InferError> {
    let mut out = Out { file: BufWriter::with_capacity(1 << 16, file), path };
    let filled = fill(&mut out).and_then(|()| out.file.flush().map_err(InferError::io("write", path)));
    // What is left in the buffer after an error must not be written by dropping it.
    let _ = out.file.into_parts();
    filled
}
