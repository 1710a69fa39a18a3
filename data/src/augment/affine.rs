//! Operations that move pixels: shear, translation and rotation, each pixel read from the nearest one (PIL's
//! `Image.transform` with `AFFINE` and `NEAREST`). What comes in from outside is black.

use super::Canvas;

/// Marks a pixel that is read from outside of the image: no plane has that many.
const OUTSIDE: u32 = u32::MAX;

/// Positions are counted in units of 2^-16 pixels (PIL's choice, for images of up to 32,768 pixels a side).
const FRACTION_BITS: u32 = 16;

/// PIL's conversion to fixed point: to the nearest unit, halves upwards.
fn fixed(value: f64) -> i64 {
    (value * f64::from(1u32 << FRACTION_BITS) + 0.5).floor() as i64
}

/// Python's `round(value, 15)`, as PIL does it with sines and cosines.
fn round_to_15_digits(value: f64) -> f64 {
    (value * 1e15).round() / 1e15
}

impl Canvas {
    /// Row `y` moves to the left by `slope * y` pixels.
    pub(super) fn shear_x(&mut self, slope: f64) {
        self.transform([1.0, slope, 0.0, 0.0, 1.0, 0.0]);
    }

    /// Column `x` moves up by `slope * x` pixels.
    pub(super) fn shear_y(&mut self, slope: f64) {
        self.transform([1.0, 0.0, 0.0, slope, 1.0, 0.0]);
    }

    /// Everything moves to the right and down by whole pixels.
    pub(super) fn translate(&mut self, right: f64, down: f64) {
        self.transform([1.0, 0.0, -right.trunc(), 0.0, 1.0, -down.trunc()]);
    }

    /// Turns the image around its centre, counter-clockwise as seen. PIL turns by multiples of 90 degrees in another
    /// way, so `degrees` must lie between -90 and 90.
    pub(super) fn rotate(&mut self, degrees: f64) {
        if degrees == 0.0 {
            return;
        }
        let [_, height, width] = self.shape();
        let (centre_x, centre_y) = (width as f64 / 2.0, height as f64 / 2.0);
        // PIL takes the angle modulo a turn before it converts it.
        let angle = -degrees.rem_euclid(360.0).to_radians();
        let (cos, sin) = (round_to_15_digits(angle.cos()), round_to_15_digits(angle.sin()));
        let x = cos * -centre_x + sin * -centre_y + centre_x;
        let y = -sin * -centre_x + cos * -centre_y + centre_y;
        self.transform([cos, sin, x, -sin, cos, y]);
    }

    /// The pixel at (x, y) becomes the one at (a x + b y + c, d x + e y + f), positions being those of pixel centres
    /// and the matrix [a, b, c, d, e, f].
    fn transform(&mut self, [a, b, c, d, e, f]: [f64; 6]) {
        let [_, height, width] = self.shape();
        // Where the first pixel of a row is read, and how that changes along the row and from row to row.
        let mut row_x = fixed(c + a * 0.5 + b * 0.5);
        let mut row_y = fixed(f + d * 0.5 + e * 0.5);
        let (along_x, down_x, along_y, down_y) = (fixed(a), fixed(b), fixed(d), fixed(e));
        for row in self.of_pixel.chunks_exact_mut(width) {
            let (mut x, mut y) = (row_x, row_y);
            for source in row {
                let (from_x, from_y) = (x >> FRACTION_BITS, y >> FRACTION_BITS);
                let inside = (0..width as i64).contains(&from_x) && (0..height as i64).contains(&from_y);
                *source = if inside { (from_y * width as i64 + from_x) as u32 } else { OUTSIDE };
                x += along_x;
                y += along_y;
            }
            row_x += down_x;
            row_y += down_y;
        }
        let pixels = self.pixels();
        for (to, from) in self.spare.chunks_exact_mut(pixels).zip(self.levels.chunks_exact(pixels)) {
            for (level, &source) in to.iter_mut().zip(&self.of_pixel) {
                *level = from.get(source as usize).copied().unwrap_or(0);
            }
        }
        self.take_spare();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canvas() -> Canvas {
        let mut canvas = Canvas::new([1, 3, 3]).expect("grey");
        canvas.levels_mut().copy_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8, 9]);
        canvas
    }

    #[test]
    fn translation_is_by_whole_pixels() {
        let mut moved = canvas();
        moved.translate(1.9, 0.0);
        assert_eq!(moved.levels(), [0, 1, 2, 0, 4, 5, 0, 7, 8]);
        moved.translate(0.0, -1.2);
        assert_eq!(moved.levels(), [0, 4, 5, 0, 7, 8, 0, 0, 0]);
        moved.translate(0.0, 3.0);
        assert_eq!(moved.levels(), [0; 9]);
    }

    #[test]
    fn a_shear_leaves_the_upper_left_corner() {
        let mut sheared = canvas();
        sheared.shear_x(1.0);
        // The centre of row y is half a pixel further down than its upper edge, where the shear begins.
        assert_eq!(sheared.levels(), [2, 3, 0, 6, 0, 0, 0, 0, 0]);
        let mut sheared = canvas();
        sheared.shear_y(-0.5);
        assert_eq!(sheared.levels(), [1, 0, 0, 4, 2, 3, 7, 5, 6]);
    }

    #[test]
    fn a_rotation_keeps_the_centre() {
        let mut turned = canvas();
        turned.rotate(45.0);
        assert_eq!(turned.levels(), [2, 3, 6, 1, 5, 9, 4, 7, 8]);
    }
}
