//! The checkpoint of a run folder that everything takes: the furthest one that is whole.

use std::cmp::Reverse;
use std::fs;
use std::path::{Path, PathBuf};

use super::{Checkpoint, CheckpointError};

/// The furthest whole checkpoint of a folder.
pub struct Furthest {
    /// The checkpoint; none where no file can be taken.
    pub checkpoint: Option<Checkpoint>,
    /// Why others were passed over: files that cannot be read, and damaged ones that would have been further.
    pub passed_over: Vec<CheckpointError>,
}

impl Furthest {
    /// Looks through the safetensors files in `folder`, the furthest step first. Of those that `accept` takes, the
    /// first whose tensors have the checksums that were written is the one. A file that says no step is at 0.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn find(
        folder: &Path,
        accept: impl Fn(&Checkpoint) -> Result<(), CheckpointError>,
    ) -> Result<Furthest, CheckpointError> {
        let mut paths: Vec<PathBuf> = fs::read_dir(folder)
            .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
            .map_err(CheckpointError::io(folder))?;
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "safetensors"));
        paths.sort();
        let (mut candidates, mut passed_over) = (Vec::new(), Vec::new());
        for path in paths {
            match Checkpoint::open(&path).and_then(|checkpoint| accept(&checkpoint).map(|()| checkpoint)) {
                Ok(checkpoint) => candidates.push(checkpoint),
                Err(error) => passed_over.push(error),
            }
        }
        // Files of the same step stay in the order of their names.
        candidates.sort_by_key(|checkpoint| Reverse(checkpoint.state().map_or(0, |state| state.step)));
        for checkpoint in candidates {
            match checkpoint.verify() {
                Ok(()) => return Ok(Furthest { checkpoint: Some(checkpoint), passed_over }),
                Err(error) => passed_over.push(error),
            }
        }
        Ok(Furthest { checkpoint: None, passed_over })
    }
}
