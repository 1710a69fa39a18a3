//! An affine map of an image without aliasing, between 2x up- and downsampling (arXiv 2006.06676, appendix B.1).
//!
//! Positions on the fine grid are in half pixels: sample `j` lies at pixel `j / 2`, for negative `j` too.

use std::ops::Range;

use super::Affine;

/// Low-pass filter of the orthogonal wavelet sym6 (Daubechies, "Ten Lectures on Wavelets", table 8.3), in the
/// orientation in which fine sample `j` is the sum over `k` of `LOW_PASS[k] * pixel((j + 5 - k) / 2)`.
const LOW_PASS: [f64; 12] = [
    0.015404109327027373,
    0.0034907120842174702,
    -0.11799011114819057,
    -0.048311742585633,
    0.4910559419267466,
    0.787641141030194,
    0.3379294217276218,
    -0.07263748278646252,
    -0.021060292512300564,
    0.04472490177066578,
    0.0017677118642428036,
    -0.007800708325034148,
];

/// Fine samples that a pixel of the result needs before and after its own.
const BEFORE: usize = 5;
const AFTER: usize = 6;
/// Pixels that a fine sample needs to the left and to the right of `j / 2` rounded down.
const LEFT: isize = 3;
const RIGHT: isize = 3;

/// The taps of fine samples 2q (from pixel q - 3 upwards) and 2q + 1 (from q - 2), scaled to keep constants.
fn phases() -> [[f32; 6]; 2] {
    let tap = |k: usize| (LOW_PASS[k] * std::f64::consts::SQRT_2) as f32;
    [std::array::from_fn(|i| tap(11 - 2 * i)), std::array::from_fn(|i| tap(10 - 2 * i))]
}

/// Reads `image`, [C, H, W], at `inverse` of every position; the result has the same shape.
pub(super) fn transform(image: &[f32], shape: [usize; 3], inverse: &Affine) -> Vec<f32> {
    let [channels, height, width] = shape;
    let grid = FineGrid::new(height, width, inverse);
    let (columns, rows) = (grid.source(0), grid.source(1));
    let mut result = Vec::with_capacity(image.len());
    let taps = grid.taps(&columns, &rows);
    let mut warped = vec![0.0; grid.size[0] * grid.size[1]];
    for plane in image.chunks_exact(height * width).take(channels) {
        let fine = upsample(plane, height, width, &columns, &rows);
        for (value, tap) in warped.iter_mut().zip(&taps) {
            *value = tap.read(&fine, 2 * columns.len());
        }
        downsample(&warped, grid.size[0], height, width, &mut result);
    }
    result
}

/// The fine grid of the result, with the filter's margin around it.
struct FineGrid<'a> {
    /// Samples to the right and downwards.
    size: [usize; 2],
    /// The image's width and height in pixels.
    image: [usize; 2],
    inverse: &'a Affine,
}

impl<'a> FineGrid<'a> {
    fn new(height: usize, width: usize, inverse: &'a Affine) -> Self {
        let image = [width, height];
        Self { size: image.map(|pixels| 2 * pixels + BEFORE + AFTER - 1), image, inverse }
    }

    /// Where the fine sample in column `x` and row `y` of this grid is read, on the fine grid of the image.
    fn position(&self, x: usize, y: usize) -> [f64; 2] {
        let centre = self.image.map(|pixels| pixels as f64 - 1.0);
        let relative = |index: usize, axis: usize| (index as f64 - BEFORE as f64 - centre[axis]) / 2.0;
        let [x, y] = self.inverse.at([relative(x, 0), relative(y, 1)]);
        [2.0 * x + centre[0], 2.0 * y + centre[1]]
    }

    /// The pixels along `axis` (0: columns, 1: rows) whose fine samples can be read. At most one mirror image is
    /// available on each side.
    fn source(&self, axis: usize) -> Range<isize> {
        let (right, bottom) = (self.size[0] - 1, self.size[1] - 1);
        let corners =
            [(0, 0), (right, 0), (0, bottom), (right, bottom)].map(|(x, y)| self.position(x, y)[axis]);
        let first = corners.into_iter().fold(f64::INFINITY, f64::min);
        let last = corners.into_iter().fold(f64::NEG_INFINITY, f64::max);
        let available = available(self.image[axis]);
        let pixel = |fine: f64| {
            (fine / 2.0).floor().clamp(available.start as f64, available.end as f64 - 1.0) as isize
        };
        let begin = pixel(first);
        // Interpolation reads one sample further than the floor of the position. Draws that are not finite have no
        // corners: then everything is black.
        begin..(pixel(last) + 2).clamp(begin + 1, available.end)
    }

