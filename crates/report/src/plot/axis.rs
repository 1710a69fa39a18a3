//! Axes: round numbers, and a range with ticks of our own.

use std::ops::Range;

use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};
use plotters::coord::types::RangedCoordf64;

/// A range with the given ticks.
pub struct Ticked {
    range: RangedCoordf64,
    ticks: Vec<f64>,
}

impl Ticked {
    /// `low..high` with ticks.
    pub fn new(low: f64, high: f64, ticks: Vec<f64>) -> Ticked {
        Ticked { range: (low..high).into(), ticks }
    }
}

impl Ranged for Ticked {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        self.range.map(value, limit)
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        // The light ones lie between ticks.
        if hint.weight().allow_light_points() { Vec::new() } else { self.ticks.clone() }
    }

    fn range(&self) -> Range<f64> {
        self.range.range()
    }
}

/// About `count` round numbers within `low..=high`: steps of 1, 2 or 5 times a power of ten.
pub fn linear(low: f64, high: f64, count: usize) -> Vec<f64> {
    let rough = (high - low) / count.max(1) as f64;
    if rough <= 0.0 || !rough.is_finite() {
        return vec![low];
    }
    let power = 10f64.powf(rough.log10().floor());
    let step =
        [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power).into_iter().find(|step| *step >= rough * 0.999);
    let step = step.unwrap_or(10.0 * power);
    let first = (low / step - 1e-9).ceil() as i64;
    let last = (high / step + 1e-9).floor() as i64;
    (first..=last).map(|i| i as f64 * step).collect()
}

/// The logarithms (to the base 10) of round numbers within `10^low..=10^high`, about `count`: 1, 2 and 5 in each decade, or
/// decades alone.
pub fn logarithmic(low: f64, high: f64, count: usize) -> Vec<f64> {
    if high - low > count as f64 / 2.0 {
        return linear(low, high, count)
            .into_iter()
            .filter(|tick| (tick - tick.round()).abs() < 1e-9)
            .collect();
    }
    let factors: &[f64] =
        if high - low > 0.5 { &[1.0, 2.0, 5.0] } else { &[1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0] };
    let decades = low.floor() as i32..=high.ceil() as i32;
    let ticks: Vec<f64> = decades
        .flat_map(|decade| factors.iter().map(move |factor| f64::from(decade) + factor.log10()))
        .filter(|tick| (low..=high).contains(tick))
        .collect();
    // Within a narrow range there may be none.
    if ticks.len() < 2 {
        linear(10f64.powf(low), 10f64.powf(high), count).into_iter().map(f64::log10).collect()
    } else {
        ticks
    }
}

/// A number for an axis or a value, with as many digits as tell it apart.
pub fn shown(value: f64) -> String {
    let size = value.abs();
    match size {
        _ if value == 0.0 => "0".to_string(),
        1e6.. => format!("{value:.1e}"),
        100.0.. => trimmed(format!("{value:.1}")),
        1.0.. => trimmed(format!("{value:.3}")),
        1e-3.. => trimmed(format!("{value:.5}")),
        _ => format!("{value:.1e}"),
    }
}

fn trimmed(text: String) -> String {
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

/// The smallest and largest of some numbers.
pub fn range(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.filter(|value| value.is_finite()).fold(None, |range, value| match range {
        None => Some((value, value)),
        Some((low, high)) => Some((low.min(value), high.max(value))),
    })
}

/// The range with room on both sides.
pub fn widened((low, high): (f64, f64), share: f64) -> (f64, f64) {
    let extent = high - low;
    let room = if extent > 0.0 { extent * share } else { low.abs().max(1.0) * 0.05 };
    (low - room, high + room)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round() {
        assert_eq!(linear(0.0, 10.0, 5), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(linear(3.0, 3.0, 5), [3.0]);
        let shown_ticks =
            |ticks: Vec<f64>| ticks.into_iter().map(|tick| shown(10f64.powf(tick))).collect::<Vec<_>>();
        assert_eq!(
            shown_ticks(logarithmic(-2.0, 0.0, 6)),
            ["0.01", "0.02", "0.05", "0.1", "0.2", "0.5", "1"]
        );
        assert_eq!(
            shown_ticks(logarithmic(-6.0, 0.0, 6)),
            ["1.0e-6", "1.0e-5", "1.0e-4", "0.001", "0.01", "0.1", "1"]
        );
        assert_eq!(
            shown_ticks(logarithmic(0.41f64.log10(), 0.44f64.log10(), 3)),
            ["0.41", "0.42", "0.43", "0.44"]
        );
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(
            [0.0, 0.25, 12.5, 1234.5, 0.00012, 2.5e7].map(shown),
            ["0", "0.25", "12.5", "1234.5", "1.2e-4", "2.5e7"]
        );
        assert_eq!(widened((1.0, 3.0), 0.5), (0.0, 4.0));
        assert_eq!(range([f64::NAN, 2.0, 1.0].into_iter()), Some((1.0, 2.0)));
    }
}
