//! A random part of the image, scaled to the image's size (torchvision's `RandomResizedCrop`, bilinear with
//! antialias, on PIL images).

use std::sync::Arc;

use super::Canvas;
use crate::resize::{WEIGHT_BITS, taps};
use ddae_base::random::Stream;

/// Share of the image's area that a part has unless told otherwise, from, to.
pub const CROP_AREA: [f64; 2] = [0.08, 1.0];
/// Width of a part over its height, from, to.
const RATIO: [f64; 2] = [3.0 / 4.0, 4.0 / 3.0];
/// Parts that are drawn before one in the middle is taken.
const ATTEMPTS: usize = 10;

/// A rectangle of an image, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rectangle {
    /// Rows above it.
    pub top: usize,
    /// Columns left of it.
    pub left: usize,
    /// Its rows, at least 1.
    pub height: usize,
    /// Its columns, at least 1.
    pub width: usize,
}

impl Rectangle {
    /// The part of an image of `height` x `width` that `RandomResizedCrop` with `scale=share` would take: between the
    /// two shares of the area, evenly, between 3:4 and 4:3 wide, evenly in the logarithm, at any place. Where ten such parts did not fit,
    /// the largest one in the middle that is at most so narrow or wide.
    ///
    /// # Panics
    /// When `height` or `width` is 0.
    pub fn random(height: usize, width: usize, share: [f64; 2], rng: &mut Stream) -> Rectangle {
        let between = |[from, to]: [f64; 2], rng: &mut Stream| from + (to - from) * rng.uniform();
        let area = (height * width) as f64;
        for _ in 0..ATTEMPTS {
            let part = area * between(share, rng);
            let ratio = between(RATIO.map(f64::ln), rng).exp();
            let of_width = (part * ratio).sqrt().round_ties_even() as usize;
            let of_height = (part / ratio).sqrt().round_ties_even() as usize;
            if (1..=width).contains(&of_width) && (1..=height).contains(&of_height) {
                let top = rng.below((height - of_height + 1) as u64) as usize;
                let left = rng.below((width - of_width + 1) as u64) as usize;
                return Rectangle { top, left, height: of_height, width: of_width };
            }
        }
        Rectangle::central(height, width)
    }

    fn central(height: usize, width: usize) -> Rectangle {
        let ratio = width as f64 / height as f64;
        let rounded = |side: f64| (side.round_ties_even() as usize).max(1);
        let [narrowest, widest] = RATIO;
        let (of_height, of_width) = if ratio < narrowest {
            (rounded(width as f64 / narrowest), width)
        } else if ratio > widest {
            (height, rounded(height as f64 * widest))
        } else {
            (height, width)
        };
        let (top, left) = ((height - of_height) / 2, (width - of_width) / 2);
        Rectangle { top, left, height: of_height, width: of_width }
    }
}

/// The two source levels that a level is made of; near the border one of them counts nothing.
#[derive(Clone, Copy, Debug)]
struct Pair {
    first: u32,
    second: u32,
    weights: [i32; 2],
}

impl Pair {
    /// The weighted sum, rounded. It fits 32 bits: the weights add up to 2^22, give or take one, and levels have 8 bits.
    fn level(&self, first: u8, second: u8) -> u8 {
        let [a, b] = self.weights;
        let half = 1 << (WEIGHT_BITS - 1);
        let sum = i32::from(first).wrapping_mul(a).wrapping_add(i32::from(second).wrapping_mul(b));
        (sum.wrapping_add(half) >> WEIGHT_BITS).clamp(0, 255) as u8
    }
}

/// How parts of every length are scaled to one length.
#[derive(Debug)]
struct Axis {
    length: usize,
    /// `length` of them for parts of 1, then for parts of 2, and so on.
    pairs: Vec<Pair>,
}

impl Axis {
    fn new(length: usize) -> Axis {
        let pair = |part: usize, taps: crate::resize::Taps| {
            // A part is never longer than the whole, so the triangle filter is two levels wide.
            let weight = |i: usize| taps.weights.get(i).copied().unwrap_or(0);
            debug_assert!(taps.weights.iter().skip(2).all(|&weight| weight == 0));
            let second = (taps.first + 1).min(part - 1);
            Pair { first: taps.first as u32, second: second as u32, weights: [weight(0), weight(1)] }
        };
        let of_part = |part| taps(part, length).into_iter().map(move |taps| pair(part, taps));
        Axis { length, pairs: (1..=length).flat_map(of_part).collect() }
    }

    /// The pairs for a part of this length.
    fn of(&self, part: usize) -> &[Pair] {
        &self.pairs[(part - 1) * self.length..part * self.length]
    }
}

/// The filter weights of every part that an image of one size can have, computed once for any number of images:
/// 16 bytes times H x H + W x W, that is 32 KiB for 32x32. Clones share them.
#[derive(Clone, Debug)]
pub struct ResizedCrop {
    rows: Arc<Axis>,
    columns: Arc<Axis>,
    area: [f64; 2],
}

impl ResizedCrop {
    /// For images of `height` x `width`, and random parts with [`CROP_AREA`].
    pub fn new(height: usize, width: usize) -> ResizedCrop {
        ResizedCrop {
            rows: Arc::new(Axis::new(height)),
            columns: Arc::new(Axis::new(width)),
            area: CROP_AREA,
        }
    }

