//! Training of denoising diffusion autoencoders in libtorch.
//!
//! | module | holds |
//! | --- | --- |
//! | [`torch`] | graphs on libtorch, with gradients |
//! | [`optimizer`], [`grad_scaler`] | Adam and AdamW with state that we own, and the gradient scaler of fp16 |
//! | [`ema`] | the moving average of the weights |
//! | [`learning_rate`] | warm-up and decay |
//! | [`diffusion`] | losses, sampling and the training loop of DDPM and EDM |
//! | [`run`] | the run folder: checkpoints, log, statistics, TensorBoard scalars |

pub mod diffusion;
pub mod ema;
mod error;
pub mod grad_scaler;
pub mod learning_rate;
pub mod optimizer;
pub mod run;
pub mod torch;

pub use error::TrainError;
