//! What a training run stores beside its weights, and writing it.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;

use safetensors::tensor::Dtype;
use serde::{Deserialize, Serialize};

use super::CheckpointError;
use ddae_model::config::RunConfig;
use ddae_model::tensor::{Data, Tensor};

/// The value of `ddae.format` that this version reads and writes.
pub const FORMAT: &str = "ddae-checkpoint-1";

/// Where a training run stands, beside its tensors. The random generators need no state of their own: every draw is
/// a function of the seed and the step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TrainingState {
    /// Finished epochs.
    pub epoch: u64,
    /// Finished steps, over all epochs.
    pub step: u64,
    /// Finished steps of the current epoch.
    pub step_in_epoch: u64,
    /// The run's seed.
    pub seed: u64,
    /// Scale of the loss under fp16, 1 otherwise.
    pub loss_scale: f64,
    /// Steps since the scale last changed.
    pub loss_scale_steps: u64,
    /// Steps that the scaler left out because of an overflow: the optimiser took `step - skipped_steps`.
    #[serde(default)]
    pub skipped_steps: u64,
    /// Digest of the data that was trained on.
    #[serde(default)]
    pub data: String,
    /// The precision of training: `off`, `bf16` or `fp16`.
    #[serde(default)]
    pub amp: String,
}

/// A fixed input and what the EMA network gave for it when the checkpoint was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The network's inputs by name (`x`, `t`).
    pub inputs: Vec<(String, Tensor)>,
    /// The network's output: `y`, of an encoder `z`.
    pub y: Tensor,
}

/// A tensor on its way into a file.
struct Stored<'a>(&'a Tensor);

impl safetensors::View for Stored<'_> {
    fn dtype(&self) -> Dtype {
        match self.0.data() {
            Data::F32(_) => Dtype::F32,
            Data::F64(_) => Dtype::F64,
            Data::I64(_) => Dtype::I64,
            Data::U8(_) => Dtype::U8,
        }
    }

    fn shape(&self) -> &[usize] {
        self.0.shape()
    }

    fn data(&self) -> std::borrow::Cow<'_, [u8]> {
        match self.0.data() {
            Data::F32(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Data::F64(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Data::I64(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Data::U8(v) => v.into(),
        }
    }

    fn data_len(&self) -> usize {
        let size = match self.0.data() {
            Data::F32(_) => 4,
            Data::F64(_) | Data::I64(_) => 8,
            Data::U8(_) => 1,
        };
        self.0.data().len() * size
    }
}

/// Writes a training checkpoint: to a temporary name in the same folder, synced, then renamed, so that the final name
/// always holds a whole file.
///
/// # Errors
/// When the system refuses (a full disk, a missing folder); the temporary file is removed.
pub fn write(
    path: &Path,
    config: &RunConfig,
    state: &TrainingState,
    tensors: &[(String, Tensor)],
) -> Result<(), CheckpointError> {
    let state = serde_json::to_string(state).map_err(|e| CheckpointError::format(path, e.to_string()))?;
    let metadata = HashMap::from([
        ("ddae.format".to_string(), FORMAT.to_string()),
        ("ddae.config".to_string(), config.to_yaml()),
        ("ddae.state".to_string(), state),
    ]);
    write_tensors(path, metadata, tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)))
}

/// Writes named tensors and metadata, as [`write()`] does.
///
/// # Errors
/// Like [`write()`].
pub fn write_tensors<'a>(
    path: &Path,
    metadata: HashMap<String, String>,
    tensors: impl IntoIterator<Item = (&'a str, &'a Tensor)>,
) -> Result<(), CheckpointError> {
    let views: Vec<(String, Stored)> = tensors.into_iter().map(|(n, t)| (n.to_string(), Stored(t))).collect();
    let partial = path.with_extension("safetensors.partial");
    let write = || -> std::io::Result<()> {
        // The library's own temporary file may be read by its owner only; an ordinary new file says who may read this.
        let permissions = File::create(&partial)?.metadata()?.permissions();
        safetensors::serialize_to_file(views, Some(metadata), &partial).map_err(|error| match error {
            safetensors::SafeTensorError::IoError(source) => source,
            other => std::io::Error::other(other.to_string()),
        })?;
        std::fs::set_permissions(&partial, permissions)?;
        File::options().append(true).open(&partial)?.sync_all()?;
        std::fs::rename(&partial, path)?;
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()
    };
    write().map_err(|source| {
        // The error that matters is the first one; a leftover partial file is harmless and overwritten next time.
        let _ = std::fs::remove_file(&partial);
        CheckpointError::Io { path: path.to_path_buf(), source }
    })
}
