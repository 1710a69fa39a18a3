//! Whether two feature files belong together.

use ddae_base::text::excerpt;
use ddae_store::{FeatureFile, Pairing, Provenance};

use super::feature_set::{FeatureSet, join};
use super::foreign::UNKNOWN_MAKING;
use crate::error::{ProbeError, Result};

/// Checks that two files were made in the same way, as far as files that are `pairing` to each other must be
/// ([`Provenance`] says in what). Returns what the reader should know before trusting numbers of both.
///
/// # Errors
/// [`ProbeError::Mismatch`] names both files and the first property that differs.
pub(crate) fn check(first: &FeatureFile, second: &FeatureFile, pairing: Pairing) -> Result<Vec<String>> {
    let (first_path, second_path) = (first.path().to_path_buf(), second.path().to_path_buf());
    if let Some(difference) = first.layout().difference(second.layout(), pairing) {
        return Err(ProbeError::Mismatch { first: first_path, second: second_path, difference });
    }
    let mut notes = Vec::new();
    let unsaid = first.provenance().unsaid(second.provenance()).join(", ");
    let (first_path, second_path) = (first_path.display(), second_path.display());
    if !unsaid.is_empty() {
        notes.push(format!(
            "{first_path} and {second_path} come from different versions of ddae-infer, and only one says its {unsaid}: \
             not compared"
        ));
    }
    if pairing == Pairing::TrainTest {
        let (first, second) = (first.provenance(), second.provenance());
        if first.shares_noise(second) {
            notes.push(format!(
                "{first_path} and {second_path} share their noise: an earlier version drew the same for images of the same \
                 number, so accuracies at late timesteps are too high; extract both again, or one with another --seed"
            ));
        }
    }
    if let (Some(a), Some(b)) = (data_set(first.provenance()), data_set(second.provenance()))
        && a != b
    {
        notes.push(format!("{first_path} is of the data set {a} and {second_path} of {b}"));
    }
    Ok(notes)
}

/// What should be known where `unknown` of two files, which are `pairing` to each other, say nothing of their making:
/// what is compared otherwise, and is not here.
pub(crate) fn unknown_making(unknown: &[&str], pairing: Pairing) -> Option<String> {
    let unknown = match unknown {
        [] => return None,
        [one] => one.to_string(),
        [one, other, ..] if one == other => one.to_string(),
        [one, other, ..] => format!("{one} and {other}"),
    };
    let not_compared = match pairing {
        Pairing::Job | Pairing::TrainTest => {
            "whether both come from the same model, and from different images"
        }
        Pairing::Noisings | Pairing::Seeds => {
            "whether both come from the same model, and from the same images in the same order"
        }
    };
    Some(format!("{unknown}: {UNKNOWN_MAKING}; {not_compared}, is not compared"))
}

/// What is said of datasets that others added to a feature file.
pub(crate) fn added(file: &FeatureFile) -> Option<String> {
    const LISTED: usize = 8;
    let added = file.added();
    let shown: Vec<String> = added.iter().take(LISTED).map(|name| excerpt(name, 60)).collect();
    let more = if added.len() > LISTED { ", …" } else { "" };
    let path = file.path().display();
    (!added.is_empty()).then(|| {
        format!("{path} also holds {}{more}, which ddae-infer did not write: not read", shown.join(", "))
    })
}

/// The data set without its split.
fn data_set(provenance: &Provenance) -> Option<&str> {
    let name = provenance.data_set.as_deref()?;
    Some(name.rsplit_once('/').map_or(name, |(set, _)| set))
}

/// Checks that a file holds all rows of its job.
///
/// # Errors
/// When it is one shard of several.
pub(crate) fn check_whole(file: &FeatureFile) -> Result<()> {
    let total = file.layout().total;
    if file.len() == total {
        return Ok(());
    }
    let rows = file.rows();
    Err(ProbeError::Shard { path: file.path().to_path_buf(), first: rows.start, last: rows.end - 1, total })
}

/// The features that both files have, in the order of the first.
///
/// # Errors
/// When there are none.
pub(crate) fn common_features(train: &FeatureFile, test: &FeatureFile) -> Result<Vec<FeatureSet>> {
    let common: Vec<FeatureSet> = train
        .keys()
        .iter()
        .filter(|key| test.keys().contains(key))
        .map(|key| FeatureSet::Taps(vec![key.clone()]))
        .collect();
    if common.is_empty() {
        return Err(ProbeError::NoCommonFeature {
            train: train.path().to_path_buf(),
            test: test.path().to_path_buf(),
            train_keys: join(train.keys(), ", "),
            test_keys: join(test.keys(), ", "),
        });
    }
    Ok(common)
}
