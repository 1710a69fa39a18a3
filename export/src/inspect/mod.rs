//! What a file holds: graph, parameters, operations and metadata of an ONNX file; tensors and training state of a
//! checkpoint.

mod checkpoint;
mod onnx;

use std::path::Path;

use ddae_checkpoint::Checkpoint;
use serde::Serialize;

pub use checkpoint::{CheckpointReport, SetReport, TensorReport, ValueEntry};
pub use onnx::{NodeReport, OnnxReport, ValueReport, report as onnx_report};

use crate::ExportError;

/// What a file holds.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Report {
    /// An ONNX file.
    Onnx(Box<OnnxReport>),
    /// A safetensors or PyTorch file.
    Checkpoint(Box<CheckpointReport>),
}

/// Looks into a file; what it is is told by its content.
///
/// # Errors
/// When it cannot be read or is neither ONNX nor a checkpoint.
pub fn inspect(path: &Path) -> Result<Report, ExportError> {
    if Checkpoint::recognises(path) {
        return Ok(Report::Checkpoint(Box::new(checkpoint::report(path)?)));
    }
    let model = ddae_onnx::read::model(path)?;
    let bytes = std::fs::metadata(path).map_or(0, |info| info.len());
    Ok(Report::Onnx(Box::new(onnx::report(&model, bytes))))
}

/// A number with the prefix that keeps it short: `35.7 M`.
pub fn short(count: u64) -> String {
    let scaled = |unit: f64, name: &str| format!("{:.1} {name}", count as f64 / unit);
    match count {
        0..1_000 => count.to_string(),
        1_000..1_000_000 => scaled(1e3, "k"),
        1_000_000..1_000_000_000 => scaled(1e6, "M"),
        _ => scaled(1e9, "G"),
    }
}
