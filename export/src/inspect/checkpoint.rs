//! What a checkpoint holds: a safetensors or PyTorch file.

use std::path::Path;

use ddae_checkpoint::{Checkpoint, CheckpointError, TrainingState, WeightSet};
use ddae_model::networks::recognition::find;
use serde::Serialize;

/// What a checkpoint holds.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs)] // The fields are the keys of the JSON.
pub struct CheckpointReport {
    /// Its format: `safetensors`, `PyTorch`.
    pub format: String,
    /// How it arranges its weights, in words.
    pub layout: String,
    /// The sets of weights in it, the one that is taken unless the other is asked for first.
    pub weight_sets: Vec<WeightSet>,
    /// The networks in it that are known, in words.
    pub networks: Vec<String>,
    /// SHA-256 of the file.
    pub digest: String,
    /// Where training stood, in a training checkpoint.
    pub state: Option<TrainingState>,
    /// The configuration (YAML) of a training checkpoint.
    pub config: Option<String>,
    pub tensors: Vec<TensorReport>,
    /// What a PyTorch file holds beside them, printed.
    pub values: Vec<ValueEntry>,
}

/// A value of a PyTorch file that is no tensor.
#[derive(Clone, Debug, Serialize)]
pub struct ValueEntry {
    /// The keys that lead to it, joined with dots.
    pub name: String,
    /// The value as Python prints it, abridged.
    pub value: String,
}

/// A tensor of a file.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs)]
pub struct TensorReport {
    pub name: String,
    pub dtype: String,
    pub shape: Vec<usize>,
}

impl CheckpointReport {
    /// Elements of all tensors whose name starts with `prefix`; views of few numbers may claim more than can be counted.
    pub fn elements(&self, prefix: &str) -> u64 {
        let tensors = self.tensors.iter().filter(|tensor| tensor.name.starts_with(prefix));
        let count =
            |tensor: &TensorReport| tensor.shape.iter().fold(1, |n: u64, &d| n.saturating_mul(d as u64));
        tensors.map(count).fold(0, u64::saturating_add)
    }
}

pub fn report(path: &Path) -> Result<CheckpointReport, CheckpointError> {
    let checkpoint = Checkpoint::open(path)?;
    let tensors = checkpoint.tensors().iter().map(|tensor| TensorReport {
        name: tensor.name().to_string(),
        dtype: tensor.element().to_string(),
        shape: tensor.shape().to_vec(),
    });
    let values = checkpoint.values().iter().cloned();
    Ok(CheckpointReport {
        format: checkpoint.format().name().to_string(),
        layout: checkpoint.layout().to_string(),
        weight_sets: checkpoint.weight_sets(),
        networks: networks(&checkpoint)?,
        digest: checkpoint.digest(),
        state: checkpoint.state().cloned(),
        config: checkpoint.config().map(|config| config.to_yaml()),
        tensors: tensors.collect(),
        values: values.map(|(name, value)| ValueEntry { name, value }).collect(),
    })
}

/// What the names of the preferred set are of; nothing where they are of no known network.
fn networks(checkpoint: &Checkpoint) -> Result<Vec<String>, CheckpointError> {
    let set = checkpoint.weight_sets().first().copied().unwrap_or_default();
    let found = find(&checkpoint.shapes(set)?).unwrap_or_default();
    Ok(found.into_iter().map(|found| found.family.name.to_string()).collect())
}
