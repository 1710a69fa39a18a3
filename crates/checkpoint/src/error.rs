//! Why a checkpoint cannot be read or written.

use std::path::{Path, PathBuf};

use super::contents::Fault;
use ddae_base::files::FileError;
use ddae_model::weights::WeightsError;
use ddae_pickle::PickleError;

/// Why a checkpoint cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The messages say it.
pub enum CheckpointError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    /// The bytes are no checkpoint of a known format, or a damaged one.
    #[error("{}: {message}", path.display())]
    Format { path: PathBuf, message: String },
    /// The pickle of a PyTorch file is refused or damaged.
    #[error("{}: {source}; {}", path.display(), advice(source))]
    Pickle { path: PathBuf, source: PickleError },
    /// The tensors are not those of the network.
    #[error("{}: {source}", path.display())]
    Weights { path: PathBuf, source: WeightsError },
}

impl From<FileError> for CheckpointError {
    fn from(FileError { path, source, .. }: FileError) -> CheckpointError {
        CheckpointError::Io { path, source }
    }
}

impl CheckpointError {
    pub(super) fn format(path: &Path, message: impl Into<String>) -> CheckpointError {
        CheckpointError::Format { path: path.to_path_buf(), message: message.into() }
    }

    /// For `map_err` on what a reader of a file's contents says.
    pub(super) fn at(path: &Path) -> impl FnOnce(Fault) -> CheckpointError {
        let path = path.to_path_buf();
        move |fault| match fault {
            Fault::Pickle(source) => CheckpointError::Pickle { path, source },
            Fault::Format(message) => CheckpointError::Format { path, message },
        }
    }

    /// For `map_err` on the system's errors.
    pub(super) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> CheckpointError {
        let path = path.to_path_buf();
        move |source| CheckpointError::Io { path, source }
    }
}

fn advice(error: &PickleError) -> &'static str {
    match error {
        PickleError::Opcode { .. } => "take a file that holds tensors alone (a state dict)",
        _ => "copy it here again, or take another checkpoint",
    }
}
