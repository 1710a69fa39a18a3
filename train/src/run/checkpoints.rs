//! The checkpoints of a run folder: `epoch_0010.safetensors` after 10 epochs, and `latest.safetensors`.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use ddae_base::files::{clear_leftovers, name_again, sync_folder};
use ddae_checkpoint::{
    Checkpoint, CheckpointError, Furthest, LATEST, RunCheckpoints, TrainingState, epoch_name, epoch_of,
    is_checkpoint_name,
};

use crate::TrainError;

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
    Ok(clear_leftovers(folder, is_checkpoint_name)?)
}

/// Whether a file is named like a checkpoint that [`go_back`] renamed.
pub fn is_set_aside(name: &str) -> bool {
    let is_number = |text: &str| text.parse().is_ok_and(|n: u64| n > 0 && n.to_string() == text);
    name.rsplit_once('.').is_some_and(|(name, number)| is_checkpoint_name(name) && is_number(number))
}

/// Has a run go back to its whole checkpoint `path`, of `epoch` epochs and `step` steps, which becomes the latest. Later
/// checkpoints are renamed: `NAME.1`, or the next number that is free. Otherwise they would still be the furthest, and
/// `--resume` would go on from them. Returns the names that they had and have. Only for the one that holds the run
/// folder's lock.
///
/// Ended by force on the way, the run stands at the furthest checkpoint that has kept its name.
///
/// # Errors
/// When the system refuses.
pub fn go_back(path: &Path, epoch: u64, step: u64) -> Result<Vec<(String, String)>, TrainError> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut later = Vec::new();
    for entry in fs::read_dir(folder).map_err(TrainError::io(folder))? {
        let name = entry.map_err(TrainError::io(folder))?.file_name().to_string_lossy().into_owned();
        later.extend(epoch_of(&name).filter(|&of| of > epoch).map(|of| (of, name)));
    }
    later.sort();
    let later: Vec<String> = later.into_iter().rev().map(|(_, name)| name).collect();
    let mut renamed = Vec::new();
    if !is_latest(path, step) {
        let latest = folder.join(LATEST);
        let is_further = || open(&latest).is_ok_and(|(_, state)| state.step > step);
        // Mostly another name of one of those.
        if !later.iter().any(|name| is_same(&folder.join(name), &latest)) && is_further() {
            renamed = set_aside(folder, &[LATEST.to_string()])?;
        }
        name_latest(path)?;
    }
    renamed.extend(set_aside(folder, &later)?);
    Ok(renamed)
}

/// Renames files, in order.
fn set_aside(folder: &Path, names: &[String]) -> Result<Vec<(String, String)>, TrainError> {
    let mut renamed = Vec::new();
    for name in names {
        let mut number = 1;
        let numbered = |number: u64| format!("{name}.{number}");
        while fs::symlink_metadata(folder.join(numbered(number))).is_ok() {
            number += 1;
        }
        let (from, to) = (folder.join(name), numbered(number));
        fs::rename(&from, folder.join(&to)).map_err(TrainError::io(&from))?;
        renamed.push((name.clone(), to));
    }
    sync_folder(folder).map_err(TrainError::io(folder))?;
    Ok(renamed)
}

/// Whether both are names of one file.
fn is_same(one: &Path, other: &Path) -> bool {
    let identity = |path: &Path| fs::metadata(path).map(|file| (file.dev(), file.ino())).ok();
    identity(one).is_some_and(|file| identity(other) == Some(file))
}

/// Whether [`LATEST`] beside the whole checkpoint `path` of `step` finished steps is that checkpoint: the same file, or
/// a whole one of the same step where the file system makes copies.
pub fn is_latest(path: &Path, step: u64) -> bool {
    let latest = path.with_file_name(LATEST);
    let is_whole = |(checkpoint, state): Opened| state.step == step && checkpoint.verify().is_ok();
    is_same(path, &latest) || open(&latest).is_ok_and(is_whole)
}

/// A checkpoint of a training, and what it says of itself.
pub type Opened = (Checkpoint, TrainingState);

/// The training checkpoint in `folder` that is furthest and whole, with what it says of itself, if there is one. Files that
/// cannot be read, and damaged ones that are further, are passed over and given as the second result, one line each.
///
/// # Errors
/// When the folder cannot be read.
pub fn find_furthest(folder: &Path) -> Result<(Option<Opened>, Vec<String>), TrainError> {
    let Furthest { checkpoint, passed_over } = Furthest::find(folder, |file| state(file).map(drop))?;
    let with_state = |checkpoint: Checkpoint| state(&checkpoint).map(|state| (checkpoint, state));
    Ok((checkpoint.map(with_state).transpose()?, passed_over.iter().map(ToString::to_string).collect()))
}

/// The same for a run that goes on.
///
/// # Errors
/// When there is none.
pub fn furthest(folder: &Path) -> Result<(Checkpoint, TrainingState, Vec<String>), TrainError> {
    let (found, passed_over) = find_furthest(folder)?;
    if let Some((checkpoint, state)) = found {
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

/// Whether there is no checkpoint in `folder`, whole or not, and none that was set aside.
///
/// # Errors
/// When the system refuses.
pub fn is_without(folder: &Path) -> Result<bool, TrainError> {
    for entry in fs::read_dir(folder).map_err(TrainError::io(folder))? {
        let name = entry.map_err(TrainError::io(folder))?.file_name();
        if name.to_str().is_none_or(|name| name.ends_with(".safetensors") || is_set_aside(name)) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether the run in the folder `run` leaves out the last batches of epochs, as one of its checkpoints says: after
/// `epoch` epochs, or else any. None where no checkpoint can be read.
pub fn drops_last(run: &Path, epoch: Option<u64>) -> Option<bool> {
    let folder = run.join("checkpoints");
    let of_file = |path: &Path| open(path).ok().map(|(_, state)| state.drop_last);
    match epoch {
        Some(epoch) => of_file(&folder.join(epoch_name(epoch))),
        None => RunCheckpoints::list(&folder).ok()?.paths.iter().rev().find_map(|path| of_file(path)),
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
