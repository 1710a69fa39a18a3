//! An ONNX file and what it says of itself.

use std::path::{Path, PathBuf};

use ddae_base::text::excerpt;
use ddae_model::config::{AnyConfig, Config, ModelConfig, ProcessConfig};
use ddae_model::diffusion::feature_timesteps;
use ddae_onnx::identity::{self, Integrity};
use ddae_onnx::metadata::{GraphDescription, GraphKind, TapDescription, Target};
use ddae_onnx::read;

use crate::device::Device;
use crate::error::InferError;

/// An ONNX file written by `ddae-export`, found to be of the wanted kind. Nothing of it is loaded yet.
#[derive(Debug)]
pub struct ModelFile {
    /// The file.
    pub path: PathBuf,
    /// Kind, layers, weights.
    pub description: GraphDescription,
    /// The network and its process.
    pub model: ModelConfig,
    /// The configuration of a diffusion model's training run, where that is what it comes from.
    pub training: Option<Config>,
    /// The data set of the training run, where there is one.
    pub data_set: Option<String>,
    /// Names of the graph's inputs.
    pub inputs: Vec<String>,
    /// SHA-256 of the graph and its weights, hexadecimal.
    pub graph_digest: String,
    /// Whether the file was changed after it had been written.
    pub is_edited: bool,
}

/// Numbers of a layer, at most.
const MOST_FEATURES: usize = 1 << 32;
/// Characters of a text from a file that a message shows.
const SHOWN: usize = 60;

/// Refuses a fixed timestep that the process does not have.
fn check_timestep(timestep: Option<i64>, process: Option<&ProcessConfig>) -> Result<(), String> {
    let Some(timestep) = timestep else { return Ok(()) };
    let Some(range) = process.map(feature_timesteps) else {
        return Err(format!(
            "its 'ddae.timestep' is {timestep}, and its network has no process to take steps of; export it again"
        ));
    };
    match range.contains(&timestep) {
        true => Ok(()),
        false => Err(format!(
            "its 'ddae.timestep' is {timestep}, and its process has {} to {}; export it again",
            range.start(),
            range.end()
        )),
    }
}

impl ModelFile {
    /// Refuses a file that is for other devices.
    ///
    /// # Errors
    /// [`InferError::Model`].
    pub fn check_device(&self, device: Device) -> Result<(), InferError> {
        match (self.description.target, device) {
            (Some(Target::Cuda), Device::Cpu) => Err(InferError::Model {
                path: self.path.clone(),
                message: "it was exported for GPUs (--target cuda): run it with --device cuda, or export it without \
                          --target for the CPU"
                    .to_string(),
            }),
            (Some(Target::Cuda), Device::Cuda { .. }) | (None, _) => Ok(()),
        }
    }

    /// Reads what the file says of itself, for `command`, which wants a graph of one of the kinds `wanted`, the first
    /// above all. `edited` allows a file that was changed after it had been written.
    ///
    /// # Errors
    /// When it cannot be read, is no whole ONNX file, was not written by `ddae-export`, is of another kind, or was changed
    /// since.
    pub fn open(
        path: &Path,
        wanted: &[GraphKind],
        command: &'static str,
        edited: bool,
    ) -> Result<ModelFile, InferError> {
        let unusable = |message: String| InferError::Model { path: path.to_path_buf(), message };
        if path.is_dir() {
            return Err(unusable("it is a folder; give the ONNX file that ddae-export wrote".to_string()));
        }
        let file = read::model(path)?;
        let inputs =
            file.graph.iter().flat_map(|graph| &graph.input).map(|input| input.name.clone()).collect();
        let entries = file.metadata_props;
        let lookup = |key: &str| {
            // The last entry counts: an exporter may add to what it wrote before.
            entries.iter().rev().find(|entry| entry.key == key).map(|entry| entry.value.clone())
        };
        let description =
            GraphDescription::from_lookup(lookup).map_err(|error| unusable(error.to_string()))?;
        if let (Some(first), false) = (wanted.first(), wanted.contains(&description.kind)) {
            let (path, found) = (path.to_path_buf(), description.kind.name());
            return Err(InferError::Kind { path, found, wanted: first.name(), command });
        }
        let identity = identity::of(path).map_err(InferError::io("read", path))?;
        if identity.integrity == Integrity::Changed && !edited {
            return Err(unusable(
                "it was changed after ddae-export wrote it, so that what it says of itself need not be true: export it \
                 again, or say --edited to use it as it is"
                    .to_string(),
            ));
        }
        let config = AnyConfig::parse(&description.config, "the configuration in it", &[])
            .map_err(|error| unusable(format!("{error}; export it again")))?;
        let model = config.model_for(description.kind);
        check_timestep(description.timestep, model.process.as_ref()).map_err(&unusable)?;
        let counted = |tap: &TapDescription| {
            tap.shape
                .iter()
                .try_fold(1usize, |count, &side| count.checked_mul(side))
                .is_some_and(|n| n <= MOST_FEATURES)
        };
        if let Some(tap) = description.taps.iter().find(|tap| !counted(tap)) {
            let (name, shape) = (excerpt(&tap.name, SHOWN), excerpt(format!("{:?}", tap.shape), SHOWN));
            return Err(unusable(format!(
                "its layer {name} is of {shape}, more than any is; export it again"
            )));
        }
        let training = config.training().cloned();
        let data_set = match &config {
            AnyConfig::Run(run) => Some(run.dataset().to_string()),
            AnyConfig::Model(_) => None,
        };
        let path = path.to_path_buf();
        let (graph_digest, is_edited) = (identity.graph, identity.integrity == Integrity::Changed);
        Ok(ModelFile { path, description, model, training, data_set, inputs, graph_digest, is_edited })
    }
}
