//! What a safetensors file holds.

use std::path::Path;

use ddae_model::checkpoint::{Checkpoint, CheckpointError, TrainingState};
use serde::Serialize;

/// What a safetensors file holds.
#[derive(Clone, Debug, Serialize)]
pub struct CheckpointReport {
    /// SHA-256 of the file.
    pub digest: String,
    /// Where training stood, in a training checkpoint.
    pub state: Option<TrainingState>,
    /// The configuration (YAML) of a training checkpoint.
    pub config: Option<String>,
    /// Its tensors by name.
    pub tensors: Vec<TensorReport>,
}

/// A tensor of a file.
#[derive(Clone, Debug, Serialize)]
pub struct TensorReport {
    /// Its name.
    pub name: String,
    /// Its element type.
    pub dtype: String,
    /// Its shape.
    pub shape: Vec<usize>,
}

impl CheckpointReport {
    /// Elements of all tensors whose name starts with `prefix`.
    pub fn elements(&self, prefix: &str) -> u64 {
        let tensors = self.tensors.iter().filter(|tensor| tensor.name.starts_with(prefix));
        tensors.map(|tensor| tensor.shape.iter().product::<usize>() as u64).sum()
    }
}

pub fn report(path: &Path) -> Result<CheckpointReport, CheckpointError> {
    let checkpoint = Checkpoint::open(path)?;
    let tensors = checkpoint.tensors()?;
    Ok(CheckpointReport {
        digest: checkpoint.digest(),
        state: checkpoint.state().cloned(),
        config: checkpoint.config().map(|config| config.to_yaml()),
        tensors: tensors
            .into_iter()
            .map(|(name, shape, dtype)| TensorReport { name, dtype, shape })
            .collect(),
    })
}
