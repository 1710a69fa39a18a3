//! A row that was found.

use std::cmp::Ordering;

/// A row of the base and its distance from the query.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Neighbour {
    /// The distance, at least 0: Euclidean, or one minus the cosine.
    pub distance: f64,
    /// The row's position in the base.
    pub row: usize,
}

impl Eq for Neighbour {}

impl Ord for Neighbour {
    /// By distance, then by position.
    fn cmp(&self, other: &Self) -> Ordering {
        self.distance.total_cmp(&other.distance).then(self.row.cmp(&other.row))
    }
}

impl PartialOrd for Neighbour {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
