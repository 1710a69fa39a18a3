//! Why an export fails.

use std::path::{Path, PathBuf};

use ddae_base::files::FileError;
use ddae_base::memory::MemoryError;
use ddae_checkpoint::CheckpointError;
use ddae_data::DataError;
use ddae_model::config::ConfigError;
use ddae_model::graph::GraphError;
use ddae_model::networks::recognition::RecogniseError;
use ddae_model::reference::RunError;
use ddae_onnx::read::ReadError;
use ddae_onnx::runtime::RuntimeError;

use crate::lower::LowerError;

/// An export, or a look into a file, that cannot be done.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The messages say it.
pub enum ExportError {
    /// Options that make no sense, alone or together.
    #[error("{0}")]
    Argument(String),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A file or folder that is not what is wanted, and what to do.
    #[error("{}: {message}", path.display())]
    Unusable { path: PathBuf, message: String },
    /// Images to calibrate on.
    #[error(transparent)]
    Data(#[from] DataError),
    #[error("{}: {source}", path.display())]
    Recognise { path: PathBuf, source: RecogniseError },
    #[error(transparent)]
    Graph(#[from] GraphError),
    #[error(transparent)]
    Lower(#[from] LowerError),
    #[error("cannot verify: {0}")]
    Reference(#[from] RunError),
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    File(#[from] FileError),
    /// More memory than there is.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The file does not compute what the network computes.
    #[error(
        "verification failed: output '{output}' differs from {against} by {difference:.1e}, more than the tolerance \
         {tolerance:.1e}; no file was written. If the difference is acceptable, raise --tolerance"
    )]
    Verification { output: String, against: &'static str, difference: f64, tolerance: f64 },
}

impl ExportError {
    /// Options that make no sense.
    pub fn argument(message: impl Into<String>) -> ExportError {
        ExportError::Argument(message.into())
    }

    /// A file or folder that is not what is wanted.
    pub fn unusable(path: &Path, message: impl Into<String>) -> ExportError {
        ExportError::Unusable { path: path.to_path_buf(), message: message.into() }
    }

    /// Whether the command was asked for something that makes no sense, rather than failing at it.
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            ExportError::Argument(_)
                | ExportError::Graph(_)
                | ExportError::Recognise {
                    source: RecogniseError::Incomplete { .. } | RecogniseError::Alike { .. },
                    ..
                }
                | ExportError::Config(ConfigError::Invalid { .. })
                | ExportError::Lower(LowerError::NoOutputs)
        )
    }
}

/// Refuses options that were given where they would do nothing; `why` says it of an option.
///
/// # Errors
/// [`ExportError::Argument`] for the first of `options`, names and whether they were given.
pub fn refuse_given(
    options: &[(&'static str, bool)],
    why: impl FnOnce(&str) -> String,
) -> Result<(), ExportError> {
    match options.iter().find(|(_, is_given)| *is_given) {
        Some((option, _)) => Err(ExportError::Argument(why(option))),
        None => Ok(()),
    }
}
