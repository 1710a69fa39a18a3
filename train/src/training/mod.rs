//! The training run, whatever is trained: from the command line's options to the last checkpoint.
//!
//! What differs between networks is a [`Method`]: its batches, its loss, and how its progress is looked at. Everything else
//! is here once.
//!
//! | module | holds |
//! | --- | --- |
//! | [`method`](mod@method) | what a way of training must say of itself |
//! | [`options`] | what a run is asked for |
//! | [`plan`] | the run that follows from it: data, network, steps, memory |
//! | [`run`] | the training loop |
//! | `memory` | whether it fits into the memory |
//! | [`trainer`] | weights, average, optimiser, and the step that changes them |
//! | `capture` | steps on a GPU, recorded once and replayed |
//! | `start`, [`resume`] | where a run begins, and which settings must not change when it goes on |
//! | [`validation`] | the loss on images that are not trained on |
//! | [`record`] | outputs for fixed inputs, kept in checkpoints |
//! | `log`, [`meter`] | what a run says of itself: losses and speed on the way to log, statistics and terminal |

mod capture;
mod describe;
mod log;
mod memory;
pub mod meter;
pub mod method;
pub mod options;
pub mod plan;
pub mod record;
pub mod resume;
pub mod run;
pub(crate) mod start;
pub mod trainer;
pub mod validation;

pub use method::{Evaluation, Method, Place, Scores};
pub use options::{Amp, Gpu, Init, Options, Start};
pub use plan::TrainingPlan;
pub use run::{Summary, train};
