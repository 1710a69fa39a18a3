//! Training of diffusion models: DDPM and EDM.
//!
//! | module | holds |
//! | --- | --- |
//! | [`loss`] | the training losses |
//! | [`method`](mod@method) | batches, loss and sheets, as the training loop asks for them |
//! | [`sheet`] | sheets of generated images |

pub mod loss;
pub mod method;
pub mod sheet;

pub use method::{DiffusionRun, training_graph};
