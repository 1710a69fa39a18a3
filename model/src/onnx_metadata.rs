//! What an exported ONNX file says of itself, in its `metadata_props`.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::checkpoint::WeightSet;

/// The value of `ddae.format` that this version reads and writes.
pub const FORMAT: &str = "ddae-onnx-1";

/// What a graph computes; the tensors of each kind are listed in `docs/architecture.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GraphKind {
    /// The network itself.
    Network,
    /// Pictures, noise and a timestep to pooled layers.
    Features,
    /// One step of a sampler.
    Sampler,
}

impl GraphKind {
    /// `network`, `features` or `sampler`.
    pub fn name(self) -> &'static str {
        match self {
            GraphKind::Network => "network",
            GraphKind::Features => "features",
            GraphKind::Sampler => "sampler",
        }
    }
}

impl fmt::Display for GraphKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A layer that a file gives out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TapDescription {
    /// `out_6`.
    pub name: String,
    /// Its shape without the batch: `[D]` when pooled, `[C, H, W]` otherwise.
    pub shape: Vec<usize>,
}

impl TapDescription {
    /// Numbers per picture.
    pub fn width(&self) -> usize {
        self.shape.iter().product()
    }
}

/// Everything that a file says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GraphDescription {
    /// What it computes.
    pub kind: GraphKind,
    /// The configuration of the model.
    pub config_yaml: String,
    /// The layers that it gives out.
    pub taps: Vec<TapDescription>,
    /// The timestep built in.
    pub timestep: Option<i64>,
    /// Whether pictures go in as bytes `[B,H,W,C]`.
    pub input_u8: bool,
    /// What pictures are scaled to before the network sees them.
    pub normalisation: String,
    /// Name of the checkpoint file.
    pub checkpoint: String,
    /// SHA-256 of the checkpoint file.
    pub digest: String,
    /// Which of its weights.
    pub weights: WeightSet,
    /// Epochs that they were trained for, where the checkpoint says it.
    pub epoch: Option<u64>,
    /// Steps that they were trained for, where the checkpoint says it.
    pub step: Option<u64>,
    /// The tool that wrote the file, with its version.
    pub tool: String,
    /// The largest relative difference found when the file was verified.
    pub verified: Option<f64>,
}

/// Metadata that are not those of such a file.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum DescriptionError {
    /// None of ours.
    #[error("it has no ddae metadata")]
    Foreign,
    /// Of another version.
    #[error("its metadata are of format '{0}' and this version reads '{FORMAT}': use a newer ddae")]
    Format(String),
    /// Not readable.
    #[error("its metadata cannot be read ({0})")]
    Invalid(String),
}

impl GraphDescription {
    /// The entries of `metadata_props`: `ddae.format`, `ddae.graph` (this as JSON), and for readers of other tools
    /// `ddae.kind`, `ddae.config`, `ddae.taps`, `ddae.checkpoint` and `ddae.digest` once more.
    pub fn to_map(&self) -> BTreeMap<String, String> {
        let taps: Vec<&str> = self.taps.iter().map(|tap| tap.name.as_str()).collect();
        let entries = [
            ("ddae.format", FORMAT.to_string()),
            // Strings, numbers and lists: JSON can hold them all.
            ("ddae.graph", serde_json::to_string(self).unwrap_or_default()),
            ("ddae.kind", self.kind.to_string()),
            ("ddae.config", self.config_yaml.clone()),
            ("ddae.taps", taps.join(",")),
            ("ddae.checkpoint", self.checkpoint.clone()),
            ("ddae.digest", self.digest.clone()),
        ];
        entries.into_iter().map(|(key, value)| (key.to_string(), value)).collect()
    }

    /// Reads the entries back.
    ///
    /// # Errors
    /// When they are not there, of a newer format or damaged.
    pub fn from_map(entries: &BTreeMap<String, String>) -> Result<GraphDescription, DescriptionError> {
        let format = entries.get("ddae.format").ok_or(DescriptionError::Foreign)?;
        if format != FORMAT {
            return Err(DescriptionError::Format(format.clone()));
        }
        let graph = entries.get("ddae.graph").ok_or(DescriptionError::Foreign)?;
        serde_json::from_str(graph).map_err(|error| DescriptionError::Invalid(error.to_string()))
    }
}
