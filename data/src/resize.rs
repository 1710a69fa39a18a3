//! Resampling images exactly as PIL (and so torchvision) does: triangle filter, widened when shrinking
//! ("antialiased bilinear"), in 22-bit fixed point, rows first.

/// Fraction bits of a filter weight; with them a sum of weighted 8-bit levels still fits 32 bits (PIL's choice).
pub(crate) const WEIGHT_BITS: u32 = 32 - 8 - 2;

/// The source levels that one destination level is made of.
pub(crate) struct Taps {
    /// The first of them.
    pub first: usize,
    /// What each of them counts, in units of 2^-[`WEIGHT_BITS`].
    pub weights: Vec<i32>,
}

/// The taps of every destination position along one axis.
pub(crate) fn taps(from: usize, to: usize) -> Vec<Taps> {
    let scale = from as f64 / to as f64;
    let support = scale.max(1.0);
    (0..to)
        .map(|position| {
            let centre = (position as f64 + 0.5) * scale;
            // Truncation towards zero, then the border: PIL's rounding.
            let first = (centre - support + 0.5).max(0.0) as usize;
            let last = ((centre + support + 0.5) as usize).min(from);
            let weights: Vec<f64> = (first..last)
                .map(|source| (1.0 - ((source as f64 - centre + 0.5) / support).abs()).max(0.0))
                .collect();
            let total: f64 = weights.iter().sum();
            let unit = f64::from(1u32 << WEIGHT_BITS);
            Taps { first, weights: weights.iter().map(|w| (w / total * unit).round() as i32).collect() }
        })
        .collect()
}

/// The weighted sum of `levels` (read `step` apart from `start`), rounded to a level.
fn weighted(levels: &[u8], start: usize, step: usize, taps: &Taps) -> u8 {
    let mut sum = 1i32 << (WEIGHT_BITS - 1);
    for (i, weight) in taps.weights.iter().enumerate() {
        sum += i32::from(levels[start + (taps.first + i) * step]) * weight;
    }
    (sum >> WEIGHT_BITS).clamp(0, 255) as u8
}

/// Resizes an image of C planes, [C, H, W] = `shape`, to `height` x `width`.
///
/// # Panics
/// When `levels` does not have the length of `shape`, or a side is 0.
pub fn resize(levels: &[u8], shape: [usize; 3], height: usize, width: usize) -> Vec<u8> {
    let [channels, from_height, from_width] = shape;
    assert_eq!(levels.len(), channels * from_height * from_width, "levels do not fill the shape");
    assert!(height > 0 && width > 0 && from_height > 0 && from_width > 0);
    let wide = if width == from_width {
        levels.to_vec()
    } else {
        let taps = taps(from_width, width);
        let rows = levels.chunks_exact(from_width);
        rows.flat_map(|row| taps.iter().map(|taps| weighted(row, 0, 1, taps))).collect()
    };
    if height == from_height {
        return wide;
    }
    let taps = taps(from_height, height);
    let mut out = Vec::with_capacity(channels * height * width);
    for plane in wide.chunks_exact(from_height * width) {
        for taps in &taps {
            out.extend((0..width).map(|column| weighted(plane, column, width, taps)));
        }
    }
    out
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

/// Scales an image until it just covers `height` x `width`, keeping its proportions, and cuts the centre out
/// (torchvision's `Resize` and `CenterCrop`).
///
/// # Panics
/// As [`resize`].
pub fn cover(levels: &[u8], shape: [usize; 3], height: usize, width: usize) -> Vec<u8> {
    let [channels, from_height, from_width] = shape;
    // Which side is the tighter one, without rounding: height / from_height against width / from_width.
    let (scaled_height, scaled_width) = if height * from_width >= width * from_height {
        (height, (height * from_width / from_height).max(width))
    } else {
        ((width * from_height / from_width).max(height), width)
    };
    let scaled = resize(levels, shape, scaled_height, scaled_width);
    let centred = |outer: usize, inner: usize| ((outer - inner) as f64 / 2.0).round_ties_even() as usize;
    crop(
        &scaled,
        [channels, scaled_height, scaled_width],
        [centred(scaled_height, height), centred(scaled_width, width), height, width],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_image_stays_constant() {
        for (height, width) in [(5, 9), (64, 3), (10, 10)] {
            let out = resize(&[200; 2 * 17 * 10], [2, 17, 10], height, width);
            assert_eq!(out, vec![200; 2 * height * width]);
        }
    }

    #[test]
    fn covering_keeps_the_centre() {
        // A row of four 2x2 blocks shrunk to blocks of one pixel: the middle two are left.
        let row = [0, 0, 80, 80, 160, 160, 240, 240];
        let levels = [row, row].concat();
        let out = cover(&levels, [1, 2, 8], 2, 4);
        assert_eq!(out, [80, 80, 160, 160, 80, 80, 160, 160]);
        assert_eq!(cover(&levels, [1, 2, 8], 1, 4).len(), 4);
    }
}
