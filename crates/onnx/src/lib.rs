//! ONNX files: the messages they are made of, writing, reading and running them.
//!
//! An ONNX file is one protobuf message. [`messages`] holds the part of the specification that this project uses,
//! [`Model`](write::Model) puts it on disk without holding the weights twice, their elements stored as each
//! [`Initializer`](initializer::Initializer) says, and [`read`] takes a file apart without loading its weights.
//! [`metadata`] is what a file of this project says of itself, [`identity`] whether it is still so, [`operators`] are
//! those that the specification does not have, and [`runtime`] runs a file in ONNX Runtime on the CPU.

pub mod identity;
pub mod initializer;
pub mod messages;
pub mod metadata;
pub mod operators;
pub mod read;
pub mod runtime;
pub mod write;

/// Version of the operator set that graphs are written in.
pub const OPSET: i64 = 21;
/// Version of the file format, the one that came with [`OPSET`].
pub const IR_VERSION: i64 = 10;
/// Name of the symbolic first dimension.
pub const BATCH: &str = "batch";
