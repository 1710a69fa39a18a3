//! McNemar's test: whether one classifier finds more than another on the same samples.

use serde::Serialize;

/// The samples that only one of two classifiers has right, and what they say. Samples that both have right or both have
/// wrong say nothing of a difference.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Discordant {
    /// Samples that only the first has right.
    pub only_first: usize,
    /// Samples that only the second has right.
    pub only_second: usize,
    /// How probable a division at least as uneven is where both are equally good: McNemar's exact test, two-sided.
    pub p_value: f64,
}

impl Discordant {
    /// Counts what each of two predictions has right.
    ///
    /// # Panics
    /// When there are fewer predictions than true classes.
    pub fn of<T: PartialEq>(truth: &[T], first: &[T], second: &[T]) -> Self {
        let (mut only_first, mut only_second) = (0, 0);
        for (sample, class) in truth.iter().enumerate() {
            match (first[sample] == *class, second[sample] == *class) {
                (true, false) => only_first += 1,
                (false, true) => only_second += 1,
                _ => {}
            }
        }
        Self { only_first, only_second, p_value: mcnemar(only_first, only_second) }
    }

    /// The standard error of the difference of the two shares of `samples` samples.
    pub fn standard_error(&self, samples: usize) -> f64 {
        let (first, second, samples) =
            (self.only_first as f64, self.only_second as f64, samples.max(1) as f64);
        let variance = first + second - (first - second).powi(2) / samples;
        variance.max(0.0).sqrt() / samples
    }
}

/// The two-sided exact p value: twice the chance of at most the smaller count among `first + second` throws of a fair coin,
/// and at most 1.
pub fn mcnemar(first: usize, second: usize) -> f64 {
    let (throws, smaller) = (first + second, first.min(second));
    if first == second {
        return 1.0;
    }
    // The logarithm of the chance of exactly `smaller`, then the rest in proportion to it.
    let choices: f64 = (0..smaller).map(|i| ((throws - i) as f64 / (smaller - i) as f64).ln()).sum();
    let exactly = choices - throws as f64 * std::f64::consts::LN_2;
    let (mut sum, mut term) = (1.0, 1.0);
    for count in (1..=smaller).rev() {
        term *= count as f64 / (throws - count + 1) as f64;
        sum += term;
    }
    (2.0 * (exactly + sum.ln()).exp()).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sums of binomial coefficients in exact fractions.
    #[test]
    fn p_values_are_those_of_the_binomial_test() {
        for (first, second, expected) in [
            (0, 0, 1.0),
            (7, 7, 1.0),
            (0, 5, 0.0625),
            (1, 9, 0.021484375),
            (121, 59, 4.434449263755176e-6),
            (5000, 5200, 0.04878796312682245),
            (1000, 100, 2.3274498138259826e-187),
        ] {
            for (first, second) in [(first, second), (second, first)] {
                let found = mcnemar(first, second);
                assert!((found / expected - 1.0).abs() < 1e-9, "{first} {second}: {found:e} {expected:e}");
            }
        }
    }

    #[test]
    fn samples_count_by_who_is_right() {
        let (first, second) = ([1, 1, 2, 3, 0], [1, 2, 2, 1, 1]);
        let found = Discordant::of(&[1, 1, 2, 2, 1], &first, &second);
        assert_eq!((found.only_first, found.only_second, found.p_value), (1, 1, 1.0));
        assert!((found.standard_error(5) - 0.4_f64.sqrt() / 5.0_f64.sqrt()).abs() < 1e-12);
    }
}
