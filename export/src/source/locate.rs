//! The checkpoint that a path means: a file, or one in the folder of a run or of a diffusers model.

use std::path::{Path, PathBuf};

use ddae_checkpoint::{Checkpoint, Format, Furthest};
use ddae_onnx::metadata::GraphKind;

use super::diffusers::DiffusersFolder;
use crate::ExportError;

/// What the names of diffusers' files of weights begin with (`diffusion_pytorch_model.fp16.safetensors`).
const STEM: &str = "diffusion_pytorch_model";

/// What files of diffusers' models are called, the preferred first.
const WEIGHTS: [&str; 3] = [
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.safetensors.index.json",
    "diffusion_pytorch_model.bin",
];

/// A checkpoint, and what lies beside it.
pub(super) struct Located {
    pub checkpoint: Checkpoint,
    /// Files of a run folder that cannot be read, a line each.
    pub passed_over: Vec<String>,
    /// What diffusers wrote beside it.
    pub diffusers: DiffusersFolder,
    /// The configuration of the run that it seems to belong to.
    pub config: Option<PathBuf>,
}

/// Opens `path`, for a graph of the wanted kind: a pipeline of diffusers holds several networks.
pub(super) fn locate(path: &Path, wanted: GraphKind) -> Result<Located, ExportError> {
    if !path.is_dir() {
        let checkpoint = Checkpoint::open(path)?;
        return Ok(Located::of(checkpoint, vec![]));
    }
    if let Some(folder) = model_folder(path, wanted) {
        let file = WEIGHTS.iter().map(|name| folder.join(name)).find(|file| file.is_file());
        let file = file.ok_or_else(|| {
            let weights = WEIGHTS.join(", ");
            ExportError::unusable(
                &folder,
                format!("it holds a config.json of diffusers, but none of {weights}"),
            )
        })?;
        return Ok(Located::of(Checkpoint::open(&file)?, vec![]));
    }
    let (checkpoint, passed_over) = furthest(path)?;
    Ok(Located::of(checkpoint, passed_over))
}

impl Located {
    fn of(checkpoint: Checkpoint, passed_over: Vec<String>) -> Located {
        let is_diffusers =
            checkpoint.path().file_name().is_some_and(|name| name.to_string_lossy().starts_with(STEM));
        let folder = checkpoint.path().parent().unwrap_or(Path::new(""));
        let diffusers = if is_diffusers { DiffusersFolder::find(folder) } else { DiffusersFolder::default() };
        let candidates = [folder.join("config.yaml"), folder.join("../config.yaml")];
        let is_ours = !is_diffusers && checkpoint.format() == Format::Safetensors;
        let config = candidates.into_iter().find(|path| is_ours && path.is_file());
        Located { checkpoint, passed_over, diffusers, config }
    }
}

/// The folder of a diffusers model: `path` itself, or the part of a pipeline that the wanted graph is of.
fn model_folder(path: &Path, wanted: GraphKind) -> Option<PathBuf> {
    let parts = match wanted {
        GraphKind::Latent => ["vae", "unet"],
        _ => ["unet", "vae"],
    };
    let places = std::iter::once(path.to_path_buf()).chain(parts.map(|part| path.join(part)));
    places.into_iter().find(|folder| folder.join("config.json").is_file())
}

/// The whole checkpoint in a run folder (or in its `checkpoints`) that is furthest in training. Files that cannot be read,
/// and damaged ones that are further, are passed over while there is one left, and given as the second result, a line each.
fn furthest(folder: &Path) -> Result<(Checkpoint, Vec<String>), ExportError> {
    let inner = folder.join("checkpoints");
    let place = if inner.is_dir() { inner.as_path() } else { folder };
    let Furthest { checkpoint, mut passed_over } = Furthest::find(place, |_| Ok(()))?;
    match (checkpoint, passed_over.is_empty()) {
        (Some(checkpoint), _) => Ok((checkpoint, passed_over.iter().map(ToString::to_string).collect())),
        (None, false) => Err(passed_over.remove(0).into()),
        (None, true) => {
            let wanted = "this folder holds no checkpoint (checkpoints/*.safetensors) and no model of diffusers \
                          (config.json, diffusion_pytorch_model.*); give a checkpoint, a run folder or a model's folder";
            Err(ExportError::unusable(folder, wanted))
        }
    }
}
