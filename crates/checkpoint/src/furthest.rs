//! The checkpoints of a run folder by their names, and the one that everything takes: the furthest that is whole.

use std::cmp::Reverse;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{Checkpoint, CheckpointError};

/// The newest checkpoint's name.
pub const LATEST: &str = "latest.safetensors";

/// The name of the checkpoint after `epoch` epochs.
pub fn epoch_name(epoch: u64) -> String {
    format!("epoch_{epoch:04}.safetensors")
}

/// The epochs after which a checkpoint of this name was written; none for [`LATEST`] and for any other name.
pub fn epoch_of(name: &str) -> Option<u64> {
    let epoch = name.strip_prefix("epoch_")?.strip_suffix(".safetensors")?.parse().ok()?;
    (name == epoch_name(epoch)).then_some(epoch)
}

/// Whether a file is named like a checkpoint of a run.
pub fn is_checkpoint_name(name: &str) -> bool {
    name == LATEST || epoch_of(name).is_some()
}

/// The safetensors files of a run, each part in the order of their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunCheckpoints {
    /// Its checkpoints: those that are named so, or, where none is, all.
    pub paths: Vec<PathBuf>,
    /// Files of others beside them.
    pub others: Vec<PathBuf>,
}

impl RunCheckpoints {
    /// Those in `folder`.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn list(folder: &Path) -> io::Result<RunCheckpoints> {
        let entries = fs::read_dir(folder)?.map(|entry| Ok(entry?.path()));
        let mut all = entries.collect::<io::Result<Vec<PathBuf>>>()?;
        all.retain(|path| path.extension().is_some_and(|extension| extension == "safetensors"));
        all.sort();
        let is_named =
            |path: &PathBuf| path.file_name().and_then(|name| name.to_str()).is_some_and(is_checkpoint_name);
        let (paths, others): (Vec<_>, Vec<_>) = all.into_iter().partition(is_named);
        Ok(match paths.is_empty() {
            true => RunCheckpoints { paths: others, others: paths },
            false => RunCheckpoints { paths, others },
        })
    }
}

/// The furthest whole checkpoint of a folder.
pub struct Furthest {
    /// The checkpoint; none where no file can be taken.
    pub checkpoint: Option<Checkpoint>,
    /// Why others were passed over: files that cannot be read, damaged ones that would have been further, and files that
    /// are not the run's.
    pub passed_over: Vec<CheckpointError>,
}

impl Furthest {
    /// Looks through the checkpoints of the run in `folder` ([`RunCheckpoints`]), the furthest step first. Of those that
    /// `accept` takes, the first whose tensors have the checksums that were written is the one. A file that says no step
    /// is at 0.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn find(
        folder: &Path,
        accept: impl Fn(&Checkpoint) -> Result<(), CheckpointError>,
    ) -> Result<Furthest, CheckpointError> {
        let RunCheckpoints { paths, others } =
            RunCheckpoints::list(folder).map_err(CheckpointError::io(folder))?;
        let (mut candidates, mut passed_over) = (Vec::new(), Vec::new());
        for path in paths {
            match Checkpoint::open(&path).and_then(|checkpoint| accept(&checkpoint).map(|()| checkpoint)) {
                Ok(checkpoint) => candidates.push(checkpoint),
                Err(error) => passed_over.push(error),
            }
        }
        // Files of the same step stay in the order of their names.
        candidates.sort_by_key(|checkpoint| Reverse(checkpoint.state().map_or(0, |state| state.step)));
        let mut candidates = candidates.into_iter();
        let checkpoint = candidates.find_map(|checkpoint| match checkpoint.verify() {
            Ok(()) => Some(checkpoint),
            Err(error) => {
                passed_over.push(error);
                None
            }
        });
        let not_of_a_run = |path: &PathBuf| {
            let names = format!("{}, {LATEST}", epoch_name(1));
            CheckpointError::format(path, format!("is not named like a checkpoint of a run ({names})"))
        };
        passed_over.extend(others.iter().map(not_of_a_run));
        Ok(Furthest { checkpoint, passed_over })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkpoints_are_told_by_their_names() {
        for (name, epoch) in [
            ("epoch_0000.safetensors", Some(0)),
            ("epoch_0010.safetensors", Some(10)),
            ("epoch_12345.safetensors", Some(12345)),
            ("epoch_10.safetensors", None),
            ("epoch_+010.safetensors", None),
            ("epoch_0010.safetensors.1", None),
            ("epoch_0010.pth", None),
            ("epoch_.safetensors", None),
            ("my_epoch_0010.safetensors", None),
            (LATEST, None),
        ] {
            assert_eq!(epoch_of(name), epoch, "{name}");
            assert_eq!(is_checkpoint_name(name), epoch.is_some() || name == LATEST, "{name}");
        }
    }
}
