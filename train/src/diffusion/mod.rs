//! Training of diffusion models: DDPM and EDM.
//!
//! | module | holds |
//! | --- | --- |
//! | [`loss`] | the training losses |
//! | [`options`] | what a run is asked for |
//! | [`plan`] | the run that follows from it: data, network, steps, memory |
//! | [`trainer`] | weights, average, optimiser, and the step that changes them |
//! | [`train`](mod@train) | the training loop |
//! | [`resume`] | which settings must not change when a run goes on |
//! | [`meter`] | losses and speed on the way to log and progress bar |
//! | [`sample`] | sheets of generated pictures |

pub mod loss;
pub mod meter;
pub mod options;
pub mod plan;
pub mod resume;
pub mod sample;
mod start;
pub mod train;
pub mod trainer;

pub use options::{Amp, DeviceChoice, Options, Start};
pub use plan::Plan;
pub use train::{Summary, train};
