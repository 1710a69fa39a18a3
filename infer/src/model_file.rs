//! What an ONNX file says of itself.

use std::path::{Path, PathBuf};

use ddae_model::config::Config;
use ddae_model::onnx_metadata::{GraphDescription, GraphKind};

use crate::device::Device;
use crate::error::InferError;
use crate::workers::Workers;

/// An ONNX file written by `ddae-export`, loaded and ready to run.
pub struct ModelFile {
    /// The file.
    pub path: PathBuf,
    /// Kind, layers, weights.
    pub description: GraphDescription,
    /// The configuration of the model.
    pub config: Config,
    /// The sessions.
    pub workers: Workers,
    /// The device they run on.
    pub device: Device,
    /// The execution provider that runs them.
    pub provider: &'static str,
}

impl ModelFile {
    /// Loads the file for `command`, which wants a graph of the kind `wanted`.
    ///
    /// # Errors
    /// When it cannot be loaded, was not written by `ddae-export`, or is a graph of another kind.
    pub fn open(
        path: &Path,
        wanted: GraphKind,
        command: &'static str,
        device: Device,
        threads: usize,
    ) -> Result<ModelFile, InferError> {
        let workers = Workers::open(path, device, threads)?;
        let load = |message: String| InferError::Load { path: path.to_path_buf(), message };
        let engine = workers.engine().ok_or_else(|| load("no session".to_string()))?;
        let description = GraphDescription::from_map(&engine.metadata().into_iter().collect())
            .map_err(|error| load(format!("{error}; a file written by ddae-export is wanted here")))?;
        if description.kind != wanted {
            let (path, found) = (path.to_path_buf(), description.kind.to_string());
            return Err(InferError::Kind { path, found, wanted: wanted.name(), command });
        }
        let config = Config::parse(&description.config_yaml, "its configuration", &[])
            .map_err(|error| load(error.to_string()))?;
        let provider = engine.provider();
        Ok(ModelFile { path: path.to_path_buf(), description, config, workers, device, provider })
    }
}
