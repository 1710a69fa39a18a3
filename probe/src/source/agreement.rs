//! Whether two feature files belong together.

use ddae_store::FeatureFile;
use serde_json::Value;

use super::feature_set::{FeatureSet, join};
use crate::error::{ProbeError, Result};

/// Attributes that must be the same in both files: the model and how its features were taken. Split, seed, views and
/// augmentation may differ.
const SHARED: [&str; 6] = ["model", "weights", "epoch", "config", "classes", "pooling"];

/// Longest part of an attribute's value in a message.
const SHOWN: usize = 60;

/// Checks that the attributes that describe the model are the same.
///
/// # Errors
/// [`ProbeError::Mismatch`] names both files and the first attribute that differs.
pub fn check(train: &FeatureFile, test: &FeatureFile) -> Result<()> {
    for attribute in SHARED {
        let (train_value, test_value) = (train.attributes().get(attribute), test.attributes().get(attribute));
        if train_value != test_value {
            let (train_value, test_value) = show_difference(train_value, test_value);
            return Err(ProbeError::Mismatch {
                train: train.path().to_path_buf(),
                test: test.path().to_path_buf(),
                attribute: attribute.to_string(),
                train_value,
                test_value,
            });
        }
    }
    Ok(())
}

/// Checks that a file holds all rows of its job.
///
/// # Errors
/// When it is one shard of several.
pub fn check_whole(file: &FeatureFile) -> Result<()> {
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
pub fn common_features(train: &FeatureFile, test: &FeatureFile) -> Result<Vec<FeatureSet>> {
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

/// Both values, from where they begin to differ if they are long.
fn show_difference(a: Option<&Value>, b: Option<&Value>) -> (String, String) {
    let text = |value: Option<&Value>| value.map_or_else(|| "absent".to_string(), Value::to_string);
    let (a, b) = (text(a), text(b));
    let same = a.chars().zip(b.chars()).take_while(|(x, y)| x == y).count();
    let shorten = |text: &str| {
        let length = text.chars().count();
        if length <= SHOWN {
            return text.to_string();
        }
        let begin = same.saturating_sub(SHOWN / 3).min(length - SHOWN);
        let part: String = text.chars().skip(begin).take(SHOWN).collect();
        let (before, after) =
            (if begin > 0 { "…" } else { "" }, if begin + SHOWN < length { "…" } else { "" });
        format!("{before}{part}{after}")
    };
    (shorten(&a), shorten(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_values_are_shown_where_they_differ() {
        let config = |lr: &str| Value::from(format!("{}lrate: {lr}{}", "x".repeat(300), "y".repeat(300)));
        let (a, b) = show_difference(Some(&config("1")), Some(&config("2")));
        assert!(a.contains("lrate: 1yyy") && b.contains("lrate: 2yyy"), "{a} {b}");
        assert_eq!(a.chars().count(), SHOWN + 2);
        assert_eq!(show_difference(None, Some(&Value::from(3))), ("absent".to_string(), "3".to_string()));
    }
}
