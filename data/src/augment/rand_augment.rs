//! RandAugment (arXiv 1909.13719) with torchvision's fourteen operations, as it applies them to PIL images.

use super::Canvas;
use ddae_base::random::Stream;

/// One of RandAugment's operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Nothing.
    Identity,
    /// Rows move sideways; magnitude: pixels a row.
    ShearX,
    /// Columns move up or down; magnitude: pixels a column.
    ShearY,
    /// Everything moves sideways; magnitude: pixels to the right, of which whole ones count.
    TranslateX,
    /// Everything moves up or down; magnitude: pixels down, of which whole ones count.
    TranslateY,
    /// The image turns around its centre; magnitude: degrees, between -90 and 90.
    Rotate,
    /// Brighter or darker; magnitude: 0 changes nothing, -1 is black.
    Brightness,
    /// More or less saturated; magnitude: 0 changes nothing, -1 is grey.
    Color,
    /// More or less contrast; magnitude: 0 changes nothing, -1 is the mean grey everywhere.
    Contrast,
    /// Sharper or smoother; magnitude: 0 changes nothing, -1 is the smoothed image.
    Sharpness,
    /// Fewer levels; magnitude: bits that are kept.
    Posterize,
    /// Inverts bright levels; magnitude: the first level that is inverted.
    Solarize,
    /// Stretches the levels of each channel to 0..=255; without magnitude.
    AutoContrast,
    /// Makes the levels of each channel equally frequent; without magnitude.
    Equalize,
}

impl Operation {
    /// All of them, in torchvision's order.
    pub const ALL: [Operation; 14] = [
        Operation::Identity,
        Operation::ShearX,
        Operation::ShearY,
        Operation::TranslateX,
        Operation::TranslateY,
        Operation::Rotate,
        Operation::Brightness,
        Operation::Color,
        Operation::Contrast,
        Operation::Sharpness,
        Operation::Posterize,
        Operation::Solarize,
        Operation::AutoContrast,
        Operation::Equalize,
    ];

    /// Whether RandAugment gives the magnitude a random sign.
    pub fn is_signed(self) -> bool {
        use Operation::*;
        matches!(
            self,
            ShearX | ShearY | TranslateX | TranslateY | Rotate | Brightness | Color | Contrast | Sharpness
        )
    }

    /// The magnitude, without sign, that RandAugment takes for an image of `height` x `width`: number
    /// [`RandAugment::MAGNITUDE`] of [`RandAugment::BINS`]. 0 for operations that have none.
    pub fn magnitude(self, height: usize, width: usize) -> f64 {
        // 150 of 331 pixels: the policy was found on images of that size.
        let of_side = |side: usize| 150.0 / 331.0 * side as f64;
        match self {
            Operation::Identity | Operation::AutoContrast | Operation::Equalize => 0.0,
            Operation::ShearX | Operation::ShearY => bin(0.0, 0.3),
            Operation::TranslateX => bin(0.0, of_side(width)),
            Operation::TranslateY => bin(0.0, of_side(height)),
            Operation::Rotate => bin(0.0, 30.0),
            Operation::Brightness | Operation::Color | Operation::Contrast | Operation::Sharpness => {
                bin(0.0, 0.9)
            }
            // From 8 bits down to 4.
            Operation::Posterize => {
                let steps_per_bit = (RandAugment::BINS - 1) as f32 / 4.0;
                f64::from(8.0 - (RandAugment::MAGNITUDE as f32 / steps_per_bit).round_ties_even())
            }
            Operation::Solarize => bin(255.0, 0.0),
        }
    }
}

/// The magnitude among [`RandAugment::BINS`] that lie evenly from `first` to `last`, in float32 as torchvision
/// computes them.
fn bin(first: f64, last: f64) -> f64 {
    let (first, last) = (first as f32, last as f32);
    let step = (last - first) / (RandAugment::BINS - 1) as f32;
    f64::from(first + step * RandAugment::MAGNITUDE as f32)
}

impl Canvas {
    /// Applies an operation; [`Operation`] says what its magnitude means.
    pub fn apply(&mut self, operation: Operation, magnitude: f64) {
        // 1 + magnitude, rounded once, as Python's number reaches PIL.
        let factor = (1.0 + magnitude) as f32;
        match operation {
            Operation::Identity => {}
            Operation::ShearX => self.shear_x(magnitude),
            Operation::ShearY => self.shear_y(magnitude),
            Operation::TranslateX => self.translate(magnitude, 0.0),
            Operation::TranslateY => self.translate(0.0, magnitude),
            Operation::Rotate => self.rotate(magnitude),
            Operation::Brightness => self.brightness(factor),
            Operation::Color => self.color(factor),
            Operation::Contrast => self.contrast(factor),
            Operation::Sharpness => self.sharpness(factor),
            Operation::Posterize => self.posterize(magnitude as u32),
            Operation::Solarize => self.solarize(magnitude),
            Operation::AutoContrast => self.auto_contrast(),
            Operation::Equalize => self.equalize(),
        }
    }
}

/// Two operations drawn at random, with the same strength for all images.
#[derive(Clone, Debug, PartialEq)]
pub struct RandAugment {
    /// By [`Operation::ALL`].
    magnitudes: [f64; 14],
}

impl RandAugment {
    /// Operations that an image gets, one after the other.
    pub const OPERATIONS: usize = 2;
    /// Which magnitude they have, counted from 0,
    pub const MAGNITUDE: usize = 9;
    /// among this many.
    pub const BINS: usize = 31;

    /// For images of `height` x `width`.
    pub fn new(height: usize, width: usize) -> RandAugment {
        RandAugment { magnitudes: Operation::ALL.map(|operation| operation.magnitude(height, width)) }
    }

    /// An operation, each equally likely, and its magnitude, with a random sign where it has one.
    pub fn draw(&self, rng: &mut Stream) -> (Operation, f64) {
        let number = rng.below(Operation::ALL.len() as u64) as usize;
        let (operation, magnitude) = (Operation::ALL[number], self.magnitudes[number]);
        let negative = operation.is_signed() && rng.chance(0.5);
        (operation, if negative { -magnitude } else { magnitude })
    }

    /// Draws and applies [`RandAugment::OPERATIONS`] operations.
    pub fn apply(&self, canvas: &mut Canvas, rng: &mut Stream) {
        for _ in 0..Self::OPERATIONS {
            let (operation, magnitude) = self.draw(rng);
            canvas.apply(operation, magnitude);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ddae_base::random::{Purpose, stream};

    #[test]
    fn every_operation_and_both_signs_are_drawn() {
        let augment = RandAugment::new(32, 48);
        let mut counts = [[0u32; 2]; 14];
        let mut rng = stream(0, Purpose::Preview, 0, 0);
        for _ in 0..28_000 {
            let (operation, magnitude) = augment.draw(&mut rng);
            assert_eq!(magnitude.abs(), operation.magnitude(32, 48));
            counts[operation as usize][usize::from(magnitude.is_sign_negative())] += 1;
        }
        for (operation, [positive, negative]) in Operation::ALL.into_iter().zip(counts) {
            assert_eq!(negative > 0, operation.is_signed(), "{operation:?}");
            assert!((1800..2200).contains(&(positive + negative)), "{operation:?}");
            assert!(!operation.is_signed() || positive.abs_diff(negative) < 200, "{operation:?}");
        }
    }

    #[test]
    fn translations_follow_the_side_along_which_they_go() {
        let of = |operation: Operation| operation.magnitude(32, 64);
        assert_eq!(of(Operation::TranslateX), 2.0 * of(Operation::TranslateY));
    }
}
