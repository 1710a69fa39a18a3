//! numpy's `RandomState`, as far as torch-fidelity and clean-fid choose with it.

use rand_mt::Mt;

/// numpy's legacy generator (MT19937): the same seed gives the same choices as there.
pub struct RandomState(Mt);

impl RandomState {
    /// `numpy.random.RandomState(seed)`.
    pub fn new(seed: u32) -> RandomState {
        RandomState(Mt::new(seed))
    }

    /// `permutation(count)`: 0 to `count` - 1 in random order, by Fisher and Yates from the end.
    ///
    /// # Panics
    /// When there are more than 2³² of them, which numpy draws otherwise.
    pub fn permutation(&mut self, count: usize) -> Vec<usize> {
        assert!(u32::try_from(count.saturating_sub(1)).is_ok(), "{count} to choose from");
        let mut order: Vec<usize> = (0..count).collect();
        for last in (1..count).rev() {
            let other = self.at_most(last as u32) as usize;
            order.swap(last, other);
        }
        order
    }

    /// `choice(count, size, replace=False)`.
    ///
    /// # Panics
    /// As [`RandomState::permutation`].
    pub fn choice(&mut self, count: usize, size: usize) -> Vec<usize> {
        let mut chosen = self.permutation(count);
        chosen.truncate(size);
        chosen.shrink_to_fit();
        chosen
    }

    /// A number up to `most`, by masking bits and drawing again.
    fn at_most(&mut self, most: u32) -> u32 {
        let mask = u32::MAX.checked_shr(most.leading_zeros()).unwrap_or(0);
        loop {
            let value = self.0.next_u32() & mask;
            if value <= most {
                return value;
            }
        }
    }
}
