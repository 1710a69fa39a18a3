//! What an ONNX file of this project says of itself, in its `metadata_props`.
//!
//! Every entry is a field of [`GraphDescription`] under its name after `ddae.`: text as it is, everything else as JSON;
//! what there is nothing to say of is left out. `ddae.format` ([`FORMAT`]) comes first.
//! [`GraphDescription::to_entries`] writes them and [`GraphDescription::from_lookup`] reads them, whichever library holds
//! the file.

use ddae_base::text::excerpt;
pub use ddae_model::diffusion::Pixels;
pub use ddae_model::graph::GraphKind;
use ddae_model::weights::WeightSet;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

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

/// The machines that a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// NVIDIA GPUs: ONNX Runtime's CUDA provider, with the operators of this project ([`crate::operators`]).
    Cuda,
}

impl Target {
    /// The name in files and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Target::Cuda => "cuda",
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

/// The noise that a graph of features or latents can be given, by the names of `ddae-infer features --noise`, and what each is
/// a function of; `docs/noise.md` says how it is drawn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoiseSources {
    /// Drawn for each image, view and timestep.
    pub keyed: String,
    /// Drawn once for each timestep.
    pub fixed: String,
    /// Not drawn.
    pub none: String,
}

impl NoiseSources {
    /// Those that this version draws.
    pub fn known() -> NoiseSources {
        NoiseSources {
            keyed: ddae_base::random::IMAGE_STREAM.to_string(),
            fixed: "chacha8 of seed and timestep".to_string(),
            none: "zeros".to_string(),
        }
    }
}

/// How far the outputs of a file are from those in float32: of an f32 file from the reference interpreter's, of others
/// from those of the same graph in float32. Computed on the CPU when the file was written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutputErrors {
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

