//! What a training run stores beside its weights, and writing it.

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::Path;

use ddae_base::files::write_whole;
use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use serde::{Deserialize, Serialize};

use super::CheckpointError;
use super::checksums::Checksums;
use super::safetensors::element_of;
use ddae_model::config::RunConfig;
use ddae_model::tensor::{Data, Tensor};

/// Values that are made bytes at a time.
const PIECE: usize = 1 << 14;

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
    /// Whether the run leaves out the last, smaller batch of an epoch. Earlier versions did, and did not say so.
    #[serde(default = "TrainingState::earlier_versions_drop")]
    pub drop_last: bool,
    /// What the next line of statistics goes on from. Earlier versions did not keep it.
    #[serde(default)]
    pub since_line: SinceLine,
    /// How steps are shared out; absent for one rank that takes each in one pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared: Option<SharedSteps>,
}

/// Steps of several ranks, or of several passes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SharedSteps {
    /// Ranks that trained last.
    pub ranks: u64,
    /// Passes of each of them for a step.
    pub accumulate: u64,
    /// Images of a step over all ranks and passes.
    pub batch: u64,
    /// What the learning rate of the configuration is multiplied by.
    pub rate_factor: f64,
}

impl SharedSteps {
    /// The steps of one rank that takes each in one pass, of so many images.
    pub fn of_one(batch: u64) -> SharedSteps {
        SharedSteps { ranks: 1, accumulate: 1, batch, rate_factor: 1.0 }
    }
}

impl TrainingState {
    fn earlier_versions_drop() -> bool {
        true
    }
}

/// Sums over the steps since the last line of statistics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SinceLine {
    /// Steps whose loss is finite.
    pub steps: u64,
    /// The sum of their losses.
    pub loss: f64,
    /// Steps whose gradients have a finite norm.
    pub normed_steps: u64,
    /// The sum of these norms.
    pub norm: f64,
}

impl SinceLine {
    /// Adds the steps with these losses and norms of gradients; those that are not finite are left out.
    pub fn add(&mut self, losses: &[f64], norms: &[f64]) {
        for loss in losses.iter().filter(|loss| loss.is_finite()) {
            self.steps += 1;
            self.loss += loss;
        }
        for norm in norms.iter().filter(|norm| norm.is_finite()) {
            self.normed_steps += 1;
            self.norm += norm;
        }
    }
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

/// The bytes of a tensor, in pieces.
fn for_bytes(tensor: &Tensor, to: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    match tensor.data() {
        Data::F32(values) => in_pieces(values, f32::to_le_bytes, to),
        Data::F64(values) => in_pieces(values, f64::to_le_bytes, to),
        Data::I64(values) => in_pieces(values, i64::to_le_bytes, to),
        Data::U8(values) => to(values),
    }
}

fn in_pieces<T: Copy, const N: usize>(
    values: &[T],
    encode: impl Fn(T) -> [u8; N],
    to: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut bytes = vec![0; PIECE.min(values.len()) * N];
    for piece in values.chunks(PIECE) {
        let bytes = &mut bytes[..piece.len() * N];
        for (place, &value) in bytes.chunks_exact_mut(N).zip(piece) {
            place.copy_from_slice(&encode(value));
        }
        to(bytes)?;
    }
    Ok(())
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
    let entries =
        [("ddae.format", FORMAT.to_string()), ("ddae.config", config.to_yaml()), ("ddae.state", state)];
    let mut checksums = Checksums::default();
    entries.iter().for_each(|(key, text)| checksums.add_text(key, text));
    for (name, tensor) in tensors {
        let element = element_of(dtype(tensor)).to_string();
        checksums.add_tensor(name, &element, tensor.shape(), |to| {
            // Nothing is written, so nothing can fail.
            let _ = for_bytes(tensor, &mut |bytes| {
                to(bytes);
                Ok(())
            });
        });
    }
    let mut metadata: HashMap<String, String> =
        entries.into_iter().map(|(key, text)| (key.to_string(), text)).collect();
    metadata.extend([checksums.into_entry().map_err(|message| CheckpointError::format(path, message))?]);
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
        tensors.iter().try_for_each(|(_, tensor)| for_bytes(tensor, &mut |bytes| out.write_all(bytes)))
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
