//! Labels and classes.

use crate::error::{ClassifyError, Result};

/// The classes of a training set: its distinct labels, ascending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Classes(Vec<i64>);

impl Classes {
    /// The distinct values of `labels`.
    ///
    /// # Errors
    /// When there are fewer than two.
    pub fn of(labels: &[i64]) -> Result<Self> {
        let mut distinct = labels.to_vec();
        distinct.sort_unstable();
        distinct.dedup();
        match distinct[..] {
            [] => Err(ClassifyError::NoSamples),
            [label] => Err(ClassifyError::OneClass { samples: labels.len(), label }),
            _ => Ok(Self(distinct)),
        }
    }

    /// Number of classes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Never true: there are at least two classes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The labels, ascending.
    pub fn labels(&self) -> &[i64] {
        &self.0
    }

    /// The position of every label among the classes.
    ///
    /// # Errors
    /// When a label is not among them; `origin` (a file or data set) is named.
    pub fn indices(&self, labels: &[i64], origin: &str) -> Result<Vec<usize>> {
        labels
            .iter()
            .enumerate()
            .map(|(row, label)| {
                self.0.binary_search(label).map_err(|_| ClassifyError::UnknownLabel {
                    origin: origin.to_string(),
                    row,
                    label: *label,
                    known: self.describe(),
                })
            })
            .collect()
    }

    fn describe(&self) -> String {
        let (first, last) = (self.0[0], self.0[self.0.len() - 1]);
        // Far apart, their distance is beyond what one of them can be.
        if i128::from(last) - i128::from(first) + 1 == self.0.len() as i128 {
            format!("{first} to {last}")
        } else {
            format!("{} values from {first} to {last}", self.0.len())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_labels_are_refused_with_those_that_are_known() {
        for (known, wanted) in [
            (vec![1, 2, 3], "1 to 3"),
            (vec![1, 3], "2 values from 1 to 3"),
            (vec![i64::MIN, 0, i64::MAX], "3 values from -9223372036854775808 to 9223372036854775807"),
        ] {
            let error = Classes::of(&known).expect("classes").indices(&[7], "a.h5").expect_err("unknown");
            let ClassifyError::UnknownLabel { known, label, .. } = error else { panic!("{error}") };
            assert_eq!((known.as_str(), label), (wanted, 7));
        }
    }
}
