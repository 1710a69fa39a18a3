//! Operations that give every level a new one, whatever its pixel: 256 numbers are computed, then looked up.

use super::Canvas;
use super::blend::blend;

/// The new level of every level.
type Table = [u8; 256];

fn table(of_level: impl Fn(u8) -> u8) -> Table {
    std::array::from_fn(|level| of_level(level as u8))
}

fn look_up(levels: &mut [u8], table: &Table) {
    for level in levels {
        *level = table[usize::from(*level)];
    }
}

/// How often each level occurs.
fn histogram(plane: &[u8]) -> [u32; 256] {
    let mut counts = [0; 256];
    for &level in plane {
        counts[usize::from(level)] += 1;
    }
    counts
}

impl Canvas {
    /// Away from (above 1) or towards black.
    pub(super) fn brightness(&mut self, factor: f32) {
        look_up(&mut self.levels, &table(|level| blend(0, level, factor)));
    }

    /// Away from (above 1) or towards the mean grey of the image.
    pub(super) fn contrast(&mut self, factor: f32) {
        self.find_greys();
        let sum: u64 = self.of_pixel.iter().map(|&grey| u64::from(grey)).sum();
        let mean = (sum as f64 / self.pixels() as f64 + 0.5) as u8;
        look_up(&mut self.levels, &table(|level| blend(mean, level, factor)));
    }

    /// Keeps the upper `bits` of every level.
    pub(super) fn posterize(&mut self, bits: u32) {
        let mask = 0xff_u8.checked_shl(8u32.saturating_sub(bits)).unwrap_or(0);
        self.levels.iter_mut().for_each(|level| *level &= mask);
    }

    /// Inverts the levels from `threshold` on.
    pub(super) fn solarize(&mut self, threshold: f64) {
        look_up(
            &mut self.levels,
            &table(|level| if f64::from(level) < threshold { level } else { 255 - level }),
        );
    }

    /// Stretches each channel from its lowest and highest level to 0 and 255.
    pub(super) fn auto_contrast(&mut self) {
        let pixels = self.pixels();
        for plane in self.levels.chunks_exact_mut(pixels) {
            let (low, high) = plane.iter().fold((u8::MAX, 0), |(low, high), &v| (low.min(v), high.max(v)));
            if high <= low {
                continue;
            }
            let scale = 255.0 / f64::from(high - low);
            let offset = -f64::from(low) * scale;
            // The conversion truncates, and takes what is below 0 or above 255 as 0 and 255, as PIL does.
            look_up(plane, &table(|level| (f64::from(level) * scale + offset) as u8));
        }
    }

    /// Makes all levels of a channel about equally frequent.
    pub(super) fn equalize(&mut self) {
        let pixels = self.pixels();
        for plane in self.levels.chunks_exact_mut(pixels) {
            let counts = histogram(plane);
            let highest = counts.iter().rev().find(|&&count| count > 0).copied().unwrap_or(0);
            // A plane of a single level gives 0 here as well, and stays as it is.
            let step = (pixels as u64 - u64::from(highest)) / 255;
            if step == 0 {
                continue;
            }
            let mut below = step / 2;
            let table = counts.map(|count| {
                let level = (below / step).min(255) as u8;
                below += u64::from(count);
                level
            });
            look_up(plane, &table);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(levels: &[u8], operation: impl Fn(&mut Canvas)) -> Vec<u8> {
        let mut canvas = Canvas::new([1, 1, levels.len()]).expect("grey");
        canvas.levels_mut().copy_from_slice(levels);
        operation(&mut canvas);
        canvas.levels().to_vec()
    }

    #[test]
    fn posterizing_takes_any_number_of_bits() {
        for (bits, expected) in [(0, 0), (1, 128), (4, 240), (8, 255), (9, 255)] {
            assert_eq!(applied(&[255], |canvas| canvas.posterize(bits)), [expected]);
        }
    }

    #[test]
    fn stretching_reaches_black_and_white() {
        assert_eq!(applied(&[50, 60, 150], Canvas::auto_contrast), [0, 25, 255]);
        assert_eq!(applied(&[77, 77], Canvas::auto_contrast), [77, 77]);
    }

    #[test]
    fn equalizing_spreads_levels_that_are_close_together() {
        let levels: Vec<u8> = (0..1024).map(|i| 100 + (i / 256) as u8).collect();
        let equal = applied(&levels, Canvas::equalize);
        let kinds = [0, 256, 512, 768].map(|i| equal[i]);
        assert_eq!(kinds, [0, 85, 171, 255]);
        // Too few pixels for 255 steps, or a single level.
        assert_eq!(applied(&[3, 9, 9], Canvas::equalize), [3, 9, 9]);
        assert_eq!(applied(&[7; 1000], Canvas::equalize), [7; 1000]);
    }

    #[test]
    fn contrast_and_brightness_clip() {
        assert_eq!(applied(&[0, 100, 200], |canvas| canvas.contrast(2.0)), [0, 100, 255]);
        assert_eq!(applied(&[0, 100, 200], |canvas| canvas.brightness(1.5)), [0, 150, 255]);
        assert_eq!(applied(&[0, 101, 200], |canvas| canvas.brightness(0.5)), [0, 50, 100]);
    }
}
