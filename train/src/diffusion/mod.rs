//! Training of diffusion models: DDPM and EDM.
//!
//! | module | holds |
//! | --- | --- |
//! | `draws` | what is drawn for a loss graph |
//! | [`method`](mod@method) | batches, loss and sheets, as the training loop asks for them |
//! | [`sheet`] | sheets of generated images |

pub(crate) mod draws;
pub mod method;
pub mod sheet;

pub use method::DiffusionRun;
