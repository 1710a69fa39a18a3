//! Sampling and feature extraction from ONNX graphs with ONNX Runtime.
//!
//! | module | holds |
//! | --- | --- |
//! | [`engine`] | one session on a device |
//! | [`workers`] | a job over all sessions of a device |
//! | [`model_file`] | a loaded file and what it says of itself |
//! | [`sample`] | pictures from noise |
//! | [`features`] | features of a data set into feature files |
//!
//! The same seed gives the same pictures and features whatever the batch, thread and shard: all noise comes from
//! streams keyed by what it is for, and batches are padded to their full size.

pub mod device;
pub mod engine;
pub mod error;
pub mod features;
pub mod model_file;
pub mod sample;
pub mod workers;
