//! The best classes of each row, in order.

/// Stands where a row has fewer classes than places.
const NONE: u32 = u32::MAX;

/// The classes of highest score of every row, highest first, the smaller class first where two are equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ranks {
    most: usize,
    /// `[rows, most]`.
    classes: Vec<u32>,
}

impl Ranks {
    /// Of no rows yet; of each at most `most` classes are kept, at least 1.
    pub fn new(most: usize) -> Self {
        Self { most: most.max(1), classes: Vec::new() }
    }

    /// Adds a row with its scores, one for each class. Scores that are not above `above` are left out: a class without a
    /// vote is no guess. So are scores that are no numbers.
    pub fn push(&mut self, scores: impl Iterator<Item = f64>, above: f64) {
        let first = self.classes.len();
        self.classes.resize(first + self.most, NONE);
        let row = &mut self.classes[first..];
        let mut best: Vec<f64> = Vec::with_capacity(self.most + 1);
        for (class, score) in scores.enumerate().filter(|(_, score)| *score > above) {
            let place = best.partition_point(|better| *better >= score);
            if place < self.most {
                best.insert(place, score);
                best.truncate(self.most);
                row[place..].rotate_right(1);
                row[place] = class as u32;
            }
        }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.classes.len() / self.most
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.classes.is_empty()
    }

    /// The classes of a row, the best first.
    pub fn of_row(&self, row: usize) -> impl Iterator<Item = usize> {
        let row = &self.classes[row * self.most..(row + 1) * self.most];
        row.iter().take_while(|class| **class != NONE).map(|&class| class as usize)
    }

    /// The best class of every row; class 0 where none has a score, which trained models and votes always give.
    pub fn best(&self) -> Vec<usize> {
        (0..self.len()).map(|row| self.of_row(row).next().unwrap_or(0)).collect()
    }

    /// How many rows have their true class among those that are kept.
    ///
    /// # Panics
    /// When there are fewer than [`Ranks::len`] true classes.
    pub fn hits(&self, truth: &[usize]) -> usize {
        (0..self.len()).filter(|&row| self.of_row(row).any(|class| class == truth[row])).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_come_first_and_equal_ones_in_their_order() {
        let scores = [0.0, 3.0, 1.0, 3.0, f64::NAN, 2.0];
        let of = |most, above| {
            let mut ranks = Ranks::new(most);
            ranks.push(scores.into_iter(), above);
            ranks.of_row(0).collect::<Vec<_>>()
        };
        assert_eq!(of(3, f64::NEG_INFINITY), [1, 3, 5]);
        assert_eq!(of(9, f64::NEG_INFINITY), [1, 3, 5, 2, 0]);
        assert_eq!(of(9, 0.0), [1, 3, 5, 2]);
        assert_eq!(of(1, 0.0), [1]);
    }

    #[test]
    fn rows_are_counted_by_their_true_class() {
        let mut ranks = Ranks::new(2);
        for scores in [[0.1, 0.2, 0.7], [0.5, 0.4, 0.1], [0.0, 0.0, 0.0]] {
            ranks.push(scores.into_iter(), 0.0);
        }
        assert_eq!((ranks.len(), ranks.best()), (3, vec![2, 0, 0]));
        assert_eq!(ranks.hits(&[1, 2, 0]), 1);
        assert_eq!(ranks.hits(&[2, 1, 0]), 2);
    }
}
