//! What can go wrong, each in one line that says what to do.

use std::path::PathBuf;

/// Why a job cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum InferError {
    /// The file cannot be loaded.
    #[error("cannot load {}: {message}", path.display())]
    Load {
        /// The ONNX file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// The graph fails while it computes.
    #[error("cannot run {}: {message}", path.display())]
    Run {
        /// The ONNX file.
        path: PathBuf,
        /// What the runtime says.
        message: String,
    },
    /// CUDA was asked for and is not there.
    #[error(
        "cuda:{device} cannot be used: {message}; run `cargo xtask setup --cuda` on a machine with an NVIDIA GPU, or use --device cpu"
    )]
    Cuda {
        /// The device's number.
        device: i32,
        /// What the runtime says.
        message: String,
    },
    /// The graph is of another kind than the command wants.
    #[error("{} is a graph of kind '{found}', and '{command}' wants '{wanted}': export it with `ddae-export CHECKPOINT --graph {wanted}`", path.display())]
    Kind {
        /// The ONNX file.
        path: PathBuf,
        /// Its kind.
        found: String,
        /// The kind that the command runs.
        wanted: &'static str,
        /// The command.
        command: &'static str,
    },
    /// The settings do not fit the graph or each other.
    #[error("{0}")]
    Settings(String),
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A data set.
    #[error(transparent)]
    Data(#[from] ddae_data::datasets::DataError),
    /// A feature file.
    #[error(transparent)]
    Features(#[from] ddae_data::features::FeatureError),
    /// A picture file.
    #[error(transparent)]
    Sheet(#[from] ddae_data::sheet::SheetError),
    /// Ctrl-C.
    #[error("interrupted; {0}")]
    Interrupted(String),
}
