//! A file with features, whoever wrote it.

use std::path::Path;

use ddae_store::foreign::ForeignFile;
use ddae_store::{FeatureFile, FeatureKey};

use super::agreement;
use super::feature_set::FeatureSet;
use super::foreign::labels::RawLabels;
use super::foreign::{self, Foreign, Format};
use super::place::Place;
use crate::error::{ProbeError, Result};

/// A file with features as a command names it, and how it is read.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The file, with the names of arrays behind a colon ([`Place`]).
    pub path: &'a Path,
    /// A file with the labels, in place of those beside the features.
    pub labels: Option<&'a Path>,
    /// The column of a table with the labels: of the file of labels, where there is one.
    pub label_column: Option<&'a str>,
    /// Whether an array of more than two axes is read as one row for each index of the first.
    pub flatten: bool,
    /// The option that gives [`Input::labels`], for messages.
    pub labels_option: &'static str,
}

impl<'a> Input<'a> {
    /// A file that says itself what it holds.
    pub fn new(path: &'a Path) -> Self {
        Self { path, labels: None, label_column: None, flatten: false, labels_option: "--labels" }
    }
}

/// An open file with features.
pub(crate) struct Opened {
    pub(crate) content: Content,
    /// As the file was named.
    pub(crate) origin: String,
}

pub(crate) enum Content {
    /// One of ours: the features that were named, if any were, and labels from elsewhere, if any were given.
    Own { file: Box<FeatureFile>, only: Option<FeatureKey>, labels: Option<RawLabels> },
    /// Another's.
    Foreign(Foreign),
}

impl Opened {
    /// Opens a file by what it is. `with_labels` says whether labels are wanted.
    ///
    /// # Errors
    /// When it cannot be read, is a shard of ours, or it is not said what its numbers are.
    pub(crate) fn open(input: &Input, with_labels: bool) -> Result<Self> {
        let place = Place::parse(input.path);
        let origin = place.to_string();
        let format = foreign::format_of(&place.file)?;
        let is_own = format == Format::Hdf5
            && ForeignFile::open(&place.file).map_or(true, |file| file.is_feature_file());
        let content = match is_own {
            true => own(input, &place, with_labels)?,
            false => Content::Foreign(foreign::open(input, &place, format, with_labels)?),
        };
        Ok(Self { content, origin })
    }

    /// What the reader should know of how the file was read.
    pub(crate) fn notes(&self) -> Vec<String> {
        match &self.content {
            Content::Own { file, .. } => agreement::added(file).into_iter().collect(),
            Content::Foreign(foreign) => foreign.notes.clone(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        match &self.content {
            Content::Own { file, .. } => file.len(),
            Content::Foreign(foreign) => foreign.rows(),
        }
    }

    /// How features are stored.
    pub(crate) fn stored_as(&self) -> String {
        match &self.content {
            Content::Own { file, .. } => file.dtype().to_string(),
            Content::Foreign(foreign) => foreign.stored_as().to_string(),
        }
    }
}

/// One of our files, with what was named in it.
fn own(input: &Input, place: &Place, with_labels: bool) -> Result<Content> {
    let file = FeatureFile::open(&place.file)?;
    agreement::check_whole(&file)?;
    let wrong = |reason: String| ProbeError::File { path: place.file.clone(), reason };
    if input.label_column.is_some() && input.labels.is_none() {
        return Err(ProbeError::Usage(format!(
            "--label-column names a column of a table, and {} is a feature file of ddae-infer, which has its labels",
            place.file.display()
        )));
    }
    if let Some(name) = &place.labels {
        return Err(wrong(format!(
            "it is a feature file of ddae-infer, which has its labels: leave ',{name}' out"
        )));
    }
    let only = match &place.features {
        None => None,
        Some(name) => {
            let key = name.trim_start_matches('/').trim_start_matches("features/");
            let key = file.keys().iter().find(|known| known.to_string() == key).cloned();
            let known = || super::feature_set::join(file.keys(), ", ");
            Some(key.ok_or_else(|| wrong(format!("there is no feature {name}; it has {}", known())))?)
        }
    };
    let labels = match input.labels.filter(|_| with_labels) {
        None => None,
        Some(path) => {
            let labels = foreign::read_labels(path, input.label_column)?;
            if labels.len() != file.len() {
                return Err(wrong(format!(
                    "it has {} rows of features, and there are {} labels of {}: one for each row is wanted",
                    file.len(),
                    labels.len(),
                    path.display()
                )));
            }
            Some(labels)
        }
    };
    Ok(Content::Own { file: Box::new(file), only, labels })
}

/// The features that two files have in common.
///
/// # Errors
/// When they have none, or a table of another's stands beside one of ours with several features.
pub(crate) fn common_features(first: &Opened, second: &Opened) -> Result<Vec<FeatureSet>> {
    match (&first.content, &second.content) {
        (Content::Own { file: a, only: only_a, .. }, Content::Own { file: b, only: only_b, .. }) => {
            let common = agreement::common_features(a, b)?;
            let wanted = |features: &FeatureSet| {
                [only_a, only_b]
                    .into_iter()
                    .flatten()
                    .all(|key| *features == FeatureSet::Taps(vec![key.clone()]))
            };
            let left: Vec<FeatureSet> = common.into_iter().filter(wanted).collect();
            match left.is_empty() {
                true => Err(ProbeError::Usage(format!(
                    "{} and {} name different features: name the same in both",
                    first.origin, second.origin
                ))),
                false => Ok(left),
            }
        }
        (Content::Own { file, only, .. }, Content::Foreign(_))
        | (Content::Foreign(_), Content::Own { file, only, .. }) => match (only, file.keys()) {
            (Some(key), _) | (None, [key]) => Ok(vec![FeatureSet::Taps(vec![key.clone()])]),
            (None, keys) => Err(ProbeError::File {
                path: file.path().to_path_buf(),
                reason: format!(
                    "it has {} features, and the other file one table: name the one that it is to be compared with, as \
                     in {}:{}",
                    keys.len(),
                    file.path().display(),
                    keys[0]
                ),
            }),
        },
        (Content::Foreign(first), Content::Foreign(second)) => {
            Ok(vec![foreign::feature_name(first, Some(second))])
        }
    }
}
