//! Training of SODA (arXiv 2311.17901): an encoder whose latent of one view of an image guides the denoising of another.
//!
//! | module | holds |
//! | --- | --- |
//! | [`method`](mod@method) | batches, loss and evaluation, as the training loop asks for them |
//! | [`encoder`] | latents of images |
//! | [`scores`] | k-NN and a linear probe on the latents |
//! | `sheet` | sheets of reconstructions |

pub mod encoder;
pub mod method;
pub mod scores;
mod sheet;

pub use method::SodaTraining;
