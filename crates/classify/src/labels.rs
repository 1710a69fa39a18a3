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
        if last - first + 1 == self.0.len() as i64 {
            format!("{first} to {last}")
        } else {
            format!("{} values from {first} to {last}", self.0.len())
        }
    }
}
