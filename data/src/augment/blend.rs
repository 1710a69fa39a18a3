//! Operations that move an image away from, or towards, a version of itself that lacks something: its colours or its
//! edges (PIL's `ImageEnhance`).

use super::Canvas;

/// PIL's `Image.blend`: `degenerate` at a `factor` of 0, `level` at 1, beyond it above 1. In float32 and truncated, as
/// there.
pub(super) fn blend(degenerate: u8, level: u8, factor: f32) -> u8 {
    let (degenerate, level) = (f32::from(degenerate), f32::from(level));
    // Clamped first, so that the conversion below needs no checks and the loop becomes vector instructions.
    (degenerate + factor * (level - degenerate)).clamp(0.0, 255.0) as i32 as u8
}

/// The brightness of a colour in 16-bit fixed point, rounded (ITU-R 601-2, as PIL converts RGB to L).
fn luma(red: u8, green: u8, blue: u8) -> u32 {
    (u32::from(red) * 19595 + u32::from(green) * 38470 + u32::from(blue) * 7471 + 0x8000) >> 16
}

impl Canvas {
    /// Puts every pixel's grey level into `of_pixel`.
    pub(super) fn find_greys(&mut self) {
        let pixels = self.pixels();
        if self.shape()[0] == 1 {
            for (grey, &level) in self.of_pixel.iter_mut().zip(&self.levels) {
                *grey = u32::from(level);
            }
            return;
        }
        let (red, others) = self.levels.split_at(pixels);
        let (green, blue) = others.split_at(pixels);
        for (grey, ((&red, &green), &blue)) in self.of_pixel.iter_mut().zip(red.iter().zip(green).zip(blue)) {
            *grey = luma(red, green, blue);
        }
    }

    /// More (above 1) or less saturated colours; grey images have none.
    pub(super) fn color(&mut self, factor: f32) {
        if self.shape()[0] == 1 {
            return;
        }
        self.find_greys();
        let pixels = self.pixels();
        for plane in self.levels.chunks_exact_mut(pixels) {
            for (level, &grey) in plane.iter_mut().zip(&self.of_pixel) {
                *level = blend(grey as u8, *level, factor);
            }
        }
    }

    /// Away from (above 1) or towards a smoothed image: each level averaged with its eight neighbours, its own
    /// counting five times. The border is not smoothed, nor are images of less than 3x3.
    pub(super) fn sharpness(&mut self, factor: f32) {
        let [_, height, width] = self.shape();
        if height < 3 || width < 3 {
            return;
        }
        let pixels = height * width;
        self.spare.copy_from_slice(&self.levels);
        for (to, from) in self.spare.chunks_exact_mut(pixels).zip(self.levels.chunks_exact(pixels)) {
            for (row, to) in to.chunks_exact_mut(width).enumerate().skip(1).take(height - 2) {
                let rows = &from[(row - 1) * width..(row + 2) * width];
                let (above, rows) = rows.split_at(width);
                let (here, below) = rows.split_at(width);
                let to = &mut to[1..width - 1];
                let neighbours = above.windows(3).zip(here.windows(3)).zip(below.windows(3));
                for (level, ((above, here), below)) in to.iter_mut().zip(neighbours) {
                    let three = |levels: &[u8]| levels.iter().map(|&v| u16::from(v)).sum::<u16>();
                    let sum = three(above) + three(here) + three(below) + 4 * u16::from(here[1]);
                    // sum / 13, rounded. PIL computes it in float32; as no sum lies half-way, the result is the same.
                    *level = blend(((2 * sum + 13) / 26) as u8, *level, factor);
                }
            }
        }
        self.take_spare();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blending_truncates_and_clips() {
        assert_eq!(blend(10, 20, 0.0), 10);
        assert_eq!(blend(10, 20, 1.0), 20);
        assert_eq!(blend(10, 20, 0.39), 13);
        assert_eq!(blend(100, 200, 1.9), 255);
        assert_eq!(blend(200, 100, 2.5), 0);
    }

    #[test]
    fn white_is_white() {
        assert_eq!([luma(0, 0, 0), luma(255, 255, 255)], [0, 255]);
        assert_eq!([luma(255, 0, 0), luma(0, 255, 0), luma(0, 0, 255)], [76, 150, 29]);
    }

    #[test]
    fn a_single_bright_pixel_is_spread_or_sharpened() {
        let mut canvas = Canvas::new([1, 3, 3]).expect("grey");
        canvas.levels_mut()[4] = 130;
        let mut smooth = canvas.clone();
        smooth.sharpness(0.0);
        assert_eq!(smooth.levels(), [0, 0, 0, 0, 50, 0, 0, 0, 0]);
        canvas.sharpness(1.5);
        assert_eq!(canvas.levels()[4], 170);
        let mut thin = Canvas::new([1, 2, 5]).expect("grey");
        thin.levels_mut()[3] = 130;
        thin.sharpness(0.0);
        assert_eq!(thin.levels()[3], 130);
    }
}
