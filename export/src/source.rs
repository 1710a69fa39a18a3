//! Where weights and configuration come from: a checkpoint, a run folder, or a plain file of weights.

use std::fs;
use std::path::{Path, PathBuf};

use ddae_model::checkpoint::Checkpoint;
use ddae_model::config::{Config, Override};

use crate::ExportError;

/// An open checkpoint with its configuration.
pub struct Source {
    /// The file.
    pub checkpoint: Checkpoint,
    /// The configuration, overrides applied.
    pub config: Config,
    /// Files of the run folder that cannot be read, a line each.
    pub passed_over: Vec<String>,
}

impl Source {
    /// Opens `path`, a checkpoint, a file of weights, or a run folder (whose furthest checkpoint is taken). The
    /// configuration is `config` if given, else what the checkpoint holds, else `config.yaml` of its run folder;
    /// then `overrides` are set.
    ///
    /// # Errors
    /// When there is no checkpoint or no configuration, or one cannot be read.
    pub fn open(path: &Path, config: Option<&Path>, overrides: &[Override]) -> Result<Source, ExportError> {
        let (checkpoint, passed_over) =
            if path.is_dir() { furthest(path)? } else { (Checkpoint::open(path)?, vec![]) };
        let config = match (config, checkpoint.config()) {
            (Some(path), _) => Config::read_with(path, overrides)?,
            (None, Some(own)) => Config::parse(&own.to_yaml(), "the checkpoint's configuration", overrides)?,
            (None, None) => Config::read_with(&config_of_run(checkpoint.path())?, overrides)?,
        };
        Ok(Source { checkpoint, config, passed_over })
    }

    /// A name for the run: that of its folder, else that of the file.
    pub fn run_name(&self) -> String {
        let path =
            fs::canonicalize(self.checkpoint.path()).unwrap_or_else(|_| self.checkpoint.path().to_path_buf());
        let folder =
            path.parent().filter(|folder| folder.file_name().is_some_and(|name| name == "checkpoints"));
        let name = folder.and_then(Path::parent).and_then(Path::file_name).or(path.file_stem());
        name.map_or_else(|| "network".to_string(), |name| name.to_string_lossy().into_owned())
    }
}

/// The checkpoint in a run folder (or in its `checkpoints`) that is furthest in training. Files that cannot be read
/// are passed over while there is one that can, and given as the second result, a line each.
fn furthest(folder: &Path) -> Result<(Checkpoint, Vec<String>), ExportError> {
    let missing = |message: String| ExportError::Source { path: folder.to_path_buf(), message };
    let inner = folder.join("checkpoints");
    let place = if inner.is_dir() { inner.as_path() } else { folder };
    let entries = fs::read_dir(place).map_err(|error| missing(error.to_string()))?;
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "safetensors"));
    paths.sort();
    let (mut best, mut unreadable) = (None::<(u64, Checkpoint)>, Vec::new());
    for path in paths {
        match Checkpoint::open(&path) {
            Ok(checkpoint) => {
                let step = checkpoint.state().map_or(0, |state| state.step);
                if best.as_ref().is_none_or(|(known, _)| step > *known) {
                    best = Some((step, checkpoint));
                }
            }
            Err(error) => unreadable.push(error),
        }
    }
    match (best, unreadable.is_empty()) {
        (Some((_, checkpoint)), _) => Ok((checkpoint, unreadable.iter().map(ToString::to_string).collect())),
        (None, false) => Err(unreadable.remove(0).into()),
        (None, true) => {
            let wanted = "this folder holds no checkpoint (checkpoints/*.safetensors); give a checkpoint or a run folder";
            Err(missing(wanted.to_string()))
        }
    }
}

fn config_of_run(checkpoint: &Path) -> Result<PathBuf, ExportError> {
    let folder = checkpoint.parent().unwrap_or(Path::new(""));
    let candidates = [folder.join("config.yaml"), folder.join("../config.yaml")];
    candidates.into_iter().find(|path| path.is_file()).ok_or_else(|| ExportError::Source {
        path: checkpoint.to_path_buf(),
        message:
            "a plain file of weights, and no config.yaml beside it or in the folder above; give --config FILE"
                .to_string(),
    })
}
