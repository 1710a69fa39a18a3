//! Which images each batch of an epoch holds.

use super::{LoaderOptions, Parts, order};
use crate::datasets::DataError;
use crate::split::Split;

/// The batches of one epoch, by number.
#[derive(Debug)]
pub(super) struct Schedule {
    /// Images of the split.
    count: usize,
    batch: usize,
    batches: usize,
    parts: Parts,
    /// None for the order of the split.
    order: Option<Vec<u32>>,
}

impl Schedule {
    /// The batches that the options ask for.
    ///
    /// # Errors
    /// When a batch would be empty, or the epoch would go on beyond its last batch.
    pub fn new(split: &Split, options: &LoaderOptions) -> Result<Schedule, DataError> {
        let LoaderOptions { batch, start_batch, parts, .. } = *options;
        if parts.first >= parts.count || parts.stride == 0 {
            let message = format!("part {} of batches in {} parts, counted from 0", parts.first, parts.count);
            return Err(DataError::Argument(message));
        }
        if batch == 0 {
            return Err(DataError::Argument("a batch of 0 images: give at least 1".into()));
        }
        let count = split.len();
        let batches = if options.drop_last { count / batch } else { count.div_ceil(batch) };
        if start_batch > batches {
            return Err(DataError::Argument(format!(
                "cannot start at batch {start_batch}: {} has {batches} batches of {batch}",
                split.name(),
            )));
        }
        let order = options.shuffle.then(|| order(options.seed, options.epoch, count));
        Ok(Schedule { count, batch, batches, parts, order })
    }

    /// Number of batches in the epoch.
    pub fn batches(&self) -> usize {
        self.batches
    }

    /// Positions in the split of the images of the given part `number`, counted over all batches. A part without images has the
    /// first of its batch.
    pub fn positions(&self, number: usize) -> impl ExactSizeIterator<Item = usize> {
        let (batch, turn) = (number / self.parts.given(), number % self.parts.given());
        let first = batch * self.batch;
        let total = self.batch.min(self.count - first);
        let mut places = self.parts.places(turn, total);
        if places.is_empty() {
            places = 0..1;
        }
        let places = first + places.start..first + places.end;
        places.map(|i| self.order.as_ref().map_or(i, |order| order[i] as usize))
    }
}
