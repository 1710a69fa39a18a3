//! How the values of an activation are distributed, and the range that integers should cover.

use clap::ValueEnum;

/// Bins of a histogram.
const BINS: usize = 8192;

/// Integers that an activation can have.
const LEVELS: f64 = 255.0;

/// The share of the values that [`RangeRule::Percentile`] leaves out.
const PERCENTILE: f64 = 1e-4;

/// How the range of an activation is chosen from the values that it took: what its integers cover.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum RangeRule {
    /// All values that were seen
    #[value(name = "minmax")]
    MinMax,
    /// All but one of 10,000, half of them at either end
    #[default]
    Percentile,
    /// What makes the mean squared error of rounding and cutting off least
    #[value(name = "error")]
    LeastError,
}

impl RangeRule {
    /// The name in files and on the command line.
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_string()).unwrap_or_default()
    }
}

/// A range of values, which holds 0.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct ValueRange {
    pub min: f64,
    pub max: f64,
}

/// Counts of values in bins of equal width around 0. The bins double in width whenever a value lies beyond them, so
/// one pass over values of unknown size is enough.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Vec<u64>,
    /// The bins cover `-limit..limit`.
    limit: f64,
    min: f64,
    max: f64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { counts: vec![0; BINS], limit: 2f64.powi(-10), min: 0.0, max: 0.0 }
    }
}

impl Histogram {
    /// Counts values. Those that are not finite are left out: there is no integer for them.
    pub fn add(&mut self, values: &[f32]) {
        let finite = values.iter().map(|&x| f64::from(x)).filter(|x| x.is_finite());
        let (min, max) =
            finite.clone().fold((0.0, 0.0), |(min, max): (f64, f64), x| (min.min(x), max.max(x)));
        (self.min, self.max) = (self.min.min(min), self.max.max(max));
        while self.max >= self.limit || self.min < -self.limit {
            self.widen();
        }
        let per_unit = BINS as f64 / (2.0 * self.limit);
        for x in finite {
            let bin = ((x + self.limit) * per_unit) as usize;
            self.counts[bin.min(BINS - 1)] += 1;
        }
    }

    fn widen(&mut self) {
        let mut counts = vec![0; BINS];
        for (i, pair) in self.counts.chunks_exact(2).enumerate() {
            counts[BINS / 4 + i] = pair[0] + pair[1];
        }
        self.counts = counts;
        self.limit *= 2.0;
    }

    /// The range by a rule.
    pub fn range(&self, rule: RangeRule) -> ValueRange {
        match rule {
            RangeRule::MinMax => ValueRange { min: self.min, max: self.max },
            RangeRule::Percentile => self.percentile(PERCENTILE),
            RangeRule::LeastError => self.least_error(),
        }
    }

    fn center(&self, bin: usize) -> f64 {
        (bin as f64 + 0.5) * 2.0 * self.limit / BINS as f64 - self.limit
    }

    fn percentile(&self, left_out: f64) -> ValueRange {
        let total: u64 = self.counts.iter().sum();
        let allowed = (total as f64 * left_out / 2.0) as u64;
        let passes = |seen: &mut u64, bin: usize| {
            *seen += self.counts[bin];
            *seen > allowed
        };
        let (mut from_below, mut from_above) = (0, 0);
        let low = (0..BINS).find(|&bin| passes(&mut from_below, bin));
        let high = (0..BINS).rev().find(|&bin| passes(&mut from_above, bin));
        let half_bin = self.limit / BINS as f64;
        ValueRange {
            min: low.map_or(0.0, |bin| (self.center(bin) - half_bin).clamp(self.min, 0.0)),
            max: high.map_or(0.0, |bin| (self.center(bin) + half_bin).clamp(0.0, self.max)),
        }
    }

