//! What a training run stores beside its weights, and writing it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::Write;
use std::path::Path;

use ddae_base::files::write_whole;
use safetensors::tensor::{Dtype, Metadata, TensorInfo};
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

fn dtype(tensor: &Tensor) -> Dtype {
    match tensor.data() {
        Data::F32(_) => Dtype::F32,
        Data::F64(_) => Dtype::F64,
        Data::I64(_) => Dtype::I64,
        Data::U8(_) => Dtype::U8,
    }
}

fn bytes(tensor: &Tensor) -> Cow<'_, [u8]> {
    match tensor.data() {
        Data::F32(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
        Data::F64(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
        Data::I64(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
        Data::U8(v) => v.into(),
    }
}

/// Writes a training checkpoint, whole or not at all.
///
/// # Errors
/// When the system refuses (a full disk, a missing folder).
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
    let mut tensors: Vec<(&str, &Tensor)> = tensors.into_iter().collect();
    // In the order of the safetensors library: wide types first, so that all are aligned.
    tensors.sort_by(|(one, left), (other, right)| dtype(right).cmp(&dtype(left)).then(one.cmp(other)));
    let header = header(metadata, &tensors).map_err(|message| CheckpointError::format(path, message))?;
    Ok(write_whole(path, |out| {
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(&header)?;
        tensors.iter().try_for_each(|(_, tensor)| out.write_all(&bytes(tensor)))
    })?)
}

/// The header of a safetensors file: JSON, padded to a multiple of 8 bytes.
fn header(metadata: HashMap<String, String>, tensors: &[(&str, &Tensor)]) -> Result<Vec<u8>, String> {
    let mut end = 0;
    let place = |(name, tensor): &(&str, &Tensor)| {
        let (begin, dtype) = (end, dtype(tensor));
        end += tensor.data().len() * dtype.bitsize() / 8;
        let (shape, data_offsets) = (tensor.shape().to_vec(), (begin, end));
        (name.to_string(), TensorInfo { dtype, shape, data_offsets })
    };
    let places = tensors.iter().map(place).collect();
    let header = Metadata::new(Some(metadata), places).map_err(|e| e.to_string())?;
    let mut header = serde_json::to_vec(&header).map_err(|e| e.to_string())?;
    header.resize(header.len().next_multiple_of(8), b' ');
    Ok(header)
}
