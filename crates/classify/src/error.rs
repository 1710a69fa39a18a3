//! What can go wrong with a classifier.

/// A classifier's failure. Each text says what to do next, in the options of `ddae-probe`.
#[derive(Debug, thiserror::Error)]
pub enum ClassifyError {
    /// Rows cannot be read; the error is that of their source.
    #[error(transparent)]
    Rows(Box<dyn std::error::Error + Send + Sync>),
    /// A training set without samples.
    #[error("training set: there are no samples")]
    NoSamples,
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
    /// A training that went astray: a loss, or weights at its end, that are no numbers.
    #[error(
        "the training diverged: its loss is {loss} in epoch {epoch} with a learning rate of {learning_rate}; give a smaller --lr, or scale the features with --normalise"
    )]
    Diverged {
        /// The loss of the last step; NaN where it was finite, but the weights behind it are not.
        loss: f64,
        /// The epoch, counted from 1.
        epoch: usize,
        /// The learning rate of that epoch.
        learning_rate: f64,
    },
    /// Features of a width that the timestep's embedding does not have.
    #[error(
        "{dim} features: the noise-conditional head wants a multiple of 8 of at least 16 (its embedding has dim / 8 sines and cosines); choose another layer with --tap, or use mlp"
    )]
    EmbeddingWidth {
        /// Number of features.
        dim: usize,
    },
    /// Heads that features cannot be divided among.
    #[error("{heads} heads do not divide {dim} features: give --heads {}", divisors(*dim))]
    Heads {
        /// Number of features.
        dim: usize,
        /// Number of heads.
        heads: usize,
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
}

/// The first numbers that divide `dim`, as a sentence lists them.
fn divisors(dim: usize) -> String {
    const LISTED: usize = 8;
    let all: Vec<String> =
        (1..=dim).filter(|&n| dim.is_multiple_of(n)).take(LISTED).map(|n| n.to_string()).collect();
    match all.split_last() {
        Some((last, others)) if !others.is_empty() => format!("{} or {last}", others.join(", ")),
        _ => all.concat(),
    }
}

/// A result with a [`ClassifyError`].
pub type Result<T> = std::result::Result<T, ClassifyError>;
