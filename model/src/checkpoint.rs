//! Checkpoint files in safetensors: our own training checkpoints, and plain files of published names.
//!
//! A training checkpoint holds everything that going on needs. Tensor names start with what they are:
//!
//! | prefix | tensors |
//! | --- | --- |
//! | `model.` | the weights in training |
//! | `ema.` | their moving average |
//! | `optimizer.exp_avg.`, `optimizer.exp_avg_sq.` | moments of Adam |
//! | `record.` | a fixed input of the network and the EMA network's `y` for it |
//!
//! and the file's metadata holds `ddae.format`, `ddae.config` (YAML) and `ddae.state` (JSON of [`TrainingState`]).

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::config::Config;
use crate::graph::Graph;
use crate::tensor::{Data, Tensor};
use crate::weights::{Weights, WeightsError};

/// The value of `ddae.format` that this version reads and writes.
pub const FORMAT: &str = "ddae-checkpoint-1";

/// Why a checkpoint cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The system refuses.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The bytes are no safetensors file, or not one of ours.
    #[error("{}: {message}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what was wanted.
        message: String,
    },
    /// The tensors are not those of the network.
    #[error("{}: {source}", path.display())]
    Weights {
        /// The file.
        path: PathBuf,
        /// The first difference.
        source: WeightsError,
    },
}

/// Which weights of a training checkpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WeightSet {
    /// The moving average: what features and samples use.
    #[default]
    Ema,
    /// The weights in training.
    Model,
}

impl WeightSet {
    /// The prefix of their tensors' names.
    pub fn prefix(self) -> &'static str {
        match self {
            WeightSet::Ema => "ema.",
            WeightSet::Model => "model.",
        }
    }
}

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
    /// The network's output `y`.
    pub y: Tensor,
}

/// An open checkpoint file. Tensors are read when they are asked for.
pub struct Checkpoint {
    path: PathBuf,
    bytes: Bytes,
    metadata: HashMap<String, String>,
    config: Option<Config>,
    state: Option<TrainingState>,
}

enum Bytes {
    Mapped(Mmap),
    Empty,
}

impl std::ops::Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Mapped(map) => map,
            Bytes::Empty => &[],
        }
    }
}

