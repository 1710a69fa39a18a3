//! Networks as ONNX files.
//!
//! | module | does |
//! | --- | --- |
//! | [`source`] | opens a checkpoint, a run folder or a file of weights, with its configuration |
//! | [`request`] | builds the graph that is asked for |
//! | [`lower`] | writes a graph with its weights as ONNX operators |
//! | [`precision`] | 16-bit floats and integers in place of float32 |
//! | [`quantize`] | calibrated 8-bit integers |
//! | `rewriting` | puts casts and integers into a finished graph |
//! | `verify` | compares a file with the reference interpreter and with recorded outputs |
//! | [`comparison`] | measures how far outputs are from others |
//! | [`staging`] | makes files under a temporary name |
//! | [`export`] | all of these in order |
//! | [`inspect`] | says what a file holds |

pub mod comparison;
mod error;
pub mod export;
pub mod inspect;
pub mod lower;
mod memory;
pub mod precision;
pub mod quantize;
pub mod request;
mod rewriting;
pub mod source;
pub mod staging;
mod verify;

pub use error::{ExportError, refuse_given};