/// Makes the description and its entries. What is `optional` may be absent: files of earlier versions have not all.
macro_rules! description {
    (
        $(#[$own:meta])*
        pub struct GraphDescription {
            $($(#[$doc:meta])* $presence:ident $field:ident: $type:ty, $wanted:literal;)+
        }
    ) => {
        $(#[$own])*
        pub struct GraphDescription {
            $($(#[$doc])* pub $field: $type,)+
        }

        impl GraphDescription {
            /// The metadata entries.
            pub fn to_entries(&self) -> Vec<(String, String)> {
                let format = Some(("ddae.format".to_string(), FORMAT.to_string()));
                let fields = [$(entry(concat!("ddae.", stringify!($field)), &self.$field),)+];
                std::iter::once(format).chain(fields).flatten().collect()
            }

            /// Reads the entries through `lookup`, which gives the value of a key.
            ///
            /// # Errors
            /// [`DescriptionError`]: not a file of ours, of another format, or with a broken entry.
            pub fn from_lookup(
                lookup: impl Fn(&str) -> Option<String>,
            ) -> Result<GraphDescription, DescriptionError> {
                match lookup("ddae.format") {
                    None => return Err(DescriptionError::Missing("ddae.format")),
                    Some(format) if format != FORMAT => {
                        return Err(DescriptionError::Format(excerpt(format, SHOWN)));
                    }
                    Some(_) => {}
                }
                Ok(GraphDescription {
                    $($field: $presence(concat!("ddae.", stringify!($field)), &lookup, $wanted)?,)+
                })
            }
        }
    };
}

description! {
    /// What a file is and where it comes from.
    #[derive(Clone, Debug, PartialEq, Serialize)]
    pub struct GraphDescription {
        /// What is computed.
        required kind: GraphKind, "network, features, sampler, encoder, latent, classifier or loss";
        /// What the network is, in words.
        optional network: Option<String>, "text";
        /// The configuration (YAML).
        required config: String, "text";
        /// Name of the checkpoint file.
        required checkpoint: String, "text";
        /// SHA-256 of the checkpoint file, hexadecimal.
        required digest: String, "text";
        /// Which weights of a training checkpoint; `None` for a plain file of weights.
        optional weights: Option<WeightSet>, "ema or model";
        /// What stands before the names of these weights in the file, or what the folder of several sets is called; `None` for
        /// bare names, and in files of earlier versions.
        optional weights_name: Option<String>, "text";
        /// Finished epochs of a training checkpoint.
        optional epoch: Option<u64>, "a whole number";
        /// Finished steps of a training checkpoint.
        optional step: Option<u64>, "a whole number";
        /// The intermediate layers among the outputs.
        required taps: Vec<TapDescription>, "a list of layers";
        /// Values of the image inputs.
        required pixels: Pixels, "[0,1], 0..255, [-1,1], normalised or latent";
        /// Whether an encoder's output is divided by its length.
        optional unit_length: bool, "true or false";
        /// The timestep fixed in the graph; `None` where it is an input.
        optional timestep: Option<i64>, "a whole number";
        /// The noise that the graph can be given; `None` where it takes none or is no graph of features, and in files of
        /// earlier versions.
        optional noise: Option<NoiseSources>, "names of noise";
        /// Trained values that the graph uses.
        required parameters: u64, "a whole number";
        /// Floating-point operations per image, as [`ddae_model::graph::Graph::flops`] counts them.
        required flops: u64, "a whole number";
        /// Program and version that wrote the file.
        required tool: String, "text";
        /// How the numbers are stored and computed; files of earlier versions, which do not say, are float32.
        optional precision: Precision, "f32, f16, bf16 or int8";
        /// The machines that it is for; `None` for any.
        optional target: Option<Target>, "cuda";
        /// What the ranges of integers were chosen from.
        optional calibration: Option<Calibration>, "a calibration";
        /// How the file was checked; `None` while it is being written.
        optional verification: Option<Verification>, "a verification";
        /// How far the outputs are from those in float32; `None` while the file is being written.
        optional errors: Option<OutputErrors>, "errors of the outputs";
    }
}

impl GraphDescription {
    /// Which weights of their file were taken, in words; `None` where the file has no others and no name for these.
    pub fn weights_line(&self) -> Option<String> {
        let set = self.weights.map(|set| match set {
            WeightSet::Ema => "the moving average",
            WeightSet::Model => "those in training",
        });
        let name = self.weights_name.as_ref().map(|name| format!("'{}'", name.escape_debug()));
        match (set, name) {
            (Some(set), Some(name)) => Some(format!("{set}, {name}")),
            (Some(set), None) => Some(set.to_string()),
            (None, name) => name,
        }
    }
}

impl Verification {
    /// The entry that holds it, which is added once the file has been checked.
    pub fn to_entry(&self) -> Option<(String, String)> {
        entry("ddae.verification", self)
    }
}

impl OutputErrors {
    /// The entry that holds them, which is added once the file has been checked.
    pub fn to_entry(&self) -> Option<(String, String)> {
        entry("ddae.errors", self)
    }
}

/// A field as an entry, if it says anything.
fn entry(key: &str, field: &impl Serialize) -> Option<(String, String)> {
    let text = match serde_json::to_value(field).ok()? {
        Value::Null | Value::Bool(false) => return None,
        Value::String(text) => text,
        // Written as the type says: a map would have its keys sorted.
        _ => serde_json::to_string(field).ok()?,
    };
    Some((key.to_string(), text))
}

fn optional<T: DeserializeOwned + Default>(
    key: &'static str,
    lookup: &impl Fn(&str) -> Option<String>,
    wanted: &'static str,
) -> Result<T, DescriptionError> {
    lookup(key).map_or_else(|| Ok(T::default()), |value| parsed(key, value, wanted))
}

fn required<T: DeserializeOwned>(
    key: &'static str,
    lookup: &impl Fn(&str) -> Option<String>,
    wanted: &'static str,
) -> Result<T, DescriptionError> {
    parsed(key, lookup(key).ok_or(DescriptionError::Missing(key))?, wanted)
}

/// Characters of a value that an error shows.
const SHOWN: usize = 100;

/// A text or a name as it is, or JSON.
fn parsed<T: DeserializeOwned>(
    key: &'static str,
    value: String,
    wanted: &'static str,
) -> Result<T, DescriptionError> {
    serde_json::from_value(Value::String(value.clone()))
        .or_else(|_| serde_json::from_str(&value))
        .map_err(|_| DescriptionError::Value { key, value: excerpt(value, SHOWN), wanted })
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
            weights_name: Some("ema".to_string()),
            epoch: Some(8),
            step: Some(752),
            taps: vec![TapDescription { name: "out_6".to_string(), shape: vec![256] }],
            pixels: Pixels::Unit,
            unit_length: true,
            timestep: Some(11),
            noise: Some(NoiseSources::known()),
            parameters: 35_746_307,
            flops: 12_000_000_000,
            tool: "ddae-export 0.1.0".to_string(),
            precision: Precision::Int8,
            target: Some(Target::Cuda),
            calibration: Some(Calibration {
                images: "cifar10/train".to_string(),
                count: 128,
                timesteps: vec![11],
                range: "minmax".to_string(),
            }),
            verification: Some(Verification { reference: 1.5e-7, record: None, tolerance: 1e-4 }),
            errors: Some(OutputErrors {
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
            noise: None,
            taps: vec![],
            precision: Precision::F32,
            target: None,
            calibration: None,
            errors: None,
            // Text that would be JSON is text.
            checkpoint: "\"12\"".to_string(),
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
                "'ddae.kind' is 'decoder', which is not network, features, sampler, encoder, latent, classifier or loss",
            ),
            ("ddae.timestep", "soon", "'ddae.timestep' is 'soon', which is not a whole number"),
            ("ddae.taps", "[", "'ddae.taps' is '['"),
            ("ddae.target", "tpu", "'ddae.target' is 'tpu', which is not cuda"),
            ("ddae.precision", "f8", "'ddae.precision' is 'f8', which is not f32, f16, bf16 or int8"),
        ] {
            let mut entries = entries(&description());
            entries.insert(key.to_string(), value.to_string());
            let error = GraphDescription::from_lookup(|key| entries.get(key).cloned()).unwrap_err();
            assert!(error.to_string().contains(message), "{error}");
        }
    }

    #[test]
    fn entries_of_any_length_and_depth_are_refused_in_a_short_line() {
        for value in ["[".repeat(200_000), "\n".repeat(1000), "\u{1b}[2J".to_string()] {
            let mut entries = entries(&description());
            entries.insert("ddae.taps".to_string(), value);
            let error =
                GraphDescription::from_lookup(|key| entries.get(key).cloned()).unwrap_err().to_string();
            assert!(error.len() < 500 && !error.contains(char::is_control), "{error}");
        }
    }
}