    /// How every sample of this grid is read from the fine samples of the pixels `columns` x `rows`.
    fn taps(&self, columns: &Range<isize>, rows: &Range<isize>) -> Vec<Tap> {
        let stride = 2 * columns.len();
        let axis = |position: f64, pixels: &Range<isize>| {
            let fine = position - 2.0 * pixels.start as f64;
            let floor = fine.floor();
            let weight = (fine - floor) as f32;
            let count = 2.0 * pixels.len() as f64;
            // Beyond what is available everything is black, and fades in over one sample.
            match floor {
                f if f >= 0.0 && f + 1.0 < count => (f as usize, [1.0 - weight, weight]),
                -1.0 => (0, [weight, 0.0]),
                f if f + 1.0 == count => (f as usize - 1, [0.0, 1.0 - weight]),
                _ => (0, [0.0, 0.0]),
            }
        };
        let mut taps = Vec::with_capacity(self.size[0] * self.size[1]);
        for y in 0..self.size[1] {
            for x in 0..self.size[0] {
                let [x, y] = self.position(x, y);
                let (column, across) = axis(x, columns);
                let (row, down) = axis(y, rows);
                taps.push(Tap { first: row * stride + column, across, down });
            }
        }
        taps
    }
}

/// The pixels of a side of `size` pixels with one mirror image before and after it.
fn available(size: usize) -> Range<isize> {
    let size = size as isize;
    1 - size..2 * size - 1
}

/// One bilinear interpolation: the upper left fine sample and the weights of left, right and upper, lower.
struct Tap {
    first: usize,
    across: [f32; 2],
    down: [f32; 2],
}

impl Tap {
    fn read(&self, fine: &[f32], stride: usize) -> f32 {
        let row = |begin: usize| fine[begin] * self.across[0] + fine[begin + 1] * self.across[1];
        row(self.first) * self.down[0] + row(self.first + stride) * self.down[1]
    }
}

/// For each pixel of `pixels` and the filter's margin around them: the pixel of the image that is mirrored there.
fn mirrored(pixels: &Range<isize>, size: usize) -> Vec<Option<usize>> {
    let (available, last) = (available(size), size as isize - 1);
    (pixels.start - LEFT..pixels.end + RIGHT)
        .map(|pixel| {
            let inside = if pixel > last { 2 * last - pixel } else { pixel.abs() };
            available.contains(&pixel).then_some(inside as usize)
        })
        .collect()
}

/// The fine samples of the pixels `columns` x `rows` of one plane, [2 rows, 2 columns].
fn upsample(
    plane: &[f32],
    height: usize,
    width: usize,
    columns: &Range<isize>,
    rows: &Range<isize>,
) -> Vec<f32> {
    let phases = phases();
    let sources = mirrored(columns, width);
    let stride = 2 * columns.len();
    let mut padded = vec![0.0; sources.len()];
    let mut across = vec![0.0; height * stride];
    let needed = mirrored(rows, height);
    for (y, (row, wide)) in plane.chunks_exact(width).zip(across.chunks_exact_mut(stride)).enumerate() {
        if !needed.contains(&Some(y)) {
            continue;
        }
        for (value, source) in padded.iter_mut().zip(&sources) {
            *value = source.map_or(0.0, |x| row[x]);
        }
        for (pair, window) in wide.chunks_exact_mut(2).zip(padded.windows(7)) {
            pair[0] = (0..6).map(|i| phases[0][i] * window[i]).sum();
            pair[1] = (0..6).map(|i| phases[1][i] * window[i + 1]).sum();
        }
    }
    let mut fine = vec![0.0; 2 * rows.len() * stride];
    for (pair, window) in fine.chunks_exact_mut(2 * stride).zip(needed.windows(7)) {
        let (even, odd) = pair.split_at_mut(stride);
        for i in 0..6 {
            for (sums, source, weight) in
                [(&mut *even, window[i], phases[0][i]), (&mut *odd, window[i + 1], phases[1][i])]
            {
                let Some(y) = source else { continue };
                for (sum, value) in sums.iter_mut().zip(&across[y * stride..]) {
                    *sum += weight * value;
                }
            }
        }
    }
    fine
}

/// Appends the plane [height, width] that the fine samples `fine`, `fine_width` wide, stand for.
fn downsample(fine: &[f32], fine_width: usize, height: usize, width: usize, plane: &mut Vec<f32>) {
    let filter = LOW_PASS.map(|tap| (tap / std::f64::consts::SQRT_2) as f32);
    let mut narrow = vec![0.0; fine.len() / fine_width * width];
    for (row, short) in fine.chunks_exact(fine_width).zip(narrow.chunks_exact_mut(width)) {
        for (x, value) in short.iter_mut().enumerate() {
            let window = &row[2 * x..][..filter.len()];
            *value = (0..filter.len()).map(|k| filter[k] * window[k]).sum();
        }
    }
    for y in 0..height {
        let begin = plane.len();
        plane.resize(begin + width, 0.0);
        for (row, weight) in narrow[2 * y * width..].chunks_exact(width).zip(filter) {
            for (sum, value) in plane[begin..].iter_mut().zip(row) {
                *sum += weight * value;
            }
        }
    }
}
