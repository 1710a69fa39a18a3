//! Where samples come from: feature files, files that others wrote, or the pixels of a data set.
//!
//! | module | subject |
//! | --- | --- |
//! | [`samples`] | one split: features by name and view, labels, checked values |
//! | [`table`] | the rows that a probe sees: a choice of features, views and samples |
//! | [`place`] | a file, and which of its arrays |
//! | [`opened`] | a file by what it is: ours or another's |
//! | `foreign` | features that others computed |
//! | [`feature_set`] | the names of features: `t11/out_6`, `t11/out_6+t11/out_7`, `pixels` |
//! | `agreement` | whether two feature files belong together |
//! | [`noise_seeds`] | files that differ in the seed of their noise alone |

pub(crate) mod agreement;
pub mod feature_set;
mod foreign;
pub mod noise_seeds;
pub mod opened;
pub mod place;
pub mod samples;
pub mod table;

use std::path::Path;

use ddae_store::Pairing;

use crate::error::{ProbeError, Result};
use feature_set::FeatureSet;
use foreign::labels::{JoinedLabels, RawLabels, Side, join};
pub use opened::Input;
use opened::{Content, Opened, common_features};
use samples::Samples;

/// A training and a test split with the same features and classes.
pub struct ProbeSource {
    /// What a probe learns from.
    pub train: Samples,
    /// What it is measured on.
    pub test: Samples,
    /// Names of the classes by label, where they are known.
    class_names: Vec<String>,
    /// What there is to choose from.
    available: Vec<FeatureSet>,
    /// Whether a file of another's is among them, whose features have no names to choose from.
    is_foreign: bool,
    /// What the reader should know before trusting numbers of both.
    pub(crate) notes: Vec<String>,
}

/// What the reader should know of two files that are `pairing` to each other.
///
/// # Errors
/// When both are ours and were made in different ways.
pub(crate) fn compare(first: &Opened, second: &Opened, pairing: Pairing) -> Result<Vec<String>> {
    let mut notes = match (&first.content, &second.content) {
        (Content::Own { file: a, .. }, Content::Own { file: b, .. }) => agreement::check(a, b, pairing)?,
        _ => Vec::new(),
    };
    let both = [first, second];
    let unknown = both.iter().filter(|opened| matches!(opened.content, Content::Foreign(_)));
    let unknown: Vec<&str> = unknown.map(|opened| opened.origin.as_str()).collect();
    notes.extend(agreement::unknown_making(&unknown, pairing));
    if !unknown.is_empty() && first.stored_as() != second.stored_as() {
        notes.push(format!(
            "{} stores its features as {} and {} as {}",
            first.origin,
            first.stored_as(),
            second.origin,
            second.stored_as()
        ));
    }
    for note in both.iter().flat_map(|opened| opened.notes()) {
        if !notes.contains(&note) {
            notes.push(note);
        }
    }
    Ok(notes)
}

/// Refuses to flatten arrays where all files are ours, which hold rows.
pub(crate) fn refuse_flatten(flatten: bool, opened: &[&Opened]) -> Result<()> {
    if flatten && opened.iter().all(|opened| matches!(opened.content, Content::Own { .. })) {
        let reason = "--flatten is for arrays of others: feature files of ddae-infer hold rows";
        return Err(ProbeError::Usage(reason.to_string()));
    }
    Ok(())
}

/// A file's labels and what they are called.
fn side<'a>(opened: &'a Opened, names: &'a [String]) -> Result<Side<'a>> {
    let (labels, is_ours) = match &opened.content {
        Content::Own { labels: Some(labels), .. } => (labels.clone(), false),
        Content::Own { file, labels: None, .. } => (RawLabels::Integers(file.labels()?), true),
        Content::Foreign(foreign) => {
            (foreign.labels.clone().unwrap_or(RawLabels::Integers(Vec::new())), false)
        }
    };
    Ok(Side { origin: &opened.origin, labels, names, is_ours })
}

