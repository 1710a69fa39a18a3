//! What a checkpoint holds: a safetensors or PyTorch file.

use std::path::Path;

use ddae_checkpoint::{Checkpoint, CheckpointError, NamedWeights, SetRole, TrainingState, WeightSet};
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
    /// Every set of their weights.
    pub sets: Vec<SetReport>,
    /// Moving averages that have no names and fit no other weights.
    pub nameless_averages: Vec<String>,
    /// SHA-256 of the file.
    pub digest: String,
    /// Where training stood, in a training checkpoint.
    pub state: Option<TrainingState>,
    /// The configuration (YAML) of a training checkpoint.
    pub config: Option<String>,
    pub tensors: Vec<TensorReport>,
    /// What a PyTorch file holds beside them, printed.
    pub values: Vec<ValueEntry>,
    /// How many more values there are.
    pub values_left_out: usize,
    /// Python objects that a PyTorch file refers to and that weights have no need of. Nothing of them was run.
    pub foreign_objects: Vec<String>,
}

/// A set of weights in a file.
#[derive(Clone, Debug, Serialize)]
pub struct SetReport {
    /// What stands before its names; `--weights` takes it.
    pub prefix: String,
    /// What the prefix tells, in words.
    pub role: Option<&'static str>,
    /// The networks whose weights they are, in words.
    pub networks: Vec<String>,
    /// Number of tensors.
    pub tensors: usize,
    /// Their elements.
    pub elements: u64,
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
        networks: networks(&checkpoint),
        sets: checkpoint.sets().iter().map(set_report).collect(),
        nameless_averages: checkpoint.nameless_averages().iter().map(|list| list.name.clone()).collect(),
        digest: checkpoint.digest(),
        state: checkpoint.state().cloned(),
        config: checkpoint.config().map(|config| config.to_yaml()),
        tensors: tensors.collect(),
        values: values.map(|(name, value)| ValueEntry { name, value }).collect(),
        values_left_out: checkpoint.values_left_out(),
        foreign_objects: checkpoint.foreign_objects().to_vec(),
    })
}

fn set_report(set: &NamedWeights) -> SetReport {
    SetReport {
        prefix: set.prefix().to_string(),
        role: match set.role() {
            SetRole::Average => Some("the moving average"),
            SetRole::Copy => Some("those in training"),
            SetRole::Plain => None,
        },
        networks: set.families().iter().map(|family| family.name.to_string()).collect(),
        tensors: set.tensors(),
        elements: set.elements(),
    }
}

/// The kinds of networks in it, each once.
fn networks(checkpoint: &Checkpoint) -> Vec<String> {
    let mut networks: Vec<String> = Vec::new();
    for family in checkpoint.sets().iter().flat_map(NamedWeights::families) {
        if !networks.iter().any(|known| known == family.name) {
            networks.push(family.name.to_string());
        }
    }
    networks
}
