//! What can go wrong while probing.

use std::path::PathBuf;

use ddae_data::DataError;
use ddae_store::FeatureError;

/// A probe's failure. Each text names the file, feature or number and says what to do next.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// A feature file cannot be read.
    #[error(transparent)]
    Features(#[from] FeatureError),
    /// A data set cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
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
    /// Training and test features were not made the same way.
    #[error("{train} and {test} do not belong together: attribute {attribute} is {train_value} in the first and {test_value} in the second; extract both with the same model and options", train = train.display(), test = test.display())]
    Mismatch {
        /// The training file.
        train: PathBuf,
        /// The test file.
        test: PathBuf,
        /// The attribute that differs.
        attribute: String,
        /// Its value in the training file.
        train_value: String,
        /// Its value in the test file.
        test_value: String,
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
    /// A class that only the test set has.
    #[error(
        "{origin}: row {row} has label {label}, but the training labels are {known}: training and test set must have the same classes"
    )]
    UnknownLabel {
        /// The test file or data set.
        origin: String,
        /// The sample.
        row: usize,
        /// Its label.
        label: i64,
        /// The training labels.
        known: String,
    },
    /// Fewer than two classes.
    #[error("all {samples} training samples have the label {label}: a probe needs at least two classes")]
    OneClass {
        /// Number of training samples.
        samples: usize,
        /// The only label.
        label: i64,
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
    /// More neighbours than training samples.
    #[error("k = {k}, but there are only {base} training rows to search: give a smaller -k")]
    TooManyNeighbours {
        /// The asked number of neighbours.
        k: usize,
        /// The rows there are.
        base: usize,
    },
    /// A logistic regression that learned nothing.
    #[error(
        "the logistic regression is at chance: its mean training loss {loss:.6} is not below the {chance:.6} of guessing among {classes} classes by their frequency; the features may be constant or unrelated to the labels, or C = {c} is far too small"
    )]
    Chance {
        /// Mean cross-entropy on the training set.
        loss: f64,
        /// Number of classes.
        classes: usize,
        /// The loss of a guess.
        chance: f64,
        /// The inverse strength of the penalty.
        c: f64,
    },
    /// A solver that failed.
    #[error("the {solver} solver failed: {reason}; try --solver newton, or a smaller --c")]
    Solver {
        /// Which one.
        solver: &'static str,
        /// Its own words.
        reason: String,
    },
    /// A training that went astray.
    #[error(
        "the training diverged: its loss is {loss} in epoch {epoch} with a learning rate of {learning_rate}; give a smaller --lr, or scale the features with --normalise"
    )]
    Diverged {
        /// The loss of the last step.
        loss: f64,
        /// The epoch, counted from 1.
        epoch: usize,
        /// The learning rate of that epoch.
        learning_rate: f64,
    },
    /// Batches without enough rows to take a mean over.
    #[error(
        "{rows} training row(s) in batches of {batch}: batch normalisation needs at least 2 rows in a batch; give a larger --batch or more training samples"
    )]
    BatchOfOne {
        /// The training rows.
        rows: usize,
        /// Rows in a batch.
        batch: usize,
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
            ProbeError::FeatureSyntax { .. } => true,
            ProbeError::Data(error) => error.is_usage(),
            _ => false,
        }
    }
}

/// A result with a [`ProbeError`].
pub type Result<T> = std::result::Result<T, ProbeError>;
