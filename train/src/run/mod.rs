//! The run folder and everything that is written into it while a run goes on.
//!
//! | in the folder | module | holds |
//! | --- | --- | --- |
//! | `config.yaml`, `log.txt` | [`folder`] | the resolved configuration; what happened, in words |
//! | `checkpoints/` | [`checkpoints`] | `epoch_0010.safetensors` and `latest.safetensors` |
//! | `stats.jsonl` | [`stats`] | a line per logging interval: the source of truth |
//! | `tensorboard/` | [`tensorboard`] | the same numbers for TensorBoard, with sheets and the configuration |
//! | | [`writer`] | writes checkpoints beside the training |
//! | `samples/` | | sheets of generated images |
//!
//! [`progress`] shows a run on the terminal.

pub mod checkpoints;
pub mod folder;
pub mod progress;
pub mod stats;
pub mod tensorboard;
pub mod writer;
