//! What can go wrong with feature files.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use ddae_base::files::FileError;
use ddae_base::lock::LockError;
use ddae_base::memory::MemoryError;

use super::FeatureKey;
use super::provenance::Difference;

/// An error of the feature store: one line that names the file and says what to do.
#[derive(Debug, thiserror::Error)]
pub enum FeatureError {
    /// A text that is no feature key.
    #[error("{0:?} is not a feature key: write a timestep and a tap, such as t11/out_6")]
    Key(String),
    /// A layout that no file can have.
    #[error("features cannot be stored like this: {0}")]
    Layout(String),
    /// A computed feature that is not a finite number, or too large for f16.
    #[error("{key}: view {view} of row {row} holds {value}: {advice}")]
    Value {
        /// The dataset.
        key: FeatureKey,
        /// The view.
        view: usize,
        /// The row, counted over the whole job.
        row: usize,
        /// The number.
        value: f32,
        /// What to do.
        advice: &'static str,
    },
    /// Rows, a view or a width that the file does not have: a mistake of the caller.
    #[error("{path}: {what}")]
    Range {
        /// The file.
        path: PathBuf,
        /// Asked for and available.
        what: String,
    },
    /// A dataset that the file does not have.
    #[error("{path}: has no features {key}; it has {known}")]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// The dataset asked for.
        key: FeatureKey,
        /// Those there are.
        known: String,
    },
    /// A shard was to be finished before all of it was written.
    #[error("{path}: {what}, rows {rows:?} of the shard, were not written; the shard is discarded")]
    Incomplete {
        /// The shard.
        path: PathBuf,
        /// The dataset.
        what: String,
        /// The first gap, counted from the shard's first row.
        rows: Range<usize>,
    },
    /// The file is not a feature file.
    #[error("{path}: not a feature file: {reason}; it must be one that this version of ddae-infer writes")]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// A feature file with something missing or altered.
    #[error("{path}: the file is damaged: {reason}; delete it and compute its features again")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// A feature file whose numbers are elsewhere.
    #[error(
        "{path}: leads to other files: {reason}; a feature file holds its numbers itself, and a joined one names its \
         shards, plain files beside it"
    )]
    Outside {
        /// The file.
        path: PathBuf,
        /// What leads where.
        reason: String,
    },
    /// What is to be read does not fit into the memory.
    #[error("{path}: {source}")]
    Memory {
        /// The file.
        path: PathBuf,
        /// What needs how much, and how much there is.
        source: MemoryError,
    },
    /// Another process has the file open in a way that does not go together with what is to be done.
    #[error(
        "{path}: is in use by another process ({reason}): wait until that has ended; where the file system has no locks, set HDF5_USE_FILE_LOCKING=FALSE"
    )]
    InUse {
        /// The file.
        path: PathBuf,
        /// The system's words.
        reason: String,
    },
    /// Another process writes the file.
    #[error("{path}: another process is writing here; wait for it, or choose another output")]
    BeingWritten {
        /// The file.
        path: PathBuf,
    },
    /// A file of a job with another layout or provenance.
    #[error(
        "{path} holds {} {} where this job has {}: choose another output with -o, or give --overwrite",
        difference.property, difference.second, difference.first
    )]
    OtherJob {
        /// The file.
        path: PathBuf,
        /// What differs first: in the job, and in the file.
        difference: Difference,
    },
    /// Shards that are to be joined do not exist.
    #[error(
        "{path}: shard{plural} {missing} of {of} missing (counted from 0): run the job again, it adds them"
    )]
    MissingShards {
        /// The first one's file.
        path: PathBuf,
        /// Their numbers.
        missing: String,
        /// Plural or not: "s" or nothing.
        plural: &'static str,
        /// How many shards the job has.
        of: usize,
    },
    /// The caller asked to stop.
    #[error("stopped; nothing was left half-written")]
    Interrupted,
    /// The file cannot be written.
    #[error("{path}: cannot write: {reason}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The operating system refused.
    #[error("{path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl From<LockError> for FeatureError {
    fn from(error: LockError) -> Self {
        match error {
            LockError::InUse { path } => Self::BeingWritten { path },
            LockError::File(error) => error.into(),
        }
    }
}

impl From<FileError> for FeatureError {
    fn from(FileError { path, source, .. }: FileError) -> Self {
        Self::Io { path, source }
    }
}

impl FeatureError {
    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { path: path.to_path_buf(), source }
    }

    pub(super) fn write(path: &Path) -> impl FnOnce(hdf5::Error) -> Self {
        move |error| {
            let (path, reason) = (path.to_path_buf(), reason(&error));
            if is_lock(&error) { Self::InUse { path, reason } } else { Self::Write { path, reason } }
        }
    }

    pub(super) fn damaged(path: &Path) -> impl FnOnce(hdf5::Error) -> Self {
        move |error| {
            let (path, reason) = (path.to_path_buf(), reason(&error));
            if is_lock(&error) { Self::InUse { path, reason } } else { Self::Damaged { path, reason } }
        }
    }
}

/// Whether HDF5 could not lock the file: readers share it, a writer has it alone.
pub(super) fn is_lock(error: &hdf5::Error) -> bool {
    error.contains_minor(hdf5::MinorErrorCode::CantLockFile)
}

/// The cause of an HDF5 error in one line: the innermost of its messages, and of that the operating system's part.
pub(super) fn reason(error: &hdf5::Error) -> String {
    let text = match error.stack() {
        Some(stack) => stack.last().map(|frame| frame.desc().to_string()),
        None => Some(error.to_string()),
    };
    let text = text.unwrap_or_else(|| "unknown HDF5 error".to_string());
    // Its number says what the system means.
    let number =
        text.split_once("errno = ").and_then(|(_, rest)| rest.split(',').next()?.trim().parse().ok());
    let cause = number.map_or(text, |number| io::Error::from_raw_os_error(number).to_string());
    cause.split_whitespace().collect::<Vec<_>>().join(" ")
}
