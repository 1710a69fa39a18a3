//! Training of denoising diffusion autoencoders in libtorch.
//!
//! | module | holds |
//! | --- | --- |
//! | [`torch`] | graphs on libtorch, with gradients |
//! | [`optimizer`], [`grad_scaler`] | Adam, AdamW and SGD with state that we own, and the gradient scaler of fp16 |
//! | [`ema`] | the moving average of the weights |
//! | [`learning_rate`] | warm-up and decay |
//! | [`sampler`] | sampling |
//! | [`training`] | the training loop, the same for every method |
//! | [`diffusion`] | DDPM and EDM: losses, sheets of samples |
//! | [`soda`] | SODA: an encoder that guides a denoising decoder, and how good its features are |
//! | [`classifier`] | classifiers of noised images, and fine-tuning |
//! | [`ranks`] | one run on several processes, each with a part of every batch |
//! | [`run`] | the run folder: checkpoints, log, statistics, TensorBoard |
//! | [`runs`] | what the folders of runs tell, side by side: the crate `ddae-runs` |

pub mod classifier;
pub mod diffusion;
pub mod ema;
mod error;
pub mod grad_scaler;
pub mod learning_rate;
pub mod optimizer;
pub mod ranks;
pub mod run;
pub mod sampler;
pub mod soda;
pub mod torch;
pub mod training;

pub use ddae_runs as runs;
pub use error::TrainError;
