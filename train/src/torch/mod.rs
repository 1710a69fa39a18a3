//! Graphs on libtorch, with gradients, and the operations on whole lists of tensors that training is made of.
//!
//! | module | holds |
//! | --- | --- |
//! | [`device`] | where tensors live: the CPU, or CUDA loaded when it is asked for |
//! | [`convert`] | [`ddae_model::tensor::Tensor`] to and from [`tch::Tensor`] |
//! | [`parameters`] | the stored tensors of a network: what is trained, and buffers |
//! | [`network`] | the interpreter: a graph planned once, run many times |
//! | [`threads`] | how many threads of the CPU there are, and how they wait |
//! | [`shim`] | what `tch` lacks: channels-last, fused Adam, operations over lists |
//!
//! libtorch and ONNX Runtime must not meet in one process (linking both aborts at exit), so nothing here may be used
//! by a program that runs ONNX files.

pub mod convert;
pub mod device;
mod error;
mod lower;
pub mod network;
pub mod parameters;
mod plan;
pub mod shim;
pub mod threads;

pub use error::TorchError;
pub use network::{Layout, Mode, Network, Precision, Share};
pub use parameters::Parameters;
