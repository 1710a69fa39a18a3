//! The checkpoints of a run folder: `epoch_0010.safetensors` after 10 epochs, and `latest.safetensors`.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ddae_base::files::{clear_leftovers, name_again};
use ddae_checkpoint::{Checkpoint, CheckpointError, Furthest, TrainingState};

use crate::TrainError;

/// The newest checkpoint's name.
pub const LATEST: &str = "latest.safetensors";

/// The checkpoint after `epoch` epochs.
pub fn epoch_name(epoch: u64) -> String {
    format!("epoch_{epoch:04}.safetensors")
}

/// Gives the finished checkpoint `path` the second name [`LATEST`] beside it.
///
/// # Errors
/// When the system refuses.
pub fn name_latest(path: &Path) -> Result<(), TrainError> {
    Ok(name_again(path, &path.with_file_name(LATEST))?)
}

/// Removes what processes left in `folder` that were killed while they wrote. Only for the one that holds the run
/// folder's lock.
///
/// # Errors
/// When the system refuses.
pub fn remove_leftovers(folder: &Path) -> Result<(), TrainError> {
    Ok(clear_leftovers(folder, is_checkpoint)?)
}

/// Whether a file is named like a checkpoint of a run.
pub fn is_checkpoint(name: &str) -> bool {
    let epoch = name.strip_prefix("epoch_").and_then(|rest| rest.strip_suffix(".safetensors")?.parse().ok());
    name == LATEST || epoch.is_some_and(|epoch| name == epoch_name(epoch))
}

/// Whether [`LATEST`] beside the whole checkpoint `path` of `step` finished steps is that checkpoint: the same file, or
/// a whole one of the same step where the file system makes copies.
///
/// # Errors
/// When `path` cannot be looked at.
pub fn is_latest(path: &Path, step: u64) -> Result<bool, TrainError> {
    let latest = path.with_file_name(LATEST);
    let file = fs::metadata(path).map_err(TrainError::io(path))?;
    Ok(match fs::metadata(&latest) {
        Ok(other) if (other.dev(), other.ino()) == (file.dev(), file.ino()) => true,
        Ok(_) => {
            open(&latest).is_ok_and(|(checkpoint, state)| state.step == step && checkpoint.verify().is_ok())
        }
        Err(_) => false,
    })
}

/// The training checkpoint in `folder` that is furthest and whole, with what it says of itself. Files that cannot be
/// read, and damaged ones that are further, are passed over and given as the third result, one line each.
///
/// # Errors
/// When there is none.
pub fn furthest(folder: &Path) -> Result<(Checkpoint, TrainingState, Vec<String>), TrainError> {
    let Furthest { checkpoint, passed_over } = Furthest::find(folder, |file| state(file).map(drop))?;
    let passed_over: Vec<String> = passed_over.iter().map(ToString::to_string).collect();
    if let Some(checkpoint) = checkpoint {
        let state = state(&checkpoint)?;
        return Ok((checkpoint, state, passed_over));
    }
    let message = match passed_over.first() {
        Some(first) => {
            format!("holds no checkpoint that can be read ({first}): start the run again with --force")
        }
        None => "holds no checkpoint: start the run again with --force".to_string(),
    };
    Err(TrainError::Folder { path: folder.to_path_buf(), message })
}

/// Whether the run in the folder `run` leaves out the last batches of epochs, as one of its checkpoints says: after
/// `epoch` epochs, or else any. None where no checkpoint can be read.
pub fn drops_last(run: &Path, epoch: Option<u64>) -> Option<bool> {
    let folder = run.join("checkpoints");
    let of_file = |path: &Path| open(path).ok().map(|(_, state)| state.drop_last);
    match epoch {
        Some(epoch) => of_file(&folder.join(epoch_name(epoch))),
        None => {
            let mut paths: Vec<PathBuf> =
                fs::read_dir(folder).ok()?.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
            paths.retain(|path| path.extension().is_some_and(|extension| extension == "safetensors"));
            paths.sort();
            paths.iter().rev().find_map(|path| of_file(path))
        }
    }
}

/// Opens a training checkpoint.
///
/// # Errors
/// When it cannot be read, or is a safetensors file without what training needs.
pub fn open(path: &Path) -> Result<(Checkpoint, TrainingState), TrainError> {
    let checkpoint = Checkpoint::open(path)?;
    let state = state(&checkpoint)?;
    Ok((checkpoint, state))
}

fn state(checkpoint: &Checkpoint) -> Result<TrainingState, CheckpointError> {
    checkpoint.state().cloned().ok_or_else(|| {
        let message = "is no training checkpoint: weights alone are used with --init".to_string();
        CheckpointError::Format { path: checkpoint.path().to_path_buf(), message }
    })
}
