//! What can go wrong in a training run.

use std::path::{Path, PathBuf};

use ddae_base::files::FileError;
use ddae_base::memory::MemoryError;
use ddae_checkpoint::CheckpointError;
use ddae_classify::ClassifyError;
use ddae_data::DataError;
use ddae_data::sheet::SheetError;
use ddae_model::config::ConfigError;
use ddae_model::diffusion::PlanError;
use ddae_model::graph::GraphError;

use crate::torch::TorchError;

/// Why a training run cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// An argument that makes no sense, alone or beside the others.
    #[error("{0}")]
    Argument(String),
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The network cannot be built.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The images.
    #[error(transparent)]
    Data(#[from] DataError),
    /// libtorch.
    #[error(transparent)]
    Torch(#[from] TorchError),
    /// A checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A sampler's settings.
    #[error(transparent)]
    Sampler(#[from] PlanError),
    /// Probing features.
    #[error(transparent)]
    Classify(#[from] ClassifyError),
    /// A sheet of samples.
    #[error(transparent)]
    Sheet(#[from] SheetError),
    /// More memory than there is.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// A file or folder of the run.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The run folder is not what the arguments say it is.
    #[error("{}: {message}", path.display())]
    Folder {
        /// The folder, or a file of it.
        path: PathBuf,
        /// What was found and what to do.
        message: String,
    },
    /// The run to resume was started with other settings.
    #[error(
        "{}: this run was started with {key} = {saved}, now it is {given}: {advice}",
        path.display()
    )]
    Mismatch {
        /// The checkpoint.
        path: PathBuf,
        /// The setting.
        key: String,
        /// Its value in the checkpoint.
        saved: String,
        /// Its value now.
        given: String,
        /// What to do.
        advice: &'static str,
    },
    /// The loss or the gradients are not finite any more.
    #[error(
        "training diverged at step {step}: {what} at learning rate {learning_rate:.3e}. {rescue}; \
         try a smaller lrate or a longer warm_epoch"
    )]
    Diverged {
        /// The step, counted from 1.
        step: u64,
        /// What is not finite.
        what: String,
        /// The learning rate of that step.
        learning_rate: f64,
        /// Where the last good checkpoint is.
        rescue: String,
    },
    /// What goes wrong among several ranks.
    #[error("{0}")]
    Ranks(String),
    /// The user or the system asked to stop.
    #[error("stopped after step {step}. {resume}")]
    Interrupted {
        /// Finished steps.
        step: u64,
        /// How to go on.
        resume: String,
    },
    /// The same, before ranks had met.
    #[error("stopped while ranks waited for each other; the run is as it was")]
    NotMet,
}

impl From<FileError> for TrainError {
    fn from(FileError { path, source, .. }: FileError) -> TrainError {
        TrainError::Io { path, source }
    }
}

impl TrainError {
    /// Whether the run was asked to stop: this process, or another rank.
    pub fn is_interrupted(&self) -> bool {
        matches!(
            self,
            TrainError::Interrupted { .. } | TrainError::NotMet | TrainError::Data(DataError::Interrupted)
        )
    }

    /// For `map_err` on the system's errors about `path`.
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> TrainError + use<> {
        let path = path.to_path_buf();
        move |source| TrainError::Io { path, source }
    }
}
