//! Names of features.

use std::fmt;

use ddae_store::FeatureKey;

use crate::error::{ProbeError, Result};

/// What a probe sees of a sample.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum FeatureSet {
    /// One tap at a timestep, or several one after the other; never empty.
    Taps(Vec<FeatureKey>),
    /// The pixels of an image.
    Pixels,
    /// The features of a file that others wrote, under the name that it has for them.
    Matrix(String),
}

impl FeatureSet {
    /// The parts, each with a single tap.
    pub fn parts(&self) -> Vec<FeatureSet> {
        match self {
            Self::Taps(keys) => keys.iter().map(|key| Self::Taps(vec![key.clone()])).collect(),
            Self::Pixels | Self::Matrix(_) => vec![self.clone()],
        }
    }

    /// Reads what is written behind `--features`: alternatives separated by commas, each a key or several joined by
    /// `+`.
    ///
    /// # Errors
    /// When a part is no feature key, or a key or an alternative stands there twice.
    pub fn parse_list(text: &str) -> Result<Vec<Self>> {
        let wrong = |reason: String| ProbeError::FeatureSyntax { text: text.to_string(), reason };
        let mut alternatives: Vec<Self> = Vec::new();
        for alternative in text.split(',') {
            let mut keys: Vec<FeatureKey> = Vec::new();
            for part in alternative.split('+') {
                let key: FeatureKey =
                    part.trim().parse().map_err(|_| wrong(format!("{part:?} is not a feature")))?;
                if keys.contains(&key) {
                    return Err(wrong(format!("{key} stands twice in {alternative}")));
                }
                keys.push(key);
            }
            let alternative = Self::Taps(keys);
            if alternatives.contains(&alternative) {
                return Err(wrong(format!("{alternative} stands there twice")));
            }
            alternatives.push(alternative);
        }
        Ok(alternatives)
    }
}

impl fmt::Display for FeatureSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Taps(keys) => f.write_str(&join(keys, "+")),
            Self::Pixels => f.write_str("pixels"),
            Self::Matrix(name) => f.write_str(&ddae_base::plain(name)),
        }
    }
}

/// Names in a row.
pub fn join<T: fmt::Display>(items: &[T], separator: &str) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(separator)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alternatives_and_joined_taps_are_read_and_written() {
        let list = FeatureSet::parse_list("t11/out_6, t11/out_6+t21/out_7").expect("two alternatives");
        assert_eq!(join(&list, " | "), "t11/out_6 | t11/out_6+t21/out_7");
        assert_eq!(list[1].parts().len(), 2);
    }

    #[test]
    fn what_is_no_feature_is_named() {
        for (text, reason) in [
            ("out_6", "\"out_6\" is not a feature"),
            ("t11/out_6,", "\"\" is not a feature"),
            ("t11/out_6+t11/out_6", "t11/out_6 stands twice in t11/out_6+t11/out_6"),
            ("t11/out_6,t11/out_6", "t11/out_6 stands there twice"),
        ] {
            let error = FeatureSet::parse_list(text).expect_err(text).to_string();
            assert!(error.contains(reason), "{error}");
            assert!(error.contains("write them as t11/out_6"), "{error}");
        }
    }
}
