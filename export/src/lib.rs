//! Networks as ONNX files.
//!
//! | module | does |
//! | --- | --- |
//! | [`source`] | opens a checkpoint, a run folder or a file of weights, with its configuration |
//! | [`request`] | builds the graph that is asked for |
//! | [`lower`] | writes a graph with its weights as ONNX operators |
//! | [`onnx`] | the file format: messages, writing, reading |
//! | [`runtime`] | runs files in ONNX Runtime |
//! | [`verify`] | compares a file with the reference interpreter and with recorded outputs |
//! | [`staging`] | makes files under a temporary name |
//! | [`export`] | all of these in order |
//! | [`inspect`] | says what a file holds |

mod error;
pub mod export;
pub mod inspect;
pub mod lower;
pub mod onnx;
pub mod request;
pub mod runtime;
pub mod source;
pub mod staging;
pub mod verify;

pub use error::ExportError;
