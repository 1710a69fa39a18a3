//! CUDA kernels of the project's own, for training and inference alike.
//!
//! Their sources lie in `kernels/`. [`Kernels::load`] compiles them with NVRTC, the compiler that comes with CUDA's
//! libraries, for the card at hand, and keeps what it compiled in the user's cache folder; nothing needs `nvcc` or CUDA's
//! headers. The driver and NVRTC are loaded when they are asked for: on a machine without them loading fails with a reason,
//! and nothing else does.
//!
//! Kernels run in the device's primary context, which libtorch and ONNX Runtime use too, and on a stream of the caller's.

mod compile;
mod devices;
mod error;
mod geometry;
mod images;
mod kernels;
mod noise;
mod norm;
mod stream;

pub use compile::{ARCHITECTURES, preload};
pub use devices::count;
pub use error::CudaError;
pub use geometry::Geometry;
pub use kernels::{Kernels, Pointer, Stream};
pub use norm::{Element, Norm, Pass};
pub use stream::OwnStream;
