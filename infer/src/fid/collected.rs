//! What many runs of a graph give, put together in the order of the images.

use std::collections::BTreeMap;

use ddae_base::memory;
use ndarray::Array2;

use super::network::Network;
use super::statistics::{Accumulator, Statistics};
use crate::error::InferError;

/// What is wanted of images besides their mean and covariance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The features of each.
    pub features: bool,
    /// Inception's logits of each.
    pub logits: bool,
}

/// What is known of a set of images.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Mean and covariance of the features.
    pub statistics: Statistics,
    /// The features, `[N, D]`, where they were wanted.
    pub features: Option<Array2<f32>>,
    /// The logits, `[N, K]`, where they were wanted.
    pub logits: Option<Array2<f32>>,
    /// Of how many tokens the features are the first, where the network gave several of an image.
    pub tokens: Option<usize>,
}

/// What one run gives.
pub(super) struct Found {
    pub features: Array2<f32>,
    /// Of how many tokens the features are the first.
    pub tokens: Option<usize>,
    pub logits: Option<Array2<f32>>,
}

/// What all runs gave so far.
pub(super) struct Collected {
    count: usize,
    wanted: Wanted,
    moments: Option<Accumulator>,
    tokens: Option<usize>,
    features: Rows,
    logits: Rows,
}

/// Rows one after the other.
#[derive(Default)]
pub(super) struct Rows {
    width: usize,
    values: Vec<f32>,
}

impl Rows {
    /// Adds some of `count` in all.
    ///
    /// # Errors
    /// At the first, when there is not the memory for all.
    pub fn add(&mut self, rows: &Array2<f32>, count: usize) -> Result<(), InferError> {
        if self.values.is_empty() {
            self.width = rows.ncols();
            let needed = 4 * (count as u64).saturating_mul(self.width as u64);
            let what = format!("{} features of each of {count} images", self.width);
            memory::check(what, needed, "measure fewer images with --limit, or the Fréchet distance alone")?;
            self.values.reserve_exact(count * self.width);
        }
        self.values.extend(rows);
        Ok(())
    }

    /// All of them; none where there were none.
    pub fn finish(self) -> Option<Array2<f32>> {
        let count = self.values.len().checked_div(self.width)?;
        Array2::from_shape_vec((count, self.width), self.values).ok()
    }
}

impl Collected {
    /// For `count` images.
    pub fn new(count: usize, wanted: Wanted) -> Collected {
        let (features, logits) = (Rows::default(), Rows::default());
        Collected { count, wanted, moments: None, tokens: None, features, logits }
    }

    /// Adds the next ones.
    ///
    /// # Errors
    /// When a feature is no number, or there is not the memory.
    pub fn add(&mut self, found: Found) -> Result<(), InferError> {
        self.tokens = found.tokens;
        let moments = self.moments.get_or_insert_with(|| Accumulator::new(found.features.ncols()));
        moments.add(found.features.view())?;
        if self.wanted.features {
            self.features.add(&found.features, self.count)?;
        }
        if let Some(logits) = &found.logits {
            self.logits.add(logits, self.count)?;
        }
        Ok(())
    }

    /// What is known of all.
    ///
    /// # Errors
    /// When there are fewer than two.
    pub fn finish(self, network: &Network) -> Result<Seen, InferError> {
        let statistics = self.moments.unwrap_or_else(|| Accumulator::new(0)).finish()?;
        let statistics = Statistics { network: Some(network.to_string()), ..statistics };
        let (features, logits) = (self.features.finish(), self.logits.finish());
        Ok(Seen { statistics, features, logits, tokens: self.tokens })
    }
}

/// Hands on in order what comes in any.
pub(super) struct InOrder<T> {
    next: usize,
    waiting: BTreeMap<usize, T>,
}

impl<T> Default for InOrder<T> {
    fn default() -> InOrder<T> {
        InOrder { next: 0, waiting: BTreeMap::new() }
    }
}

impl<T> InOrder<T> {
    /// Takes number `index` and gives to `consume` all that are next.
    ///
    /// # Errors
    /// Those of `consume`.
    pub fn put(
        &mut self,
        index: usize,
        found: T,
        mut consume: impl FnMut(T) -> Result<(), InferError>,
    ) -> Result<(), InferError> {
        self.waiting.insert(index, found);
        while let Some(found) = self.waiting.remove(&self.next) {
            consume(found)?;
            self.next += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_early_waits() {
        let mut in_order = InOrder::default();
        let mut seen = Vec::new();
        for (index, after) in [(2, 0), (1, 0), (0, 3), (4, 3), (3, 5)] {
            let taken = in_order.put(index, index, |found| {
                seen.push(found);
                Ok(())
            });
            taken.expect("consumed");
            assert_eq!(seen.len(), after);
        }
        assert_eq!(seen, [0, 1, 2, 3, 4]);
    }
}
