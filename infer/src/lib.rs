//! Sampling and feature extraction from ONNX graphs with ONNX Runtime.
//!
//! | module | holds |
//! | --- | --- |
//! | [`model_file`] | an ONNX file and what it says of itself |
//! | [`running`] | the options that say where and how a graph runs |
//! | [`device`], [`cuda`] | where graphs run |
//! | [`engine`] | one session on a device |
//! | [`workers`] | a job over all sessions of a device |
//! | [`sample`] | images from noise |
//! | [`reconstruct`] | images from the latents of others |
//! | [`features`] | features of a data set into feature files |
//! | [`fid`] | FID and what is measured beside it |
//! | [`images`] | images as graphs take them |
//!
//! # What the numbers depend on
//!
//! All randomness comes from streams keyed by what it is for ([`ddae_base::random`]): an image's noise by its seed
//! and the step, a feature's noise by the seed, the image, the view and the timestep. So the batch size, the number
//! of threads, the shards and an interruption do not change what is computed, only when.
//!
//! On the CPU that holds bit for bit: every session is single-threaded, and the runtime computes each image of a
//! batch by itself. Measured with ONNX Runtime 1.31.1 and batches of 1 to 48, with one network of the tests and with
//! the published one of 35.7 M parameters, features and sampler steps: no bit differs (`tests/infer/batches.rs` checks the
//! small one). A processor of another kind (AVX2 rather than AVX-512, say) computes with other kernels and differs in
//! the last digits, like any change of hardware or of the runtime's version.
//!
//! On CUDA, batches always have their full size: the last one is padded. cuDNN may choose another algorithm for
//! another batch size, so there `--batch` may change the last digits.

pub mod cuda;
pub mod device;
pub mod engine;
pub mod error;
pub mod features;
pub mod fid;
pub mod images;
pub mod model_file;
mod npy;
pub mod reconstruct;
pub mod running;
pub mod sample;
pub mod workers;

pub use error::InferError;
