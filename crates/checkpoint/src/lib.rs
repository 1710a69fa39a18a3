//! Checkpoint files: our own, and those that others publish.
//!
//! [`Checkpoint::open`] takes safetensors files (one, or several with an index) and files of PyTorch (`torch.save`, old
//! and new format), finds out how they arrange their weights ([`Layout`]) and reads a network's tensors when they are
//! asked for. It needs no Python and runs nothing of a file: see [`ddae_pickle`].
//!
//! A training checkpoint of ours is a safetensors file that holds everything that going on needs. Tensor names start
//! with what they are:
//!
//! | prefix | tensors |
//! | --- | --- |
//! | `model.` | the weights in training |
//! | `ema.` | their moving average |
//! | `optimizer.exp_avg.`, `optimizer.exp_avg_sq.`, `optimizer.momentum_buffer.` | moments of Adam; those of SGD |
//! | `record.` | a fixed input of the network and the EMA network's `y` for it; of a SODA, of its decoder |
//! | `record_encoder.` | the same of a SODA's encoder, whose output is `z` |
//!
//! and the file's metadata holds `ddae.format`, `ddae.config` (YAML), `ddae.state` (JSON of [`TrainingState`]) and
//! `ddae.checksums` (JSON: a CRC-32 of each tensor and of the other entries), which are compared whenever
//! something is read. Files of earlier versions have none.
//!
//! | module | holds |
//! | --- | --- |
//! | `file` | an open file: what it holds |
//! | `furthest` | the files of a run folder, and the one that everything takes |
//! | `checksums` | what tells a damaged training checkpoint |
//! | `layout` | how files arrange their weights |
//! | `sets`, `choice` | the sets of weights of a file, and which of them is meant |
//! | `averages` | moving averages that keep no names |
//! | `telling` | what names tell of weights |
//! | `load` | the weights of a network, by its names or by others |
//! | `stored`, `element` | where a tensor is in a file, and its conversion |
//! | `safetensors`, `pytorch` | the formats |
//! | `training` | what our training checkpoints store beside weights, and writing them |

mod averages;
mod bytes;
mod checksums;
mod choice;
mod contents;
mod element;
mod error;
mod file;
mod furthest;
mod layout;
mod load;
mod pytorch;
mod safetensors;
mod sets;
mod stored;
mod telling;
mod training;

pub use averages::NamelessAverage;
pub use choice::listed;
pub use contents::Format;
pub use ddae_model::networks::recognition::{NameMap, ParameterSource};
pub use ddae_model::weights::WeightSet;
pub use element::ElementType;
pub use error::CheckpointError;
pub use file::Checkpoint;
pub use furthest::{Furthest, LATEST, RunCheckpoints, epoch_name, epoch_of, is_checkpoint_name};
pub use layout::{Layout, LayoutKind};
pub use pytorch::PickledModule;
pub use sets::{NamedWeights, SetRole, WeightChoice};
pub use stored::StoredTensor;
pub use telling::{names_average, words};
pub use training::{FORMAT, Record, SharedSteps, SinceLine, TrainingState, write, write_tensors};
