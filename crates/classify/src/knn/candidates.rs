//! Rows that can be among the nearest of one query.

use super::nearest::Neighbour;

/// Candidates in this many times k are too many to be kept: they are measured.
const MANY: usize = 8;

/// A row of a block, and between which bounds its nearness lies: minus the distance, up to what is the query's own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) low: f32,
    pub(super) high: f32,
    pub(super) row: u32,
}

/// What is known of one query's neighbours.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    /// At least k rows are as near as this or nearer.
    pub(super) threshold: f64,
    list: Vec<Candidate>,
    limit: usize,
}

impl Candidates {
    /// Starts on a block with the threshold known so far.
    pub(super) fn begin(&mut self, k: usize, threshold: f64) {
        self.list.clear();
        self.threshold = threshold;
        self.limit = 2 * k + 64;
    }

    /// Takes a row; true when there are so many that they have to be measured.
    pub(super) fn push(&mut self, candidate: Candidate, k: usize, lows: &mut Vec<f32>) -> bool {
        self.list.push(candidate);
        if self.list.len() < self.limit {
            return false;
        }
        self.prune(k, lows);
        self.limit = 2 * self.list.len().max(k) + 64;
        self.limit > MANY * (2 * k + 64)
    }

    /// Leaves out what cannot be among the k nearest. `lows` is room.
    fn prune(&mut self, k: usize, lows: &mut Vec<f32>) {
        if self.list.len() >= k {
            lows.clear();
            lows.extend(self.list.iter().map(|candidate| candidate.low));
            let (_, kth, _) = lows.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a));
            self.threshold = self.threshold.max(f64::from(*kth));
        }
        let threshold = self.threshold;
        self.list.retain(|candidate| f64::from(candidate.high) >= threshold);
    }

    /// Takes the rows that are left out, to be measured.
    pub(super) fn take(&mut self, k: usize, lows: &mut Vec<f32>) -> impl Iterator<Item = u32> {
        self.prune(k, lows);
        self.limit = 2 * k + 64;
        self.list.drain(..).map(|candidate| candidate.row)
    }
}

/// Keeps the k nearest of what was measured, in no order.
pub(super) fn keep_nearest(k: usize, nearest: &mut Vec<Neighbour>) {
    if nearest.len() > k {
        nearest.select_nth_unstable(k - 1);
        nearest.truncate(k);
    }
}
