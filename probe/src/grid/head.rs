//! What a grid trains on each pair.

use crate::experiment::Probe;
use crate::knn::KnnProbe;
use crate::logistic::LogisticProbe;
use crate::source::table::Views;
use crate::trained::TrainedProbe;

/// A probe that a grid can search with.
pub trait Head: Probe + Clone {
    /// The same with another seed.
    fn seeded(&self, seed: u64) -> Self;

    /// The same for the `learned` rows of a round where a full search learns from `of`: what depends on their number is in
    /// proportion, so that rounds order pairs as the full search would.
    fn for_rows(&self, learned: usize, of: usize) -> Self;

    /// How often it passes over what it learns from, as costs count it: once where there are no epochs.
    fn passes(&self) -> usize;

    /// Rows in a step, where there are steps.
    fn batch(&self) -> Option<usize> {
        None
    }

    /// What becomes of the views of a training image.
    fn views(&self) -> Views;
}

/// The fewest rows in a step of a round: fewer take longer and teach no more.
const SMALLEST_BATCH: usize = 4;

impl Head for TrainedProbe {
    fn seeded(&self, seed: u64) -> Self {
        self.with_seed(seed)
    }

    /// As many steps as in a full search, of fewer rows each: with the full batches they would end long before they have
    /// learned what the full search learns. Where batches would be smaller than the smallest, there are more epochs.
    fn for_rows(&self, learned: usize, of: usize) -> Self {
        let batch = self.options.batch;
        let mut smaller = *self;
        smaller.options.batch = (batch * learned / of.max(1)).clamp(SMALLEST_BATCH.min(batch), batch);
        let steps = |rows: usize, batch: usize| rows.div_ceil(batch.max(1)).max(1) as f64;
        let epochs = self.options.epochs as f64 * steps(of, batch) / steps(learned, smaller.options.batch);
        smaller.options.epochs = self.options.epochs.max(epochs.round() as usize);
        smaller
    }

    fn batch(&self) -> Option<usize> {
        Some(self.options.batch)
    }

    fn passes(&self) -> usize {
        self.options.epochs
    }

    fn views(&self) -> Views {
        Views::Drawn
    }
}

impl Head for LogisticProbe {
    fn seeded(&self, _seed: u64) -> Self {
        *self
    }

    fn for_rows(&self, _learned: usize, _of: usize) -> Self {
        *self
    }

    fn passes(&self) -> usize {
        1
    }

    fn views(&self) -> Views {
        Views::Average
    }
}

impl Head for KnnProbe {
    fn seeded(&self, _seed: u64) -> Self {
        self.clone()
    }

    /// As many neighbours: those of a part are farther, and fewer would be a noisier vote.
    fn for_rows(&self, _learned: usize, _of: usize) -> Self {
        self.clone()
    }

    fn passes(&self) -> usize {
        1
    }

    fn views(&self) -> Views {
        Views::Average
    }
}

#[cfg(test)]
mod tests {
    use ddae_classify::linear::Preset;

    use super::*;
    use crate::trained::Layers;

    #[test]
    fn a_round_takes_as_many_steps_as_a_full_search() {
        let probe =
            TrainedProbe { preset: Preset::Ddae, options: Preset::Ddae.options(), layers: Layers::One };
        let steps = |probe: TrainedProbe, rows: usize| probe.passes() * rows.div_ceil(probe.options.batch);
        let full = steps(probe, 40_000);
        for learned in [1250, 2500, 5000, 10_000] {
            let round = probe.for_rows(learned, 40_000);
            assert_eq!(steps(round, learned), full, "{learned} rows in batches of {}", round.options.batch);
            assert_eq!(round.passes(), probe.passes());
        }
        // The halves of the first rounds for 50,000 images.
        for learned in [156, 312, 625] {
            let round = probe.for_rows(learned, 40_000);
            let steps = steps(round, learned);
            assert!(steps.abs_diff(full) <= full / 100, "{steps} of {full} steps on {learned} rows");
            assert_eq!(round.batch(), Some(4));
        }
        assert_eq!(probe.for_rows(100, 40_000).options.batch, 4);
        let larger = probe.for_rows(50_000, 40_000);
        assert_eq!((larger.options.batch, larger.passes()), (128, probe.passes()));
    }
}
