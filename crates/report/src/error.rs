//! What can go wrong.

use std::path::{Path, PathBuf};

use ddae_base::files::FileError;

/// A report's failure; each text says what to do next.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// What was asked for makes no sense.
    #[error("{0}")]
    Usage(String),
    /// A file that is given cannot be used.
    #[error("{path}: {reason}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why, and what to do.
        reason: String,
    },
    /// A plot cannot be drawn.
    #[error("{0}")]
    Plot(String),
    /// The page's template does not fit its data.
    #[error("the page cannot be written: {0}")]
    Template(#[from] minijinja::Error),
    /// A file cannot be written.
    #[error(transparent)]
    Write(#[from] FileError),
}

impl ReportError {
    /// Whether something was asked for that makes no sense, rather than that it failed.
    pub fn is_usage(&self) -> bool {
        matches!(self, ReportError::Usage(_))
    }

    pub(crate) fn file(path: &Path, reason: impl ToString) -> ReportError {
        ReportError::File { path: path.to_path_buf(), reason: reason.to_string() }
    }
}