    /// Tries ever narrower ranges; both ends move by the same share.
    fn least_error(&self) -> ValueRange {
        let narrowed = |step: i32| 0.98f64.powi(step);
        let error = |share: f64| {
            let (min, max) = (self.min * share, self.max * share);
            let step = (max - min) / LEVELS;
            let of_bin = |(bin, &count): (usize, &u64)| {
                let x = self.center(bin);
                let cut = x - x.clamp(min, max);
                count as f64 * if cut == 0.0 { step * step / 12.0 } else { cut * cut }
            };
            self.counts.iter().enumerate().filter(|(_, count)| **count > 0).map(of_bin).sum::<f64>()
        };
        let best = (0..80).map(narrowed).min_by(|a, b| error(*a).total_cmp(&error(*b))).unwrap_or(1.0);
        ValueRange { min: self.min * best, max: self.max * best }
    }
}

impl ValueRange {
    /// The step between neighbouring unsigned 8-bit integers, and the integer that stands for 0.
    pub fn scale_and_zero(&self) -> (f32, u8) {
        let scale = ((self.max - self.min) / LEVELS).max(1e-12);
        (scale as f32, (-self.min / scale).round().clamp(0.0, LEVELS) as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(values: &[f32]) -> Histogram {
        let mut histogram = Histogram::default();
        values.chunks(7).for_each(|chunk| histogram.add(chunk));
        histogram
    }

    #[test]
    fn widening_keeps_every_value() {
        let values: Vec<f32> =
            (0..1000).map(|i| 1.7f32.powi(i % 20) * if i % 3 == 0 { -0.1 } else { 1.0 }).collect();
        let histogram = filled(&values);
        assert_eq!(histogram.counts.iter().sum::<u64>(), 1000);
        let below: u64 =
            (0..BINS).filter(|&bin| histogram.center(bin) < 0.0).map(|bin| histogram.counts[bin]).sum();
        assert_eq!(below, 334);
        let (least, largest) = values.iter().fold((0f32, 0f32), |(a, b), &x| (a.min(x), b.max(x)));
        let range = histogram.range(RangeRule::MinMax);
        assert_eq!((range.min as f32, range.max as f32), (least, largest));
    }

    #[test]
    fn what_is_not_finite_is_left_out() {
        let histogram = filled(&[1.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY]);
        assert_eq!(histogram.range(RangeRule::MinMax), ValueRange { min: 0.0, max: 1.0 });
    }

    #[test]
    fn a_percentile_cuts_what_is_rare() {
        // 0 to 1 evenly, and one value far out.
        let mut values: Vec<f32> = (0..9999).map(|i| i as f32 / 9999.0).collect();
        values.push(50.0);
        let range = filled(&values).percentile(1e-3);
        assert!((0.99..1.1).contains(&range.max) && range.min == 0.0, "{range:?}");
        let whole = filled(&values).percentile(0.0);
        assert!((whole.max - 50.0).abs() < 0.1, "{whole:?}");
    }

    #[test]
    fn the_least_error_cuts_what_is_far_but_not_what_is_common() {
        let even: Vec<f32> = (0..10_000).map(|i| i as f32 / 10_000.0).collect();
        assert!(filled(&even).range(RangeRule::LeastError).max > 0.97);
        let mut outlier = even.repeat(100);
        outlier.push(100.0);
        let range = filled(&outlier).range(RangeRule::LeastError);
        assert!(range.max < 60.0 && range.max >= 1.0, "{range:?}");
    }

    #[test]
    fn zero_has_an_integer_of_its_own() {
        for (min, max) in [(-0.28, 20.0), (-3.0, 0.0), (0.0, 7.0), (-1.0, 1.0)] {
            let (scale, zero) = ValueRange { min, max }.scale_and_zero();
            let lowest = -f64::from(zero) * f64::from(scale);
            let highest = (255.0 - f64::from(zero)) * f64::from(scale);
            let step = f64::from(scale);
            assert!((lowest - min).abs() <= step && (highest - max).abs() <= step, "{min} {max}");
        }
        // What is always 0 has a scale as well.
        let (scale, zero) = ValueRange { min: 0.0, max: 0.0 }.scale_and_zero();
        assert!(scale > 0.0 && zero == 0);
    }
}
