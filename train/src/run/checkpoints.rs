//! The checkpoints of a run folder: `epoch_0010.safetensors` after 10 epochs, and `latest.safetensors`.

use std::fs;
use std::path::{Path, PathBuf};

use ddae_base::files::{clear_leftovers, name_again};
use ddae_checkpoint::{Checkpoint, CheckpointError, TrainingState};

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

/// The training checkpoint in `folder` that is furthest, with what it says of itself. Files that cannot be read are
/// passed over and given as the second result, one line each.
///
/// # Errors
/// When there is none.
pub fn furthest(folder: &Path) -> Result<(Checkpoint, TrainingState, Vec<String>), TrainError> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
        .map_err(TrainError::io(folder))?;
    paths.retain(|path| path.extension().is_some_and(|e| e == "safetensors"));
    paths.sort();
    let (mut best, mut unreadable) = (None::<(Checkpoint, TrainingState)>, Vec::new());
    for path in paths {
        match open(&path) {
            Ok((checkpoint, state)) => {
                if best.as_ref().is_none_or(|(_, known)| state.step > known.step) {
                    best = Some((checkpoint, state));
                }
            }
            Err(error) => unreadable.push(error.to_string()),
        }
    }
    match best {
        Some((checkpoint, state)) => Ok((checkpoint, state, unreadable)),
        None => {
            let message = match unreadable.first() {
                Some(first) => {
                    format!(
                        "holds no checkpoint that can be read ({first}): start the run again with --force"
                    )
                }
                None => "holds no checkpoint: start the run again with --force".to_string(),
            };
            Err(TrainError::Folder { path: folder.to_path_buf(), message })
        }
    }
}

/// Opens a training checkpoint.
///
/// # Errors
/// When it cannot be read, or is a safetensors file without what training needs.
pub fn open(path: &Path) -> Result<(Checkpoint, TrainingState), TrainError> {
    let checkpoint = Checkpoint::open(path)?;
    match checkpoint.state().cloned() {
        Some(state) => Ok((checkpoint, state)),
        None => {
            let message = "is no training checkpoint: weights alone are used with --init".to_string();
            Err(CheckpointError::Format { path: path.to_path_buf(), message }.into())
        }
    }
}
