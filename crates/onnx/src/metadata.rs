//! What an ONNX file of this project says of itself, in its `metadata_props`.
//!
//! Every key starts with `ddae.`. [`GraphDescription::to_entries`] writes them and
//! [`GraphDescription::from_lookup`] reads them, whichever library holds the file.
//!
//! | key | value |
//! | --- | --- |
//! | `ddae.format` | [`FORMAT`] |
//! | `ddae.kind` | `network`, `features`, `sampler`, `encoder` or `latent` |
//! | `ddae.network` | what the network is, in words; absent in files of older versions |
//! | `ddae.config` | the configuration (YAML) |
//! | `ddae.checkpoint` | name of the checkpoint file |
//! | `ddae.digest` | SHA-256 of the checkpoint file, hexadecimal |
//! | `ddae.weights` | `ema` or `model`; absent for a plain file of weights |
//! | `ddae.epoch`, `ddae.step` | where training stood; absent for a plain file of weights |
//! | `ddae.taps` | JSON list of `{"name": "out_6", "shape": [256]}`, shapes without the batch |
//! | `ddae.pixels` | values of image inputs: `[0,1]`, `0..255`, `[-1,1]`, `normalised` or `latent` |
//! | `ddae.unit_length` | `true` where an encoder's output is divided by its length |
//! | `ddae.timestep` | the timestep fixed in the graph; absent where it is an input |
//! | `ddae.parameters`, `ddae.flops` | trained values that the graph uses, floating-point operations per image |
//! | `ddae.tool` | program and version that wrote the file |
//! | `ddae.precision` | `f32`, `f16`, `bf16` or `int8`; absent in files of earlier versions, which are f32 |
//! | `ddae.calibration` | JSON of [`Calibration`]; absent unless the precision is `int8` |
//! | `ddae.verification` | JSON of [`Verification`] |
//! | `ddae.errors` | JSON of [`Errors`] |

pub use ddae_model::diffusion::Pixels;
pub use ddae_model::graph::GraphKind;
use ddae_model::weights::WeightSet;
use serde::{Deserialize, Serialize};

/// The value of `ddae.format` that this version reads and writes.
pub const FORMAT: &str = "ddae-onnx-1";

/// How the numbers of a graph are stored and computed. Inputs and outputs are float32 in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32-bit floats.
    #[default]
    F32,
    /// 16-bit floats between the first and the last product.
    F16,
    /// Weights stored as 16-bit floats of the range of 32-bit ones, computed with in float32.
    Bf16,
    /// 8-bit integers in products with weights.
    Int8,
}

impl Precision {
    /// The name in files and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::F16 => "f16",
            Precision::Bf16 => "bf16",
            Precision::Int8 => "int8",
        }
    }
}

/// What the ranges of integers were chosen from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// The images: data set and split.
    #[serde(rename = "pictures")]
    pub images: String,
    /// Their number.
    pub count: u64,
    /// The timesteps of their noise, in turn.
    pub timesteps: Vec<i64>,
    /// The rule: `minmax`, `percentile` or `error`.
    pub range: String,
}

/// How far the outputs of a file are from those in float32: of an f32 file from the reference interpreter's, of others
/// from those of the same graph in float32. Computed on the CPU when the file was written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Errors {
    /// The inputs: data set and split, or `random inputs`.
    pub inputs: String,
    /// Number of samples.
    pub count: u64,
    /// The outputs, in order.
    pub outputs: Vec<OutputError>,
}

/// The difference of one output, `a`, from that in float32, `b`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutputError {
    /// The output.
    pub name: String,
    /// `||a - b|| / ||b||` over all samples.
    pub relative: f64,
    /// The cosine between `a` and `b` after the mean over the samples was taken from each. Features share a large part
    /// that says nothing about an image; this measures what is left.
    pub cosine: f64,
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
    /// What the network is, in words.
    pub network: Option<String>,
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
    /// Values of the image inputs.
    pub pixels: Pixels,
    /// Whether an encoder's output is divided by its length.
    pub unit_length: bool,
    /// The timestep fixed in the graph.
    pub timestep: Option<i64>,
    /// Trained values that the graph uses.
    pub parameters: u64,
    /// Floating-point operations per image, as [`ddae_model::graph::Graph::flops`] counts them.
    pub flops: u64,
    /// Program and version that wrote the file.
    pub tool: String,
    /// How the numbers are stored and computed.
    pub precision: Precision,
    /// What the ranges of integers were chosen from.
    pub calibration: Option<Calibration>,
    /// How the file was checked; `None` while it is being written.
    pub verification: Option<Verification>,
    /// How far the outputs are from those in float32; `None` while the file is being written.
    pub errors: Option<Errors>,
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

impl Errors {
    /// The entry that holds them, which is added once the file has been checked.
    pub fn to_entry(&self) -> (String, String) {
        ("ddae.errors".to_string(), json(self))
    }
}

