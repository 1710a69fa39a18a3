//! What an ONNX file of this project says of itself, in its `metadata_props`.
//!
//! Every key starts with `ddae.`. [`GraphDescription::to_entries`] writes them and
//! [`GraphDescription::from_lookup`] reads them, whichever library holds the file.
//!
//! | key | value |
//! | --- | --- |
//! | `ddae.format` | [`FORMAT`] |
//! | `ddae.kind` | `network`, `features` or `sampler` |
//! | `ddae.config` | the configuration (YAML) |
//! | `ddae.checkpoint` | name of the checkpoint file |
//! | `ddae.digest` | SHA-256 of the checkpoint file, hexadecimal |
//! | `ddae.weights` | `ema` or `model`; absent for a plain file of weights |
//! | `ddae.epoch`, `ddae.step` | where training stood; absent for a plain file of weights |
//! | `ddae.taps` | JSON list of `{"name": "out_6", "shape": [256]}`, shapes without the batch |
//! | `ddae.pixels` | values of picture inputs: `[0,1]`, `0..255` or `[-1,1]` |
//! | `ddae.timestep` | the timestep fixed in the graph; absent where it is an input |
//! | `ddae.parameters`, `ddae.flops` | trained values that the graph uses, floating-point operations per picture |
//! | `ddae.tool` | program and version that wrote the file |
//! | `ddae.verification` | JSON of [`Verification`] |

use serde::{Deserialize, Serialize};

use crate::checkpoint::WeightSet;

/// The value of `ddae.format` that this version reads and writes.
pub const FORMAT: &str = "ddae-onnx-1";

/// What a graph computes; its inputs and outputs follow from it (`docs/architecture.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GraphKind {
    /// The bare network.
    Network,
    /// Pictures to pooled features.
    Features,
    /// One step of a sampler.
    Sampler,
}

impl GraphKind {
    /// The name in files and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            GraphKind::Network => "network",
            GraphKind::Features => "features",
            GraphKind::Sampler => "sampler",
        }
    }
}

/// The values that pictures have at the graph's inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Pixels {
    /// Floats from 0 to 1.
    #[serde(rename = "[0,1]")]
    Unit,
    /// Bytes.
    #[serde(rename = "0..255")]
    Bytes,
    /// Floats from -1 to 1, noised.
    #[serde(rename = "[-1,1]")]
    Signed,
}

impl Pixels {
    /// The name in files.
    pub fn name(self) -> &'static str {
        match self {
            Pixels::Unit => "[0,1]",
            Pixels::Bytes => "0..255",
            Pixels::Signed => "[-1,1]",
        }
    }
}

/// An intermediate layer that the graph gives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TapDescription {
    /// Name of the layer and of the output.
    pub name: String,
    /// Its shape without the batch: `[D]` pooled, `[C, H, W]` as a map.
    pub shape: Vec<usize>,
}

/// How far the file's outputs, computed by ONNX Runtime, were from others when it was written.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verification {
    /// Largest relative difference `||a - b|| / ||b||` of an output from the reference interpreter's.
    pub reference: f64,
    /// Relative difference from the outputs recorded in the checkpoint, where it has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<f64>,
    /// The largest difference that would have been accepted.
    pub tolerance: f64,
}

/// What a file is and where it comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct GraphDescription {
    /// What is computed.
    pub kind: GraphKind,
    /// The configuration (YAML).
    pub config: String,
    /// Name of the checkpoint file.
    pub checkpoint: String,
    /// SHA-256 of the checkpoint file, hexadecimal.
    pub digest: String,
    /// Which weights of a training checkpoint; `None` for a plain file of weights.
    pub weights: Option<WeightSet>,
    /// Finished epochs of a training checkpoint.
    pub epoch: Option<u64>,
    /// Finished steps of a training checkpoint.
    pub step: Option<u64>,
    /// The intermediate layers among the outputs.
    pub taps: Vec<TapDescription>,
    /// Values of the picture inputs.
    pub pixels: Pixels,
    /// The timestep fixed in the graph.
    pub timestep: Option<i64>,
    /// Trained values that the graph uses.
    pub parameters: u64,
    /// Floating-point operations per picture, as [`crate::graph::Graph::flops`] counts them.
    pub flops: u64,
    /// Program and version that wrote the file.
    pub tool: String,
    /// How the file was checked; `None` while it is being written.
    pub verification: Option<Verification>,
}

/// Metadata that is missing or cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DescriptionError {
    /// Not a file of this project.
    #[error("the file has no '{0}' in its metadata: it was not written by ddae-export; export it again")]
    Missing(&'static str),
    /// A file of another version.
    #[error("the file's metadata is of format '{0}' and this version reads '{FORMAT}'; export it again")]
    Format(String),
    /// An entry that makes no sense.
    #[error("the file's metadata entry '{key}' is '{value}', which is not {wanted}; export it again")]
    Value {
        /// The key.
        key: &'static str,
        /// What it holds.
        value: String,
        /// What was wanted.
        wanted: &'static str,
    },
}

impl Verification {
    /// The entry that holds it, which is added once the file has been checked.
    pub fn to_entry(&self) -> (String, String) {
        ("ddae.verification".to_string(), json(self))
    }
}