impl Checkpoint {
    /// Opens a file and reads its header.
    ///
    /// # Errors
    /// When it cannot be read, is no safetensors file, or is a checkpoint of a newer format.
    pub fn open(path: &Path) -> Result<Checkpoint, CheckpointError> {
        let io = |source| CheckpointError::Io { path: path.to_path_buf(), source };
        let file = File::open(path).map_err(io)?;
        let info = file.metadata().map_err(io)?;
        if info.is_dir() {
            return Err(format_error(path, "is a folder; a checkpoint file is wanted here"));
        }
        // SAFETY: the map is only read. A file that another process shortens meanwhile would end this process with a
        // signal; checkpoints are replaced by renaming, never shortened.
        let bytes = if info.len() == 0 {
            Bytes::Empty
        } else {
            Bytes::Mapped(unsafe { Mmap::map(&file) }.map_err(io)?)
        };
        if bytes.is_empty() {
            return Err(format_error(path, "is empty; a safetensors checkpoint is wanted here"));
        }
        let foreign = |e| {
            let message = format!(
                "is not a complete safetensors file ({e}); copy it here again, or take another checkpoint"
            );
            format_error(path, &message)
        };
        drop(SafeTensors::deserialize(&bytes).map_err(foreign)?);
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(foreign)?;
        let metadata = header.metadata().clone().unwrap_or_default();
        let (config, state) = match metadata.get("ddae.format").map(String::as_str) {
            None => (None, None),
            Some(FORMAT) => {
                let wanted = |key: &str| {
                    let missing =
                        || format_error(path, &format!("holds no '{key}': it is not a whole checkpoint"));
                    metadata.get(key).ok_or_else(missing)
                };
                let config = Config::parse(wanted("ddae.config")?, "the checkpoint's config", &[])
                    .map_err(|e| format_error(path, &e.to_string()))?;
                let state = serde_json::from_str(wanted("ddae.state")?)
                    .map_err(|e| format_error(path, &format!("its 'ddae.state' cannot be read ({e})")))?;
                (Some(config), Some(state))
            }
            Some(other) => {
                let message =
                    format!("is of format '{other}' and this version reads '{FORMAT}': use a newer ddae");
                return Err(format_error(path, &message));
            }
        };
        Ok(Checkpoint { path: path.to_path_buf(), bytes, metadata, config, state })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The configuration of a training checkpoint.
    pub fn config(&self) -> Option<&Config> {
        self.config.as_ref()
    }

    /// Where the run stood, of a training checkpoint.
    pub fn state(&self) -> Option<&TrainingState> {
        self.state.as_ref()
    }

    /// All metadata entries.
    pub fn metadata(&self) -> &HashMap<String, String> {
        &self.metadata
    }

    /// SHA-256 of the whole file, in hexadecimal.
    pub fn digest(&self) -> String {
        Sha256::digest(&*self.bytes).iter().map(|b| format!("{b:02x}")).collect()
    }

    /// Names, shapes and element types of all tensors, sorted by name.
    ///
    /// # Errors
    /// When the file changed since it was opened.
    pub fn tensors(&self) -> Result<Vec<(String, Vec<usize>, String)>, CheckpointError> {
        let parsed = self.parsed()?;
        let mut list: Vec<_> = parsed
            .iter()
            .map(|(name, view)| {
                (name.to_string(), view.shape().to_vec(), format!("{:?}", view.dtype()).to_lowercase())
            })
            .collect();
        list.sort();
        Ok(list)
    }

    /// The weights of a network: its parameters, from a training checkpoint those of `set`. Only they are read.
    ///
    /// # Errors
    /// The first parameter that is missing, or of another shape or type.
    pub fn weights(&self, set: WeightSet, graph: &Graph) -> Result<Weights, CheckpointError> {
        let prefix = if self.state.is_some() { set.prefix() } else { "" };
        let parsed = self.parsed()?;
        let mut weights = Weights::new();
        for (_, node) in graph.parameters() {
            let name = format!("{prefix}{}", node.name);
            // The first that is not there is named below.
            let Ok(view) = parsed.tensor(&name) else { continue };
            weights.insert(node.name.clone(), self.read(&name, &view)?);
        }
        weights.check(graph).map_err(|mut source| {
            if let WeightsError::Missing { others, .. } = &mut source {
                let mut names: Vec<&str> = parsed.names();
                names.sort_unstable();
                let shown = names.iter().take(3).copied().collect::<Vec<_>>().join(", ");
                *others = format!("{} tensors ({shown}, …)", names.len());
            }
            CheckpointError::Weights { path: self.path.clone(), source }
        })?;
        Ok(weights)
    }

    /// All tensors whose name starts with `prefix`, without it.
    ///
    /// # Errors
    /// When one has an element type that is not read.
    pub fn tensors_with_prefix(&self, prefix: &str) -> Result<Weights, CheckpointError> {
        let parsed = self.parsed()?;
        let mut weights = Weights::new();
        for (name, view) in parsed.iter() {
            let Some(rest) = name.strip_prefix(prefix) else { continue };
            weights.insert(rest, self.read(name, &view)?);
        }
        Ok(weights)
    }

    /// The recorded outputs of a training checkpoint.
    ///
    /// # Errors
    /// When the record is incomplete.
    pub fn record(&self) -> Result<Option<Record>, CheckpointError> {
        let mut tensors: Vec<(String, Tensor)> =
            self.tensors_with_prefix("record.")?.iter().map(|(n, t)| (n.to_string(), t.clone())).collect();
        if tensors.is_empty() {
            return Ok(None);
        }
        let Some(at) = tensors.iter().position(|(name, _)| name == "y") else {
            return Err(format_error(&self.path, "its record has inputs but no 'record.y'"));
        };
        let (_, y) = tensors.remove(at);
        Ok(Some(Record { inputs: tensors, y }))
    }

    fn read(&self, name: &str, view: &TensorView<'_>) -> Result<Tensor, CheckpointError> {
        tensor_of(view).ok_or_else(|| {
            let message = format!("the element type {:?} of '{name}' is not read", view.dtype());
            format_error(&self.path, &message)
        })
    }

    fn parsed(&self) -> Result<SafeTensors<'_>, CheckpointError> {
        SafeTensors::deserialize(&self.bytes).map_err(|e| format_error(&self.path, &e.to_string()))
    }
}

fn format_error(path: &Path, message: &str) -> CheckpointError {
    CheckpointError::Format { path: path.to_path_buf(), message: message.to_string() }
}

/// A stored tensor; half-precision floats become float32. `None` for other types.
fn tensor_of(view: &TensorView<'_>) -> Option<Tensor> {
    let bytes = view.data();
    let data = match view.dtype() {
        Dtype::F32 => Data::F32(bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()),
        Dtype::F64 => Data::F64(bytes.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b)).collect()),
        Dtype::F16 => Data::F32(
            bytes.as_chunks::<2>().0.iter().map(|b| half::f16::from_le_bytes(*b).to_f32()).collect(),
        ),
        Dtype::BF16 => Data::F32(
            bytes.as_chunks::<2>().0.iter().map(|b| half::bf16::from_le_bytes(*b).to_f32()).collect(),
        ),
        Dtype::I64 => Data::I64(bytes.as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b)).collect()),
        Dtype::U8 => Data::U8(bytes.to_vec()),
        _ => return None,
    };
    Tensor::new(view.shape(), data)
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
    config: &Config,
    state: &TrainingState,
    tensors: &[(String, Tensor)],
) -> Result<(), CheckpointError> {
    let state = serde_json::to_string(state).map_err(|e| format_error(path, &e.to_string()))?;
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
