//! The pages that were decoded last, shared by all threads.
//!
//! Threads that read batches in order want the same page at the same time: it is decoded by the first and waited for by the
//! others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use parquet::data_type::ByteArray;

use crate::datasets::DataError;

/// The images of a page; none for rows without.
pub(super) type Images = Vec<Option<ByteArray>>;

/// A page that is there, or being decoded by who holds it.
type Slot = Arc<Mutex<Option<Arc<Images>>>>;

struct Entry {
    slot: Slot,
    weight: u64,
    used: u64,
}

#[derive(Default)]
struct State {
    pages: HashMap<usize, Entry>,
    weight: u64,
    clock: u64,
}

/// Decoded pages of at most `budget` bytes, or the one that was wanted last.
pub(super) struct Cache {
    budget: u64,
    state: Mutex<State>,
}

impl Cache {
    pub fn new(budget: u64) -> Cache {
        Cache { budget, state: Mutex::default() }
    }

    /// Page `number`, which has `weight` bytes, decoded by `decode` unless it is there.
    pub fn page(
        &self,
        number: usize,
        weight: u64,
        decode: impl FnOnce() -> Result<Images, DataError>,
    ) -> Result<Arc<Images>, DataError> {
        let slot = self.slot(number, weight);
        let mut held = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(images) = &*held {
            return Ok(Arc::clone(images));
        }
        let images = Arc::new(decode()?);
        *held = Some(Arc::clone(&images));
        Ok(images)
    }

    fn slot(&self, number: usize, weight: u64) -> Slot {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.clock += 1;
        let clock = state.clock;
        if let Some(entry) = state.pages.get_mut(&number) {
            entry.used = clock;
            return Arc::clone(&entry.slot);
        }
        while state.weight + weight > self.budget {
            let oldest = state.pages.iter().min_by_key(|(_, entry)| entry.used).map(|(&number, _)| number);
            let Some(entry) = oldest.and_then(|oldest| state.pages.remove(&oldest)) else { break };
            state.weight -= entry.weight;
        }
        state.weight += weight;
        let slot = Slot::default();
        state.pages.insert(number, Entry { slot: Arc::clone(&slot), weight, used: clock });
        slot
    }

    /// Bytes of the pages that are kept.
    #[cfg(test)]
    fn weight(&self) -> u64 {
        self.state.lock().expect("no thread panicked").weight
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn images(byte: u8) -> Result<Images, DataError> {
        Ok(vec![Some(ByteArray::from(vec![byte]))])
    }

    #[test]
    fn the_pages_used_last_are_kept_within_the_budget() {
        let cache = Cache::new(10);
        let decoded = AtomicUsize::new(0);
        let want = |number: usize, weight| {
            let decode = || {
                decoded.fetch_add(1, Ordering::SeqCst);
                images(number as u8)
            };
            let page = cache.page(number, weight, decode).expect("a page");
            assert_eq!(page[0].as_ref().map(|image| image.data()), Some(&[number as u8][..]));
            (decoded.load(Ordering::SeqCst), cache.weight())
        };
        assert_eq!(want(0, 4), (1, 4));
        assert_eq!(want(1, 4), (2, 8));
        assert_eq!(want(0, 4), (2, 8));
        // Page 1 was used longer ago.
        assert_eq!(want(2, 4), (3, 8));
        assert_eq!(want(0, 4), (3, 8));
        assert_eq!(want(1, 4), (4, 8));
        // One that is larger than the budget is alone.
        assert_eq!(want(3, 50), (5, 50));
        assert_eq!(want(0, 4), (6, 4));
    }

    #[test]
    fn a_page_that_many_want_is_decoded_once_and_errors_are_not_kept() {
        let cache = Cache::new(10);
        let decoded = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    cache.page(7, 1, || {
                        decoded.fetch_add(1, Ordering::SeqCst);
                        std::thread::sleep(std::time::Duration::from_millis(20));
                        images(7)
                    })
                });
            }
        });
        assert_eq!(decoded.load(Ordering::SeqCst), 1);
        assert!(cache.page(8, 1, || Err(DataError::Interrupted)).is_err());
        assert!(cache.page(8, 1, || images(8)).is_ok());
    }
}