impl GraphDescription {
    /// The metadata entries, in the order of the table above.
    pub fn to_entries(&self) -> Vec<(String, String)> {
        let mut entries = vec![
            ("ddae.format", FORMAT.to_string()),
            ("ddae.kind", self.kind.name().to_string()),
            ("ddae.config", self.config.clone()),
            ("ddae.checkpoint", self.checkpoint.clone()),
            ("ddae.digest", self.digest.clone()),
        ];
        if let Some(set) = self.weights {
            entries.push(("ddae.weights", set.prefix().trim_end_matches('.').to_string()));
        }
        entries.extend(self.epoch.map(|epoch| ("ddae.epoch", epoch.to_string())));
        entries.extend(self.step.map(|step| ("ddae.step", step.to_string())));
        entries.push(("ddae.taps", json(&self.taps)));
        entries.push(("ddae.pixels", self.pixels.name().to_string()));
        entries.extend(self.timestep.map(|timestep| ("ddae.timestep", timestep.to_string())));
        entries.push(("ddae.parameters", self.parameters.to_string()));
        entries.push(("ddae.flops", self.flops.to_string()));
        entries.push(("ddae.tool", self.tool.clone()));
        let mut entries: Vec<(String, String)> =
            entries.into_iter().map(|(key, value)| (key.to_string(), value)).collect();
        entries.extend(self.verification.map(|verification| verification.to_entry()));
        entries
    }

    /// Reads the entries through `lookup`, which gives the value of a key.
    ///
    /// # Errors
    /// [`DescriptionError`]: not a file of ours, of another format, or with a broken entry.
    pub fn from_lookup(
        lookup: impl Fn(&str) -> Option<String>,
    ) -> Result<GraphDescription, DescriptionError> {
        let text = |key: &'static str| lookup(key).ok_or(DescriptionError::Missing(key));
        let format = text("ddae.format")?;
        if format != FORMAT {
            return Err(DescriptionError::Format(format));
        }
        let whole = "a whole number";
        Ok(GraphDescription {
            kind: named("ddae.kind", text("ddae.kind")?, "network, features or sampler")?,
            config: text("ddae.config")?,
            checkpoint: text("ddae.checkpoint")?,
            digest: text("ddae.digest")?,
            weights: lookup("ddae.weights").map(|v| named("ddae.weights", v, "ema or model")).transpose()?,
            epoch: lookup("ddae.epoch").map(|v| parsed("ddae.epoch", v, whole)).transpose()?,
            step: lookup("ddae.step").map(|v| parsed("ddae.step", v, whole)).transpose()?,
            taps: parsed("ddae.taps", text("ddae.taps")?, "a list of layers")?,
            pixels: named("ddae.pixels", text("ddae.pixels")?, "[0,1], 0..255 or [-1,1]")?,
            timestep: lookup("ddae.timestep").map(|v| parsed("ddae.timestep", v, whole)).transpose()?,
            parameters: parsed("ddae.parameters", text("ddae.parameters")?, whole)?,
            flops: parsed("ddae.flops", text("ddae.flops")?, whole)?,
            tool: text("ddae.tool")?,
            verification: lookup("ddae.verification")
                .map(|v| parsed("ddae.verification", v, "a verification"))
                .transpose()?,
        })
    }
}

/// Types of this module always have a JSON form; the empty text would be noticed on reading.
fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

fn parsed<T: for<'de> Deserialize<'de>>(
    key: &'static str,
    value: String,
    wanted: &'static str,
) -> Result<T, DescriptionError> {
    serde_json::from_str(&value).map_err(|_| DescriptionError::Value { key, value, wanted })
}

/// A value that is one of a few names.
fn named<T: for<'de> Deserialize<'de>>(
    key: &'static str,
    value: String,
    wanted: &'static str,
) -> Result<T, DescriptionError> {
    serde_json::from_value(serde_json::Value::String(value.clone())).map_err(|_| DescriptionError::Value {
        key,
        value,
        wanted,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn description() -> GraphDescription {
        GraphDescription {
            kind: GraphKind::Features,
            config: "dataset: cifar\n".to_string(),
            checkpoint: "latest.safetensors".to_string(),
            digest: "0123".to_string(),
            weights: Some(WeightSet::Ema),
            epoch: Some(8),
            step: Some(752),
            taps: vec![TapDescription { name: "out_6".to_string(), shape: vec![256] }],
            pixels: Pixels::Unit,
            timestep: Some(11),
            parameters: 35_746_307,
            flops: 12_000_000_000,
            tool: "ddae-export 0.1.0".to_string(),
            verification: Some(Verification { reference: 1.5e-7, record: None, tolerance: 1e-4 }),
        }
    }

    fn entries(description: &GraphDescription) -> HashMap<String, String> {
        description.to_entries().into_iter().collect()
    }

    #[test]
    fn what_is_written_is_read() {
        let full = description();
        let plain = GraphDescription {
            weights: None,
            epoch: None,
            step: None,
            timestep: None,
            taps: vec![],
            ..full.clone()
        };
        for written in [full, plain] {
            let entries = entries(&written);
            assert_eq!(GraphDescription::from_lookup(|key| entries.get(key).cloned()), Ok(written));
        }
    }

    #[test]
    fn a_foreign_file_is_named_as_one() {
        let error = GraphDescription::from_lookup(|_| None).unwrap_err();
        assert_eq!(error, DescriptionError::Missing("ddae.format"));
    }

    #[test]
    fn broken_entries_are_named() {
        for (key, value, message) in [
            ("ddae.format", "ddae-onnx-9", "of format 'ddae-onnx-9'"),
            ("ddae.kind", "decoder", "'ddae.kind' is 'decoder', which is not network, features or sampler"),
            ("ddae.timestep", "soon", "'ddae.timestep' is 'soon', which is not a whole number"),
            ("ddae.taps", "[", "'ddae.taps' is '['"),
        ] {
            let mut entries = entries(&description());
            entries.insert(key.to_string(), value.to_string());
            let error = GraphDescription::from_lookup(|key| entries.get(key).cloned()).unwrap_err();
            assert!(error.to_string().contains(message), "{error}");
        }
    }
}
