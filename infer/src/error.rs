//! What can go wrong, each in one line that says what to do.

use std::io;
use std::path::{Path, PathBuf};

use ddae_base::files::FileError;
use ddae_base::lock::LockError;
use ddae_base::memory::MemoryError;
use ddae_data::datasets::DataError;
use ddae_data::sheet::SheetError;
use ddae_onnx::read::ReadError;
use ddae_onnx::runtime::RuntimeError;
use ddae_store::FeatureError;

use crate::fid::FidError;

/// Why a job cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum InferError {
    /// Options that make no sense, alone, together or for this graph.
    #[error("{0}")]
    Argument(String),
    /// The file is no ONNX file.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The file is an ONNX file, but not one that can be used.
    #[error("cannot use {}: {message}", path.display())]
    Model {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        message: String,
    },
    /// The graph is of another kind than the command wants.
    #[error(
        "{} is a graph of kind '{found}', and '{command}' wants '{wanted}': export it with `ddae-export CHECKPOINT --graph {wanted}`",
        path.display()
    )]
    Kind {
        /// The file.
        path: PathBuf,
        /// Its kind.
        found: &'static str,
        /// The kind that the command runs.
        wanted: &'static str,
        /// The command.
        command: &'static str,
    },
    /// ONNX Runtime is missing.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// CUDA was asked for and cannot be had.
    #[error("cuda:{device} cannot be used: {message}")]
    Cuda {
        /// The device's number.
        device: u16,
        /// Why not, and what to do.
        message: String,
    },
    /// The graph fails while it computes.
    #[error("ONNX Runtime cannot run {}: {message}", path.display())]
    Run {
        /// The file.
        path: PathBuf,
        /// What the runtime says.
        message: String,
    },
    /// A tensor cannot be made or read.
    #[error("ONNX Runtime refuses a tensor: {0}")]
    Tensor(String),
    /// The network gives something that cannot be drawn.
    #[error("the image of seed {seed} holds {value}: check the model's weights and its precision")]
    NotFinite {
        /// The image's seed.
        seed: u64,
        /// NaN or an infinity.
        value: f64,
    },
    /// Images of other settings are where these are to go.
    #[error("{} holds images with {what}: choose another folder, or give --overwrite", path.display())]
    OtherImages {
        /// The folder.
        path: PathBuf,
        /// What differs first.
        what: String,
    },
    /// Another process writes there.
    #[error("{}: another ddae-infer is writing here; wait for it, or choose another output", path.display())]
    InUse {
        /// The file or folder.
        path: PathBuf,
    },
    /// What is there already is in the way.
    #[error("{}: {message}", path.display())]
    Output {
        /// The file or folder.
        path: PathBuf,
        /// What is in the way, and what to do.
        message: String,
    },
    /// More memory than there is.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A data set.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A feature file.
    #[error(transparent)]
    Features(FeatureError),
    /// An image file.
    #[error(transparent)]
    Sheet(#[from] SheetError),
    /// A Fréchet distance.
    #[error(transparent)]
    Fid(#[from] FidError),
    /// A thread of the job ended without a result.
    #[error("a thread of the job ended unexpectedly; this is a mistake in ddae-infer, please report it")]
    Thread,
    /// The caller asked to stop.
    #[error("interrupted")]
    Interrupted,
}

impl InferError {
    /// Whether the caller asked to stop.
    pub fn is_interrupted(&self) -> bool {
        matches!(
            self,
            InferError::Interrupted
                | InferError::Features(FeatureError::Interrupted)
                | InferError::Data(DataError::Interrupted)
                | InferError::Fid(FidError::Interrupted)
        )
    }

    /// Whether the command was asked for something that makes no sense, rather than failing at it.
    pub fn is_usage(&self) -> bool {
        match self {
            InferError::Argument(_)
            | InferError::Features(FeatureError::Layout(_))
            | InferError::Fid(FidError::Source { .. }) => true,
            InferError::Data(error) => error.is_usage(),
            _ => false,
        }
    }

    /// An [`InferError::File`], for `map_err`.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> InferError + use<> {
        let error = FileError::of(action, path);
        move |source| error(source).into()
    }
}

impl From<LockError> for InferError {
    fn from(error: LockError) -> InferError {
        match error {
            LockError::InUse { path } => InferError::InUse { path },
            LockError::File(error) => error.into(),
        }
    }
}

impl From<FeatureError> for InferError {
    fn from(error: FeatureError) -> InferError {
        match error {
            FeatureError::Interrupted => InferError::Interrupted,
            FeatureError::BeingWritten { path } => InferError::InUse { path },
            other => InferError::Features(other),
        }
    }
}

impl From<ort::Error> for InferError {
    fn from(error: ort::Error) -> InferError {
        InferError::Tensor(first_line(&error))
    }
}

/// The first line of a message of ONNX Runtime, which are paragraphs.
pub(crate) fn first_line(error: &ort::Error) -> String {
    let text = error.to_string();
    text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("no reason given").to_string()
}