impl GraphDescription {
    /// The metadata entries, in the order of the table above.
    pub fn to_entries(&self) -> Vec<(String, String)> {
        let mut entries =
            vec![("ddae.format", FORMAT.to_string()), ("ddae.kind", self.kind.name().to_string())];
        entries.extend(self.network.clone().map(|network| ("ddae.network", network)));
        entries.extend([
            ("ddae.config", self.config.clone()),
            ("ddae.checkpoint", self.checkpoint.clone()),
            ("ddae.digest", self.digest.clone()),
        ]);
        if let Some(set) = self.weights {
            entries.push(("ddae.weights", set.name().to_string()));
        }
        entries.extend(self.epoch.map(|epoch| ("ddae.epoch", epoch.to_string())));
        entries.extend(self.step.map(|step| ("ddae.step", step.to_string())));
        entries.push(("ddae.taps", json(&self.taps)));
        entries.push(("ddae.pixels", self.pixels.name().to_string()));
        entries.extend(self.unit_length.then(|| ("ddae.unit_length", "true".to_string())));
        entries.extend(self.timestep.map(|timestep| ("ddae.timestep", timestep.to_string())));
        entries.push(("ddae.parameters", self.parameters.to_string()));
        entries.push(("ddae.flops", self.flops.to_string()));
        entries.push(("ddae.tool", self.tool.clone()));
        entries.push(("ddae.precision", self.precision.name().to_string()));
        entries.extend(self.calibration.as_ref().map(|calibration| ("ddae.calibration", json(calibration))));
        let mut entries: Vec<(String, String)> =
            entries.into_iter().map(|(key, value)| (key.to_string(), value)).collect();
        entries.extend(self.verification.map(|verification| verification.to_entry()));
        entries.extend(self.errors.as_ref().map(Errors::to_entry));
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
            kind: named("ddae.kind", text("ddae.kind")?, "network, features, sampler, encoder or latent")?,
            network: lookup("ddae.network"),
            config: text("ddae.config")?,
            checkpoint: text("ddae.checkpoint")?,
            digest: text("ddae.digest")?,
            weights: lookup("ddae.weights").map(|v| named("ddae.weights", v, "ema or model")).transpose()?,
            epoch: lookup("ddae.epoch").map(|v| parsed("ddae.epoch", v, whole)).transpose()?,
            step: lookup("ddae.step").map(|v| parsed("ddae.step", v, whole)).transpose()?,
            taps: parsed("ddae.taps", text("ddae.taps")?, "a list of layers")?,
            pixels: named(
                "ddae.pixels",
                text("ddae.pixels")?,
                "[0,1], 0..255, [-1,1], normalised or latent",
            )?,
            unit_length: lookup("ddae.unit_length")
                .map(|v| parsed("ddae.unit_length", v, "true or false"))
                .transpose()?
                .unwrap_or(false),
            timestep: lookup("ddae.timestep").map(|v| parsed("ddae.timestep", v, whole)).transpose()?,
            parameters: parsed("ddae.parameters", text("ddae.parameters")?, whole)?,
            flops: parsed("ddae.flops", text("ddae.flops")?, whole)?,
            tool: text("ddae.tool")?,
            precision: lookup("ddae.precision")
                .map(|v| named("ddae.precision", v, "f32, f16, bf16 or int8"))
                .transpose()?
                .unwrap_or_default(),
            calibration: lookup("ddae.calibration")
                .map(|v| parsed("ddae.calibration", v, "a calibration"))
                .transpose()?,
            verification: lookup("ddae.verification")
                .map(|v| parsed("ddae.verification", v, "a verification"))
                .transpose()?,
            errors: lookup("ddae.errors")
                .map(|v| parsed("ddae.errors", v, "errors of the outputs"))
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
            network: Some("UNet".to_string()),
            config: "dataset: cifar\n".to_string(),
            checkpoint: "latest.safetensors".to_string(),
            digest: "0123".to_string(),
            weights: Some(WeightSet::Ema),
            epoch: Some(8),
            step: Some(752),
            taps: vec![TapDescription { name: "out_6".to_string(), shape: vec![256] }],
            pixels: Pixels::Unit,
            unit_length: true,
            timestep: Some(11),
            parameters: 35_746_307,
            flops: 12_000_000_000,
            tool: "ddae-export 0.1.0".to_string(),
            precision: Precision::Int8,
            calibration: Some(Calibration {
                images: "cifar10/train".to_string(),
                count: 128,
                timesteps: vec![11],
                range: "minmax".to_string(),
            }),
            verification: Some(Verification { reference: 1.5e-7, record: None, tolerance: 1e-4 }),
            errors: Some(Errors {
                inputs: "cifar10/train".to_string(),
                count: 64,
                outputs: vec![OutputError { name: "out_6".to_string(), relative: 0.01, cosine: 0.999 }],
            }),
        }
    }

    fn entries(description: &GraphDescription) -> HashMap<String, String> {
        description.to_entries().into_iter().collect()
    }

    #[test]
    fn what_is_written_is_read() {
        let full = description();
        let plain = GraphDescription {
            network: None,
            unit_length: false,
            weights: None,
            epoch: None,
            step: None,
            timestep: None,
            taps: vec![],
            precision: Precision::F32,
            calibration: None,
            errors: None,
            ..full.clone()
        };
        for written in [full, plain] {
            let entries = entries(&written);
            assert_eq!(GraphDescription::from_lookup(|key| entries.get(key).cloned()), Ok(written));
        }
    }

    #[test]
    fn a_file_without_a_precision_is_float32() {
        let mut entries = entries(&description());
        entries.remove("ddae.precision");
        let read = GraphDescription::from_lookup(|key| entries.get(key).cloned()).expect("a description");
        assert_eq!(read.precision, Precision::F32);
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
            (
                "ddae.kind",
                "decoder",
                "'ddae.kind' is 'decoder', which is not network, features, sampler, encoder or latent",
            ),
            ("ddae.timestep", "soon", "'ddae.timestep' is 'soon', which is not a whole number"),
            ("ddae.taps", "[", "'ddae.taps' is '['"),
            ("ddae.precision", "f8", "'ddae.precision' is 'f8', which is not f32, f16, bf16 or int8"),
        ] {
            let mut entries = entries(&description());
            entries.insert(key.to_string(), value.to_string());
            let error = GraphDescription::from_lookup(|key| entries.get(key).cloned()).unwrap_err();
            assert!(error.to_string().contains(message), "{error}");
        }
    }
}