    /// The same, with random parts that have between these shares of the area.
    pub fn with_area(self, area: [f64; 2]) -> ResizedCrop {
        ResizedCrop { area, ..self }
    }

    /// Draws a part and scales it to the size of the image.
    ///
    /// # Panics
    /// As [`ResizedCrop::apply`].
    pub fn random(&self, canvas: &mut Canvas, rng: &mut Stream) {
        self.apply(canvas, Rectangle::random(self.rows.length, self.columns.length, self.area, rng));
    }

    /// Scales a part to the size of the image, with the levels that PIL computes.
    ///
    /// # Panics
    /// When the canvas has another size, or the part is empty or not inside the image.
    pub fn apply(&self, canvas: &mut Canvas, part: Rectangle) {
        let [_, height, width] = canvas.shape();
        assert_eq!([height, width], [self.rows.length, self.columns.length], "a canvas of another size");
        let Rectangle { top, left, height: of_height, width: of_width } = part;
        assert!(top + of_height <= height && left + of_width <= width, "{part:?} leaves {height}x{width}");
        let columns = self.columns.of(of_width);
        let rows = self.rows.of(of_height);
        let planes = canvas.levels.chunks_exact_mut(height * width);
        for (plane, wide) in planes.zip(canvas.spare.chunks_exact_mut(height * width)) {
            // Columns first, as PIL does, which rounds to levels in between: from the part to rows of full width.
            let parts = plane.chunks_exact(width).skip(top).take(of_height);
            for (from, to) in parts.zip(wide.chunks_exact_mut(width)) {
                let from = &from[left..left + of_width];
                if of_width == width {
                    to.copy_from_slice(from);
                    continue;
                }
                for (level, pair) in to.iter_mut().zip(columns) {
                    *level = pair.level(from[pair.first as usize], from[pair.second as usize]);
                }
            }
            if of_height == height {
                plane.copy_from_slice(wide);
                continue;
            }
            for (to, pair) in plane.chunks_exact_mut(width).zip(rows) {
                let row = |number: u32| &wide[number as usize * width..][..width];
                for (level, (&above, &below)) in
                    to.iter_mut().zip(row(pair.first).iter().zip(row(pair.second)))
                {
                    *level = pair.level(above, below);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resize::{crop, resize};
    use ddae_base::random::{Purpose, stream};

    #[test]
    fn equals_cropping_and_resizing() {
        let shape = [3, 12, 9];
        let levels: Vec<u8> = (0..shape.iter().product::<usize>()).map(|i| (i * 71 % 256) as u8).collect();
        let (scaler, mut canvas) = (ResizedCrop::new(12, 9), Canvas::new(shape).expect("RGB"));
        for height in 1..=12 {
            for width in 1..=9 {
                let part = Rectangle { top: (12 - height) / 2, left: 9 - width, height, width };
                canvas.levels_mut().copy_from_slice(&levels);
                scaler.apply(&mut canvas, part);
                let cut = crop(&levels, shape, [part.top, part.left, height, width]);
                assert_eq!(canvas.levels(), resize(&cut, [3, height, width], 12, 9), "{part:?}");
            }
        }
    }

    #[test]
    fn parts_have_the_area_shape_and_place_that_were_asked_for() {
        let mut rng = stream(5, Purpose::Preview, 0, 0);
        let (mut area, mut log_ratio, mut centre) = (0.0, 0.0, [0.0; 2]);
        let count = 20_000;
        for _ in 0..count {
            let part = Rectangle::random(1000, 1000, CROP_AREA, &mut rng);
            let (height, width) = (part.height as f64, part.width as f64);
            assert!((0.0795..=1.0).contains(&(height * width / 1e6)), "{part:?}");
            assert!((0.745..=1.345).contains(&(width / height)), "{part:?}");
            assert!(part.top + part.height <= 1000 && part.left + part.width <= 1000);
            area += height * width / 1e6 / f64::from(count);
            log_ratio += (width / height).ln() / f64::from(count);
            centre[0] += (part.top as f64 + height / 2.0) / f64::from(count);
            centre[1] += (part.left as f64 + width / 2.0) / f64::from(count);
        }
        // A part of area A and ratio r fits if A <= min(r, 1/r), so that the mean of the areas is not 0.54 but 0.4778.
        assert!((area - 0.4778).abs() < 0.006, "{area}");
        assert!(log_ratio.abs() < 0.01, "{log_ratio}");
        assert!(centre.iter().all(|&place| (place - 500.0).abs() < 5.0), "{centre:?}");
    }

    #[test]
    fn a_image_in_which_no_part_fits_gives_its_middle() {
        assert_eq!(Rectangle::central(100, 10), Rectangle { top: 43, left: 0, height: 13, width: 10 });
        assert_eq!(Rectangle::central(9, 100), Rectangle { top: 0, left: 44, height: 9, width: 12 });
        assert_eq!(Rectangle::central(7, 7), Rectangle { top: 0, left: 0, height: 7, width: 7 });
        // 1 pixel wide and 200 high: all but the tiniest parts are wider than the image.
        let mut rng = stream(0, Purpose::Preview, 1, 0);
        for _ in 0..100 {
            let part = Rectangle::random(200, 1, CROP_AREA, &mut rng);
            assert!(part.width == 1 && part.height >= 1 && part.top + part.height <= 200, "{part:?}");
        }
    }
}
