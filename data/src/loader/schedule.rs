//! Which images each batch of an epoch holds.

use super::order;
use crate::datasets::DataError;
use crate::split::Split;

/// The batches of one epoch, by number.
#[derive(Debug)]
pub(super) struct Schedule {
    /// Images of the split.
    count: usize,
    batch: usize,
    batches: usize,
    /// None for the order of the split.
    order: Option<Vec<u32>>,
}

impl Schedule {
    /// Batches of `batch` images; with `shuffle` = (seed, epoch) in an order of their own.
    ///
    /// # Errors
    /// When a batch would be empty.
    pub fn new(
        split: &Split,
        batch: usize,
        drop_last: bool,
        shuffle: Option<(u64, u64)>,
    ) -> Result<Schedule, DataError> {
        if batch == 0 {
            return Err(DataError::Argument("a batch of 0 images: give at least 1".into()));
        }
        let count = split.len();
        let batches = if drop_last { count / batch } else { count.div_ceil(batch) };
        let order = shuffle.map(|(seed, epoch)| order(seed, epoch, count));
        Ok(Schedule { count, batch, batches, order })
    }

    /// Number of batches in the epoch.
    pub fn batches(&self) -> usize {
        self.batches
    }

    /// Checks that an epoch can go on at batch `start`.
    ///
    /// # Errors
    /// When it lies beyond the end.
    pub fn check_start(&self, start: usize, split: &Split) -> Result<(), DataError> {
        if start > self.batches {
            return Err(DataError::Argument(format!(
                "cannot start at batch {start}: {} has {} batches of {}",
                split.name(),
                self.batches,
                self.batch
            )));
        }
        Ok(())
    }

    /// Positions in the split of the images of batch `number`.
    pub fn positions(&self, number: usize) -> impl ExactSizeIterator<Item = usize> {
        let first = number * self.batch;
        let last = (first + self.batch).min(self.count);
        (first..last).map(|i| self.order.as_ref().map_or(i, |order| order[i] as usize))
    }
}
