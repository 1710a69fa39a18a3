use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use ddae_base::files::FileError;
use ddae_base::memory::MemoryError;

/// What can go wrong with a data set. Every message is one line that names the file or option and what was expected.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The operating system refused to read or write a file.
    #[error(transparent)]
    File(#[from] FileError),

    /// A file does not hold what its name promises.
    #[error("{}: {found}; expected {expected}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        found: String,
        /// What it should hold.
        expected: String,
    },

    /// No data set has this name.
    #[error(
        "there is no data set named '{name}'; known names: {known}; nor is there a file or folder of that name, for which {wanted} may be given"
    )]
    UnknownName {
        /// The name asked for.
        name: String,
        /// The names there are, separated by commas.
        known: String,
        /// What can be given besides.
        wanted: &'static str,
    },

    /// The files of a data set are not where they were looked for.
    #[error("{name} is not in {}: expected {expected}", root.display())]
    Missing {
        /// The data set.
        name: String,
        /// Where it was looked for.
        root: PathBuf,
        /// The files or folders that would have been taken, and how to get or place them.
        expected: String,
    },

    /// An archive is not the published one.
    #[error(
        "{}: its md5 is {found}, but the published archive's is {expected}; download it again, or run `ddae-data prepare --no-verify {}` to unpack it all the same",
        path.display(), path.display()
    )]
    Checksum {
        /// The archive.
        path: PathBuf,
        /// Its md5, in hexadecimal.
        found: String,
        /// The published md5.
        expected: &'static str,
    },

    /// Images cannot be brought to the shape that was asked for.
    #[error("{split} holds images of {}, which cannot become {}: {reason}", Shape(*from), Shape(*to))]
    Fit {
        /// The split.
        split: String,
        /// Its shape, [C, H, W].
        from: [usize; 3],
        /// The shape asked for, [C, H, W].
        to: [usize; 3],
        /// Why not, and what to do.
        reason: &'static str,
    },

    /// What is to be read does not fit into memory.
    #[error(transparent)]
    Memory(#[from] MemoryError),

    /// An option or index has a value that makes no sense.
    #[error("{0}")]
    Argument(String),

    /// The caller asked to stop.
    #[error("stopped; nothing was left half-written")]
    Interrupted,

    /// A loader's worker thread ended without a result.
    #[error("a loader thread ended unexpectedly: {0}")]
    Worker(String),
}

impl DataError {
    /// Whether the caller asked to stop.
    pub fn is_interrupted(&self) -> bool {
        matches!(self, DataError::Interrupted)
    }

    /// Whether something was asked for that makes no sense, rather than that it failed.
    pub fn is_usage(&self) -> bool {
        matches!(self, DataError::UnknownName { .. } | DataError::Argument(_))
    }

    /// A [`DataError::File`], for `map_err`.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DataError + use<> {
        let error = FileError::of(action, path);
        move |source| error(source).into()
    }

    /// A [`DataError::Format`].
    pub(crate) fn format(path: &Path, found: impl Into<String>, expected: impl Into<String>) -> DataError {
        DataError::Format { path: path.to_path_buf(), found: found.into(), expected: expected.into() }
    }
}

/// An image shape as people write it: `3x32x32`.
pub(crate) struct Shape(pub [usize; 3]);

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [channels, height, width] = self.0;
        write!(f, "{channels}x{height}x{width}")
    }
}
