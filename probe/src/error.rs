//! What can go wrong while probing.

use std::path::PathBuf;

use ddae_base::files::FileError;
use ddae_classify::ClassifyError;
use ddae_data::DataError;
use ddae_export::ExportError;
use ddae_infer::InferError;
use ddae_store::{Difference, FeatureError};

/// A probe's failure. Each text names the file, feature or number and says what to do next.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// A feature file cannot be read.
    #[error(transparent)]
    Features(#[from] FeatureError),
    /// A data set cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A classifier cannot learn or be measured.
    #[error(transparent)]
    Classify(ClassifyError),
    /// A file that others wrote, and what is wrong with it.
    #[error("{path}: {reason}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What was found, what is wanted and what to do.
        reason: String,
    },
    /// Options that do not go with the files they were given with.
    #[error("{0}")]
    Usage(String),
    /// A text that is not a list of features.
    #[error(
        "--features {text:?}: {reason}; write them as t11/out_6, several to choose from as t11/out_6,t21/out_6, taps to join as t11/out_6+t11/out_7"
    )]
    FeatureSyntax {
        /// What was given.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A feature that a file does not have.
    #[error("{path}: there is no feature {wanted}; it has {known}", path = path.display())]
    UnknownFeature {
        /// The feature file.
        path: PathBuf,
        /// The missing key.
        wanted: String,
        /// The keys that exist.
        known: String,
    },
    /// The two files have no feature in common.
    #[error("{train} and {test} have no feature in common ({train_keys} and {test_keys}): extract the same timesteps and taps for both", train = train.display(), test = test.display())]
    NoCommonFeature {
        /// The training file.
        train: PathBuf,
        /// The test file.
        test: PathBuf,
        /// Keys of the training file.
        train_keys: String,
        /// Keys of the test file.
        test_keys: String,
    },
    /// Features that were not made the same way.
    #[error("{} and {} do not belong together: attribute {} is {} in the first and {} in the second; extract both with the same model and options", first.display(), second.display(), difference.property, difference.first, difference.second)]
    Mismatch {
        /// The training file, or the first noising.
        first: PathBuf,
        /// The test file, or the second noising.
        second: PathBuf,
        /// What differs.
        difference: Difference,
    },
    /// Training and test features have different widths.
    #[error("{features} has {train_dim} features in {train} and {test_dim} in {test}: extract both with the same model", train = train.display(), test = test.display())]
    Dims {
        /// The feature key.
        features: String,
        /// The training file.
        train: PathBuf,
        /// The test file.
        test: PathBuf,
        /// Width in the training file.
        train_dim: usize,
        /// Width in the test file.
        test_dim: usize,
    },
    /// A feature that is NaN or infinite.
    #[error(
        "{origin}: {features} is {value} in row {row}, column {column}, view {view}: the features are broken, extract them again (a model in half precision may overflow: try f32)"
    )]
    NotFinite {
        /// File or data set.
        origin: String,
        /// The feature key.
        features: String,
        /// The value found.
        value: f32,
        /// The sample.
        row: usize,
        /// The feature's position.
        column: usize,
        /// The view.
        view: usize,
    },
    /// One shard in place of the whole.
    #[error("{path}: holds only rows {first} to {last} of {total}: join the shards first (the job that writes the last shard does it), or give the joined file", path = path.display())]
    Shard {
        /// The shard.
        path: PathBuf,
        /// Its first row.
        first: usize,
        /// Its last row.
        last: usize,
        /// Rows of the whole job.
        total: usize,
    },
    /// A source without samples.
    #[error("{origin}: there are no samples")]
    Empty {
        /// File or data set.
        origin: String,
    },
    /// A class that is too small for a held-out part.
    #[error(
        "class {label} has {count} training sample(s), too few to hold some out for choosing {purpose}: {advice}"
    )]
    TooFewToHoldOut {
        /// The class.
        label: i64,
        /// How many samples it has.
        count: usize,
        /// What was to be chosen.
        purpose: &'static str,
        /// How to do without.
        advice: &'static str,
    },
    /// A class that has fewer samples than are asked for.
    #[error(
        "class {label} has {count} training samples, and --shots {shots} asks for more: give a smaller number"
    )]
    TooFewShots {
        /// The class.
        label: i64,
        /// How many samples it has.
        count: usize,
        /// How many were asked for.
        shots: usize,
    },
    /// Predictions that are not of the same samples.
    #[error(
        "{first} and {second} are not predictions of the same samples: {what}; a paired test needs the same test samples in the same order"
    )]
    OtherSamples {
        /// The first file, or the run.
        first: String,
        /// The second.
        second: String,
        /// What differs.
        what: String,
    },
    /// One noising where two are needed.
    #[error("{path}: there is one view of each image, and alignment compares two noisings: extract with --views 2, or give a second file that was extracted with another --seed", path = path.display())]
    OneView {
        /// The feature file.
        path: PathBuf,
    },
    /// Two files whose rows are not the same images.
    #[error("{first} and {second} do not hold the same images: {what}; extract both from the same split, with the same --limit", first = first.display(), second = second.display())]
    OtherImages {
        /// The first file.
        first: PathBuf,
        /// The second file.
        second: PathBuf,
        /// What differs.
        what: String,
    },
    /// Too few images to compare.
    #[error("{origin}: there is one image, and uniformity is measured between images: give at least 2")]
    OneImage {
        /// The feature file.
        origin: String,
    },
    /// A graph cannot be made.
    #[error(transparent)]
    Export(Box<ExportError>),
    /// Features cannot be computed.
    #[error(transparent)]
    Infer(Box<InferError>),
    /// A file cannot be written, moved or removed.
    #[error(transparent)]
    Output(#[from] FileError),
    /// An image or file that cannot be written.
    #[error("{path}: {source}", path = path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
}

impl ProbeError {
    /// Whether something was asked for that makes no sense, rather than that it failed.
    pub fn is_usage(&self) -> bool {
        match self {
            ProbeError::FeatureSyntax { .. } | ProbeError::Usage(_) => true,
            ProbeError::Data(error) => error.is_usage(),
            ProbeError::Export(error) => error.is_usage(),
            ProbeError::Infer(error) => error.is_usage(),
            _ => false,
        }
    }

    /// Whether the caller asked to stop.
    pub fn is_interrupted(&self) -> bool {
        matches!(self, ProbeError::Infer(error) if error.is_interrupted())
    }
}

impl From<ExportError> for ProbeError {
    fn from(error: ExportError) -> Self {
        Self::Export(Box::new(error))
    }
}

impl From<InferError> for ProbeError {
    fn from(error: InferError) -> Self {
        Self::Infer(Box::new(error))
    }
}

/// An error of this crate that came up while a classifier read rows is itself again.
impl From<ClassifyError> for ProbeError {
    fn from(error: ClassifyError) -> Self {
        match error {
            ClassifyError::Rows(source) => match source.downcast() {
                Ok(own) => *own,
                Err(other) => Self::Classify(ClassifyError::Rows(other)),
            },
            other => Self::Classify(other),
        }
    }
}

impl From<ProbeError> for ClassifyError {
    fn from(error: ProbeError) -> Self {
        match error {
            ProbeError::Classify(error) => error,
            own => Self::Rows(Box::new(own)),
        }
    }
}

/// A result with a [`ProbeError`].
pub type Result<T> = std::result::Result<T, ProbeError>;
