//! What can go wrong in libtorch.

use ddae_model::weights::WeightsError;
use tch::TchError;

/// Why a device, a network or an operation on tensors failed.
#[derive(Debug, thiserror::Error)]
pub enum TorchError {
    /// libtorch refused an operation.
    #[error("{context}: {message}")]
    Operation {
        /// The node of the graph or the operation.
        context: String,
        /// libtorch's reason.
        message: String,
    },
    /// CUDA was asked for and cannot be had.
    #[error("CUDA was asked for, but {0}")]
    Cuda(String),
    /// An input of the network was not given, or one was that it has not.
    #[error("{0}")]
    Input(String),
    /// The weights are not those of the network.
    #[error(transparent)]
    Weights(#[from] WeightsError),
}

impl TorchError {
    /// libtorch's error in the operation or node `context`.
    pub(crate) fn at(context: impl Into<String>, error: TchError) -> TorchError {
        let text = error.to_string();
        // c10's texts end in a stack trace of C++ frames.
        let message = text.split("\nException raised from").next().unwrap_or_default();
        let message = message.trim_start_matches("Internal torch error: ").trim().to_string();
        TorchError::Operation { context: context.into(), message }
    }
}
