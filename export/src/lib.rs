//! Networks as ONNX files.
//!
//! | module | does |
//! | --- | --- |
//! | [`lower`] | writes a graph with its weights as ONNX operators |
//! | [`onnx`] | the file format: messages, writing, reading |
//! | [`runtime`] | runs files in ONNX Runtime |

pub mod lower;
pub mod onnx;
pub mod runtime;
