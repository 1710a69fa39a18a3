//! k-nearest-neighbours classification.
//!
//! The published protocol (SODA) is k = 20, Euclidean distance on L2-normalised features, uniform votes, ties to the
//! smaller label: scikit-learn's `KNeighborsClassifier` on normalised rows. The neighbours found are exact (see
//! [`search`]), and neighbours at the same distance are taken in the order of the training rows.

pub mod search;

mod candidates;
mod distance;
mod hits;
mod nearest;
mod prepared;
mod products;
mod vote;

use crate::error::{ClassifyError, Result};
use crate::rows::Rows;
use search::Search;

pub use nearest::Neighbour;
pub use vote::vote;

/// How far apart two rows are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// The length of the difference.
    Euclidean,
    /// One minus the cosine of the angle; 1 where a row is zero.
    Cosine,
}

impl Metric {
    /// The name on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Euclidean => "euclidean",
            Self::Cosine => "cosine",
        }
    }
}

/// What a neighbour's vote counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Votes {
    /// One each.
    Uniform,
    /// One over its distance; neighbours at distance zero, where there are any, decide alone.
    Distance,
}

impl Votes {
    /// The name on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Distance => "distance",
        }
    }
}

/// How to classify.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnnOptions {
    /// The number of neighbours, at least 1.
    pub k: usize,
    /// How far apart two rows are.
    pub metric: Metric,
    /// What a neighbour's vote counts.
    pub votes: Votes,
}

impl Default for KnnOptions {
    fn default() -> Self {
        Self { k: 20, metric: Metric::Euclidean, votes: Votes::Uniform }
    }
}

/// Classifies every row of `queries` by its neighbours in `base`, whose rows have the classes `base_classes` (indices
/// below `class_count`, in the order of the labels). `progress` is told how many distances were computed since the
/// last call.
///
/// Memory is bounded by one block of queries with their neighbours (at most 64 MiB), one of the base (at most 64 MiB), a
/// rounded copy of both, and the candidates of a task of 512 queries for each thread.
///
/// # Errors
/// When k is larger than the base, or rows cannot be read.
///
/// # Panics
/// When `base_classes` does not have one class per row, or the widths differ.
pub fn classify(
    queries: &dyn Rows,
    base: &dyn Rows,
    base_classes: &[usize],
    class_count: usize,
    options: &KnnOptions,
    progress: &mut dyn FnMut(u64),
) -> Result<Vec<usize>> {
    assert_eq!(base.len(), base_classes.len(), "one class per row");
    if options.k > base.len() {
        return Err(ClassifyError::TooManyNeighbours { k: options.k, base: base.len() });
    }
    let mut predictions = Vec::with_capacity(queries.len());
    let search = Search { base, k: options.k, metric: options.metric };
    for block in search::query_blocks(queries, options.k) {
        for neighbours in search.nearest(queries.read(block)?, progress)? {
            predictions.push(vote(&neighbours, base_classes, class_count, options.votes));
        }
    }
    Ok(predictions)
}
