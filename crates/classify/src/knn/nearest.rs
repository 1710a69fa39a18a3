//! The k nearest of the rows seen so far.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

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

/// The k nearest rows, the farthest on top.
pub(super) struct Nearest {
    heap: BinaryHeap<Neighbour>,
    k: usize,
}

impl Nearest {
    pub(super) fn new(k: usize) -> Self {
        Self { heap: BinaryHeap::with_capacity(k + 1), k }
    }

    /// The distance beyond which no row belongs to the k nearest.
    pub(super) fn reach(&self) -> f64 {
        match self.heap.peek() {
            Some(farthest) if self.heap.len() == self.k => farthest.distance,
            _ => f64::INFINITY,
        }
    }

    pub(super) fn offer(&mut self, neighbour: Neighbour) {
        if self.heap.len() < self.k {
            self.heap.push(neighbour);
        } else if let Some(mut farthest) = self.heap.peek_mut()
            && neighbour < *farthest
        {
            *farthest = neighbour;
        }
    }

    /// The neighbours, nearest first.
    pub(super) fn into_sorted(self) -> Vec<Neighbour> {
        self.heap.into_sorted_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_distances_go_to_the_earlier_rows_in_whatever_order_they_come() {
        let mut nearest = Nearest::new(2);
        for row in [5, 1, 9, 0, 3] {
            nearest.offer(Neighbour { distance: 1.0, row });
        }
        let rows: Vec<usize> = nearest.into_sorted().iter().map(|n| n.row).collect();
        assert_eq!(rows, [0, 1]);
    }

    #[test]
    fn reach_is_unbounded_until_there_are_k() {
        let mut nearest = Nearest::new(2);
        nearest.offer(Neighbour { distance: 3.0, row: 0 });
        assert_eq!(nearest.reach(), f64::INFINITY);
        nearest.offer(Neighbour { distance: 1.0, row: 1 });
        assert_eq!(nearest.reach(), 3.0);
    }
}
