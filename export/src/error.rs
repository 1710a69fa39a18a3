//! Why an export fails.

use std::path::PathBuf;

use ddae_base::files::FileError;
use ddae_checkpoint::CheckpointError;
use ddae_data::DataError;
use ddae_model::config::ConfigError;
use ddae_model::graph::GraphError;
use ddae_model::networks::recognition::RecogniseError;
use ddae_model::reference::RunError;

use crate::lower::LowerError;
use ddae_onnx::read::ReadError;
use ddae_onnx::runtime::RuntimeError;

/// An export, or a look into a file, that cannot be done.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// Options that make no sense, alone or together.
    #[error("{0}")]
    Argument(String),
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// No checkpoint, or no configuration, where one was looked for.
    #[error("{}: {message}", path.display())]
    Source {
        /// The file or folder.
        path: PathBuf,
        /// What is missing and what to do.
        message: String,
    },
    /// Images to calibrate on.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The weights are of no network that is known, or do not tell enough.
    #[error("{}: {source}", path.display())]
    Recognise {
        /// The file.
        path: PathBuf,
        /// What is wrong, or what to give.
        source: RecogniseError,
    },
    /// The network or the layers asked for.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// Writing the graph as ONNX.
    #[error(transparent)]
    Lower(#[from] LowerError),
    /// The reference interpreter.
    #[error("cannot verify: {0}")]
    Reference(#[from] RunError),
    /// ONNX Runtime.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// Reading an ONNX file.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Writing a file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file does not compute what the network computes.
    #[error(
        "verification failed: output '{output}' differs from {against} by {difference:.1e}, more than the tolerance \
         {tolerance:.1e}; no file was written. If the difference is acceptable, raise --tolerance"
    )]
    Verification {
        /// The output with the largest difference.
        output: String,
        /// What it was compared with.
        against: &'static str,
        /// The relative difference.
        difference: f64,
        /// The largest accepted one.
        tolerance: f64,
    },
}

impl ExportError {
    /// Whether the command was asked for something that makes no sense, rather than failing at it.
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            ExportError::Argument(_)
                | ExportError::Graph(_)
                | ExportError::Recognise {
                    source: RecogniseError::Untold { .. } | RecogniseError::Alike { .. },
                    ..
                }
                | ExportError::Config(ConfigError::Invalid { .. })
                | ExportError::Lower(LowerError::NoOutputs)
        )
    }
}
