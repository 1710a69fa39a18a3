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
use crate::ranking::Ranks;
use crate::rows::Rows;
use search::Search;
use vote::weights;

pub use nearest::Neighbour;

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
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Votes {
    /// One each.
    Uniform,
    /// One over its distance; neighbours at distance zero, where there are any, decide alone.
    Distance,
    /// exp(s / T) with the cosine s of the angle to the query and the temperature T, above 0: the votes of DINO's and
    /// solo-learn's k-NN, which have T = 0.07. With [`Metric::Euclidean`] rows must have length 1, where s is 1 - d² / 2.
    Temperature(f64),
}

impl Votes {
    /// The name on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Distance => "distance",
            Self::Temperature(_) => "temperature",
        }
    }
}

/// How to classify.
#[derive(Clone, Copy, Debug, PartialEq)]
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
    let base = Labelled { rows: base, classes: base_classes, class_count };
    let KnnOptions { k, metric, votes } = *options;
    let ranks = rank(queries, &base, &[k], metric, votes, 1, progress)?;
    Ok(ranks.iter().flat_map(Ranks::best).collect())
}

/// Rows to search, with their classes.
#[derive(Clone, Copy)]
pub struct Labelled<'a> {
    /// The rows.
    pub rows: &'a dyn Rows,
    /// The class of each, an index below `class_count`.
    pub classes: &'a [usize],
    /// Number of classes.
    pub class_count: usize,
}

/// The `most` classes with the most votes of every row of `queries`, for each number of neighbours in `ks`, which are
/// searched for once: as many as the largest. Classes without a vote are left out. Otherwise as [`classify`].
///
/// # Errors
/// As [`classify`].
///
/// # Panics
/// As [`classify`], and when `ks` is empty.
pub fn rank(
    queries: &dyn Rows,
    base: &Labelled,
    ks: &[usize],
    metric: Metric,
    votes: Votes,
    most: usize,
    progress: &mut dyn FnMut(u64),
) -> Result<Vec<Ranks>> {
    assert_eq!(base.rows.len(), base.classes.len(), "one class per row");
    let k = ks.iter().copied().max().expect("a number of neighbours");
    if k > base.rows.len() {
        return Err(ClassifyError::TooManyNeighbours { k, base: base.rows.len() });
    }
    let mut of_ks = vec![Ranks::new(most); ks.len()];
    let search = Search { base: base.rows, k, metric };
    for block in search::query_blocks(queries, k) {
        for neighbours in search.nearest(queries.read(block)?, progress)? {
            for (&k, ranks) in ks.iter().zip(&mut of_ks) {
                let weights = weights(&neighbours[..k], base, metric, votes);
                ranks.push(weights.into_iter(), 0.0);
            }
        }
    }
    Ok(of_ks)
}
