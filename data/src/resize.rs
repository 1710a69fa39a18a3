//! Resampling images exactly as PIL (and so torchvision) does: its filters, widened when shrinking ("antialiased"), in 22-bit
//! fixed point, rows first.

mod rule;

use std::ops::Range;

pub use rule::Rule;

/// Fraction bits of a filter weight; with them a sum of weighted 8-bit levels still fits 32 bits (PIL's choice).
pub(crate) const WEIGHT_BITS: u32 = 32 - 8 - 2;

/// PIL's resampling filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// Every source level counts alike.
    Box,
    /// A triangle.
    Bilinear,
    /// Keys's cubic with a = -0.5.
    Bicubic,
    /// A sinc of three lobes, windowed by another.
    Lanczos,
}

impl Filter {
    /// Half its width, in source levels where nothing shrinks.
    fn support(self) -> f64 {
        match self {
            Filter::Box => 0.5,
            Filter::Bilinear => 1.0,
            Filter::Bicubic => 2.0,
            Filter::Lanczos => 3.0,
        }
    }

    fn weight(self, x: f64) -> f64 {
        match self {
            Filter::Box => f64::from(u8::from(x > -0.5 && x <= 0.5)),
            Filter::Bilinear => (1.0 - x.abs()).max(0.0),
            Filter::Bicubic => {
                const A: f64 = -0.5;
                let x = x.abs();
                if x < 1.0 {
                    ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
                } else if x < 2.0 {
                    (((x - 5.0) * x + 8.0) * x - 4.0) * A
                } else {
                    0.0
                }
            }
            Filter::Lanczos if (-3.0..3.0).contains(&x) => sinc(x) * sinc(x / 3.0),
            Filter::Lanczos => 0.0,
        }
    }
}

fn sinc(x: f64) -> f64 {
    let x = x * std::f64::consts::PI;
    if x == 0.0 { 1.0 } else { x.sin() / x }
}

/// The source levels that one destination level is made of.
pub(crate) struct Taps {
    /// The first of them.
    pub first: usize,
    /// What each of them counts, in units of 2^-[`WEIGHT_BITS`].
    pub weights: Vec<i32>,
}

/// The taps of every destination position along one axis, bilinear.
pub(crate) fn taps(from: usize, to: usize) -> Vec<Taps> {
    taps_of(from, to, 0..to, Filter::Bilinear)
}

/// The taps of some of the destination positions along one axis.
fn taps_of(from: usize, to: usize, positions: Range<usize>, filter: Filter) -> Vec<Taps> {
    let unit = f64::from(1u32 << WEIGHT_BITS);
    let fixed = |weight: &f64| (weight * unit).round() as i32;
    positions
        .map(|position| {
            let (first, weights) = weights(from, to, position, filter);
            Taps { first, weights: weights.iter().map(fixed).collect() }
        })
        .collect()
}

/// The first source level of a destination position, and what it and those after it count, one in all.
fn weights(from: usize, to: usize, position: usize, filter: Filter) -> (usize, Vec<f64>) {
    let scale = from as f64 / to as f64;
    let wider = scale.max(1.0);
    let support = filter.support() * wider;
    let centre = (position as f64 + 0.5) * scale;
    // Truncation towards zero, then the border: PIL's rounding.
    let first = (centre - support + 0.5).max(0.0) as usize;
    let last = ((centre + support + 0.5) as usize).min(from);
    let narrower = 1.0 / wider;
    let mut weights: Vec<f64> = (first..last)
        .map(|source| filter.weight(((source - first) as f64 + first as f64 - centre + 0.5) * narrower))
        .collect();
    let total: f64 = weights.iter().sum();
    if total != 0.0 {
        weights.iter_mut().for_each(|weight| *weight /= total);
    }
    (first, weights)
}

/// The weighted sum of `levels` (read `step` apart from `start`), rounded to a level.
fn weighted(levels: &[u8], start: usize, step: usize, taps: &Taps) -> u8 {
    let mut sum = 1i32 << (WEIGHT_BITS - 1);
    for (i, weight) in taps.weights.iter().enumerate() {
        sum += i32::from(levels[start + (taps.first + i) * step]) * weight;
    }
    (sum >> WEIGHT_BITS).clamp(0, 255) as u8
}

/// Resizes an image of C planes, [C, H, W] = `shape`, to `height` x `width`, bilinear.
///
/// # Panics
/// When `levels` does not have the length of `shape`, or a side is 0.
pub fn resize(levels: &[u8], shape: [usize; 3], height: usize, width: usize) -> Vec<u8> {
    resize_by(levels, shape, height, width, Filter::Bilinear)
}

/// [`resize`] with a filter of choice.
///
/// # Panics
/// As [`resize`].
pub fn resize_by(levels: &[u8], shape: [usize; 3], height: usize, width: usize, filter: Filter) -> Vec<u8> {
    resize_window(levels, shape, [height, width], [0, 0, height, width], filter)
}

