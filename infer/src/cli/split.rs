//! The images that `--data`, `--data-root`, `--labels` and `--split` choose.

use std::path::{Path, PathBuf};

use ddae_data::datasets::{self, OpenOptions};
use ddae_data::decode::Reading;
use ddae_data::split::Split;
use ddae_infer::InferError;

/// What was asked for.
pub struct Wanted<'a> {
    /// The data set's name, or a path.
    pub data: &'a str,
    /// Its folder, or the one above it.
    pub root: Option<&'a Path>,
    /// A table of labels.
    pub labels: Option<PathBuf>,
    /// The split, or else what is usual here.
    pub split: Option<&'a str>,
    pub usual: &'static str,
    /// How images become levels.
    pub reading: Reading,
    /// Whether nothing is said of what was taken.
    pub quiet: bool,
}

impl Wanted<'_> {
    /// Opens the data set, says what the user should know, and finds the split.
    ///
    /// # Errors
    /// When one of them cannot be had.
    pub fn open(self) -> Result<Split, InferError> {
        let options = OpenOptions { labels: self.labels, reading: self.reading };
        let set = datasets::open_with(self.data, self.root, &options)?;
        let chosen = set.split(self.split, self.usual)?;
        for note in set.notes.iter().chain(&chosen.note).filter(|_| !self.quiet) {
            ddae_base::tell(format_args!("note: {note}"));
        }
        Ok(chosen.split)
    }
}
