//! Pooling of images `[B, C, H, W]`, and other sizes of them.

use ndarray::{Array4, ArrayView2, ArrayView4, s};

use super::Real;
use crate::graph::Window;

/// The mean of each window. The padding counts, as zeros, where `count_include_pad`.
pub fn avg_pool<F: Real>(x: ArrayView4<F>, window: Window, count_include_pad: bool) -> Array4<F> {
    pool(x, window, |pixels| {
        let count = if count_include_pad { window.kernel * window.kernel } else { pixels.len() };
        pixels.iter().fold(F::zero(), |sum, &pixel| sum + pixel) / F::rounded(count as f64)
    })
}

/// The largest pixel of each window; a NaN is larger than everything.
pub fn max_pool<F: Real>(x: ArrayView4<F>, window: Window) -> Array4<F> {
    pool(x, window, |pixels| {
        let larger = |a: F, &b: &F| if b > a || b.is_nan() { b } else { a };
        pixels.iter().fold(F::neg_infinity(), larger)
    })
}

/// What `reduce` makes of the pixels of each window, without those of the padding.
fn pool<F: Real>(x: ArrayView4<F>, window: Window, reduce: impl Fn(ArrayView2<F>) -> F) -> Array4<F> {
    let (batch, channels, height, width) = x.dim();
    let Window { kernel, stride, padding } = window;
    let count = |side: usize| (side + 2 * padding - kernel) / stride + 1;
    let inside = |at: usize, side: usize| {
        (at * stride).saturating_sub(padding)..(at * stride + kernel - padding).min(side)
    };
    Array4::from_shape_fn((batch, channels, count(height), count(width)), |(b, c, row, column)| {
        reduce(x.slice(s![b, c, inside(row, height), inside(column, width)]))
    })
}

/// Each image as `height` x `width` pixels, each between the four nearest ones of the old image. Pixels are squares
/// whose centres lie at half numbers: new pixel `i` of `n` is at `(i + 1/2) m / n - 1/2` of the old `m`, and not beyond
/// the centres of the outer pixels.
pub fn resize_bilinear<F: Real>(x: ArrayView4<F>, height: usize, width: usize) -> Array4<F> {
    let (batch, channels, from_height, from_width) = x.dim();
    let (rows, columns) = (neighbours(from_height, height), neighbours(from_width, width));
    Array4::from_shape_fn((batch, channels, height, width), |(b, c, row, column)| {
        let ([top, bottom], down) = rows[row];
        let ([left, right], across) = columns[column];
        let between = |a: F, b: F, part: f64| F::rounded(1.0 - part) * a + F::rounded(part) * b;
        let upper = between(x[[b, c, top, left]], x[[b, c, top, right]], across);
        let lower = between(x[[b, c, bottom, left]], x[[b, c, bottom, right]], across);
        between(upper, lower, down)
    })
}

/// For each of `to` new positions along an axis, the two old ones of `from` around it and how far it lies from the
/// first to the second, in [0, 1).
fn neighbours(from: usize, to: usize) -> Vec<([usize; 2], f64)> {
    let place = |i: usize| {
        let at = ((i as f64 + 0.5) * from as f64 / to as f64 - 0.5).clamp(0.0, (from - 1) as f64);
        let first = at.floor() as usize;
        ([first, (first + 1).min(from - 1)], at - first as f64)
    };
    (0..to).map(place).collect()
}