/// A file with its labels in the numbering of both.
pub(crate) fn samples(opened: Opened, labels: Vec<i64>) -> Result<Samples> {
    match opened.content {
        Content::Own { file, .. } => Samples::of_labelled_file(*file, labels),
        Content::Foreign(foreign) => Samples::of_foreign(foreign, labels, opened.origin),
    }
}

impl ProbeSource {
    /// Opens two files with features, ours or others', and checks as far as they say it that they belong together.
    ///
    /// # Errors
    /// When a file cannot be read, the files were made in different ways, or they share no features.
    pub fn open(train: &Input, test: &Input) -> Result<Self> {
        let flatten = train.flatten || test.flatten;
        let (train, test) = (Opened::open(train, true)?, Opened::open(test, true)?);
        let mut notes = compare(&train, &test, Pairing::TrainTest)?;
        refuse_flatten(flatten, &[&train, &test])?;
        let available = common_features(&train, &test)?;
        let is_foreign = [&train, &test].iter().any(|opened| matches!(opened.content, Content::Foreign(_)));
        let names = [&train, &test].map(|opened| match &opened.content {
            Content::Own { file, labels: None, .. } => file.provenance().classes.clone().unwrap_or_default(),
            _ => Vec::new(),
        });
        let [train_side, test_side] =
            [(&train, &names[0]), (&test, &names[1])].map(|(opened, names)| side(opened, names));
        let joined = join(train_side?, test_side?).map_err(ProbeError::Usage)?;
        let JoinedLabels { train: train_labels, test: test_labels, names, notes: of_labels } = joined;
        notes.extend(of_labels);
        Ok(Self {
            train: samples(train, train_labels)?,
            test: samples(test, test_labels)?,
            class_names: names,
            available,
            is_foreign,
            notes,
        })
    }

    /// Opens a data set (see [`ddae_data::datasets::open`]) as features in [0, 1], one for each level of an image.
    ///
    /// # Errors
    /// When the data set cannot be read or has no test images.
    pub fn open_pixels(name: &str, root: Option<&Path>) -> Result<Self> {
        let data = ddae_data::datasets::open(name, root)?;
        let (train, test) = (data.split(Some("train"), "train")?, data.split(Some("test"), "test")?);
        for split in [&train.split, &test.split] {
            split.check_labels("a probe")?;
        }
        let notes = data.notes.iter().cloned().chain(train.note).chain(test.note).collect();
        let class_names = train.split.classes().to_vec();
        Ok(Self {
            train: Samples::of_pixels(train.split)?,
            test: Samples::of_pixels(test.split)?,
            class_names,
            available: vec![FeatureSet::Pixels],
            is_foreign: false,
            notes,
        })
    }

    /// The features that both splits have, in the order of the training file.
    pub(crate) fn available(&self) -> &[FeatureSet] {
        &self.available
    }

    /// Whether a file that others wrote is among them: its features are named with the file, and not chosen.
    pub fn is_foreign(&self) -> bool {
        self.is_foreign
    }

    /// Checks that both splits have `features`, with the same width.
    ///
    /// # Errors
    /// When one has not; the message lists what it has.
    pub fn check(&self, features: &FeatureSet) -> Result<()> {
        for part in features.parts() {
            let (train_dim, test_dim) = (self.train.dim(&part)?, self.test.dim(&part)?);
            if train_dim != test_dim {
                return Err(ProbeError::Dims {
                    features: part.to_string(),
                    train: self.train.origin().into(),
                    test: self.test.origin().into(),
                    train_dim,
                    test_dim,
                });
            }
        }
        Ok(())
    }

    /// The name of a class, or its label where it has none.
    pub(crate) fn class_name(&self, label: i64) -> String {
        let name = usize::try_from(label).ok().and_then(|label| self.class_names.get(label));
        name.map_or_else(|| label.to_string(), Clone::clone)
    }
}