/// The rectangle [top, left, height, width] of an image that is resized to `size` = [H, W]. Nothing beside it is computed,
/// so that its length bounds the work, not that of the resized image.
///
/// # Panics
/// As [`resize`], and when the rectangle leaves the resized image.
pub(crate) fn resize_window(
    levels: &[u8],
    shape: [usize; 3],
    size: [usize; 2],
    [top, left, height, width]: [usize; 4],
    filter: Filter,
) -> Vec<u8> {
    let [channels, from_height, from_width] = shape;
    assert_eq!(levels.len(), channels * from_height * from_width, "levels do not fill the shape");
    assert!(height > 0 && width > 0 && from_height > 0 && from_width > 0);
    assert!(top + height <= size[0] && left + width <= size[1], "the rectangle leaves the resized image");
    // Rows that are not resized are cut out alone.
    let rows = (from_height != size[0]).then(|| taps_of(from_height, size[0], top..top + height, filter));
    let needed = match &rows {
        None => top..top + height,
        Some(taps) => {
            let last = taps.iter().map(|taps| taps.first + taps.weights.len()).max().unwrap_or(0);
            taps.iter().map(|taps| taps.first).min().unwrap_or(0)..last
        }
    };
    let columns = (from_width != size[1]).then(|| taps_of(from_width, size[1], left..left + width, filter));
    let mut wide = Vec::with_capacity(channels * needed.len() * width);
    for plane in levels.chunks_exact(from_height * from_width) {
        for row in plane.chunks_exact(from_width).skip(needed.start).take(needed.len()) {
            match &columns {
                Some(taps) => wide.extend(taps.iter().map(|taps| weighted(row, 0, 1, taps))),
                None => wide.extend_from_slice(&row[left..left + width]),
            }
        }
    }
    let Some(mut rows) = rows else {
        return wide;
    };
    rows.iter_mut().for_each(|taps| taps.first -= needed.start);
    let mut out = Vec::with_capacity(channels * height * width);
    for plane in wide.chunks_exact(needed.len() * width) {
        for taps in &rows {
            out.extend((0..width).map(|column| weighted(plane, column, width, taps)));
        }
    }
    out
}

/// Resizes without rounding, as PIL does with images of mode `F`, channel by channel; what is beyond 0 and 255 is cut off.
/// That is clean-fid's resizing, with [`Filter::Bicubic`].
///
/// # Panics
/// As [`resize`].
pub fn resize_to_floats(
    levels: &[u8],
    shape: [usize; 3],
    height: usize,
    width: usize,
    filter: Filter,
) -> Vec<f32> {
    let [channels, from_height, from_width] = shape;
    assert_eq!(levels.len(), channels * from_height * from_width, "levels do not fill the shape");
    let all = |from: usize, to: usize| (0..to).map(|position| weights(from, to, position, filter)).collect();
    let columns: Vec<(usize, Vec<f64>)> = all(from_width, width);
    let rows: Vec<(usize, Vec<f64>)> = all(from_height, height);
    let sum = |levels: &mut dyn Iterator<Item = f32>, weights: &[f64]| {
        weights.iter().zip(levels).map(|(weight, level)| weight * f64::from(level)).sum::<f64>() as f32
    };
    let mut out = Vec::with_capacity(channels * height * width);
    for plane in levels.chunks_exact(from_height * from_width) {
        let lines = plane.chunks_exact(from_width);
        let wide: Vec<f32> = lines
            .flat_map(|line| {
                let of = move |(first, weights): &(usize, Vec<f64>)| {
                    sum(&mut line[*first..].iter().map(|&level| f32::from(level)), weights)
                };
                columns.iter().map(of)
            })
            .collect();
        for (first, weights) in &rows {
            out.extend((0..width).map(|column| {
                let levels = wide[first * width + column..].iter().step_by(width).copied();
                sum(&mut { levels }, weights).clamp(0.0, 255.0)
            }));
        }
    }
    out
}

/// [`resize_to_floats`], rounded at the end.
///
/// # Panics
/// As [`resize`].
pub(crate) fn resize_float(
    levels: &[u8],
    shape: [usize; 3],
    height: usize,
    width: usize,
    filter: Filter,
) -> Vec<u8> {
    let floats = resize_to_floats(levels, shape, height, width, filter);
    floats.into_iter().map(|level| level.round_ties_even() as u8).collect()
}

/// Cuts the rectangle of `height` x `width` at (`top`, `left`) out of an image of `shape` = [C, H, W].
///
/// # Panics
/// When the rectangle is not inside the image.
pub fn crop(levels: &[u8], shape: [usize; 3], [top, left, height, width]: [usize; 4]) -> Vec<u8> {
    let [channels, from_height, from_width] = shape;
    assert!(top + height <= from_height && left + width <= from_width, "the rectangle leaves the image");
    let mut out = Vec::with_capacity(channels * height * width);
    for plane in levels.chunks_exact(from_height * from_width) {
        for row in plane.chunks_exact(from_width).skip(top).take(height) {
            out.extend_from_slice(&row[left..left + width]);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_image_stays_constant() {
        for filter in [Filter::Box, Filter::Bilinear, Filter::Bicubic, Filter::Lanczos] {
            for (height, width) in [(5, 9), (64, 3), (10, 10)] {
                let out = resize_by(&[200; 2 * 17 * 10], [2, 17, 10], height, width, filter);
                assert_eq!(out, vec![200; 2 * height * width], "{filter:?}");
            }
        }
    }

    #[test]
    fn a_window_is_what_a_crop_would_be() {
        let levels: Vec<u8> = (0..2 * 17 * 10).map(|i| (i * 37 % 251) as u8).collect();
        for size in [[30, 40], [17, 7], [9, 10]] {
            let whole = resize_by(&levels, [2, 17, 10], size[0], size[1], Filter::Bicubic);
            let window = [3, 2, 5, 4];
            assert_eq!(
                resize_window(&levels, [2, 17, 10], size, window, Filter::Bicubic),
                crop(&whole, [2, size[0], size[1]], window)
            );
        }
    }
}
