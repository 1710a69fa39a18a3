//! EDM's non-leaking augmentation: a random geometric transformation of a training image, and the nine numbers
//! that tell the network which one it was (so that nothing of it leaks into what is generated).
//!
//! Sources: "Elucidating the Design Space of Diffusion-Based Generative Models" (arXiv 2206.00364), appendix F.2,
//! for which transformations are drawn and how the network is told; "Training Generative Adversarial Networks with
//! Limited Data" (arXiv 2006.06676), appendix B, for how they are executed.
//!
//! Flips move pixels. Everything else is one affine map, executed without aliasing:
//!
//! 1. the image is continued by reflection, at most one mirror image on each side, and black beyond;
//! 2. upsampled 2x by the low-pass filter of the orthogonal wavelet sym6, so that sample `j` lies at pixel `j / 2`;
//! 3. read at the transformed positions by bilinear interpolation;
//! 4. downsampled 2x by the same filter, which undoes step 2 exactly where nothing was moved.
//!
//! An image for which nothing but flips was drawn skips these steps, with the same result.

use ddae_base::random::Stream;

/// Standard deviation of both scalings, in powers of two.
const SCALE_STD: f64 = 0.2;
/// Standard deviation of the translation, in image widths or heights.
const TRANSLATION_STD: f64 = 0.125;

/// What was drawn for one image. A transformation that was not enabled has the value that does nothing (0, `false`).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Draws {
    /// Mirror left and right.
    pub x_flip: bool,
    /// Mirror top and bottom.
    pub y_flip: bool,
    /// Isotropic scaling, a draw of N(0, 1): the image's content becomes `2^(0.2 scale)` times as large.
    pub scale: f64,
    /// Rotation in radians, in [-pi, pi), counter-clockwise as seen.
    pub rotation: f64,
    /// Anisotropic scaling, a draw of N(0, 1): `2^(0.2 aniso)` times along one axis and its inverse across.
    pub aniso: f64,
    /// Direction of that axis in radians, in [-pi, pi); half of the draws leave it at 0.
    pub aniso_angle: f64,
    /// Translation to the right and downwards, draws of N(0, 1) in units of 0.125 widths and heights.
    pub translation: [f64; 2],
}

impl Draws {
    /// Draws a transformation. The left-right flip is always enabled (and happens half of the time); each of the five
    /// others is enabled with `probability`. Takes the same count of numbers from `rng` whatever they turn out to be.
    pub fn random(probability: f64, rng: &mut Stream) -> Self {
        let angle = |rng: &mut Stream| (2.0 * rng.uniform() - 1.0) * std::f64::consts::PI;
        let x_flip = rng.chance(0.5);
        let (y_flip, y_enabled) = (rng.chance(0.5), rng.chance(probability));
        let (scale, scale_enabled) = (rng.normal(), rng.chance(probability));
        let (rotation, rotation_enabled) = (angle(rng), rng.chance(probability));
        let (aniso, aniso_angle) = (rng.normal(), angle(rng));
        let (aniso_enabled, aniso_rotated) = (rng.chance(probability), rng.chance(0.5));
        let (translation, translation_enabled) = ([rng.normal(), rng.normal()], rng.chance(probability));
        let when = |enabled: bool, value: f64| if enabled { value } else { 0.0 };
        Self {
            x_flip,
            y_flip: y_flip && y_enabled,
            scale: when(scale_enabled, scale),
            rotation: when(rotation_enabled, rotation),
            aniso: when(aniso_enabled, aniso),
            aniso_angle: when(aniso_enabled && aniso_rotated, aniso_angle),
            translation: translation.map(|t| when(translation_enabled, t)),
        }
    }

    /// The network's augmentation label: x-flip, y-flip, scale, cos(rotation) - 1, sin(rotation), aniso cos(angle),
    /// aniso sin(angle), translation right and down. All zeros mean "not augmented".
    pub fn label(&self) -> [f32; 9] {
        let (aniso_sin, aniso_cos) = self.aniso_angle.sin_cos();
        [
            f64::from(u8::from(self.x_flip)),
            f64::from(u8::from(self.y_flip)),
            self.scale,
            self.rotation.cos() - 1.0,
            self.rotation.sin(),
            self.aniso * aniso_cos,
            self.aniso * aniso_sin,
            self.translation[0],
            self.translation[1],
        ]
        .map(|value| value as f32)
    }

    /// Whether nothing but flips was drawn.
    fn only_flips(&self) -> bool {
        self.scale == 0.0 && self.rotation == 0.0 && self.aniso == 0.0 && self.translation == [0.0; 2]
    }

    /// The map from a position in the augmented image to the one it is read from, both in pixels relative to the
    /// centre of the middle of the image (x to the right, y downwards), for an image of `width` x `height`.
    fn inverse(&self, width: usize, height: usize) -> Affine {
        let scale = (-SCALE_STD * self.scale).exp2();
        let aniso = (-SCALE_STD * self.aniso).exp2();
        let shift = [width, height].map(|size| -TRANSLATION_STD * size as f64);
        Affine::scaling(scale, scale)
            .then(Affine::rotation(self.rotation))
            .then(Affine::rotation(-self.aniso_angle))
            .then(Affine::scaling(aniso, 1.0 / aniso))
            .then(Affine::rotation(self.aniso_angle))
            .then(Affine {
                offset: [shift[0] * self.translation[0], shift[1] * self.translation[1]],
                ..Affine::scaling(1.0, 1.0)
            })
    }
}

/// Draws a transformation and applies it to `image`, [C, H, W] in row-major order and any range whose zero is "black"
/// (EDM augments images in [-1, 1], so its black is mid-grey). `probability` is the config's `augment_prob`; at 0
/// only the left-right flip remains. Returns the image, in the same shape, and the label of [`Draws::label`].
///
/// # Panics
/// When `image` is not as long as `shape` says.
pub fn augment(image: &[f32], shape: [usize; 3], probability: f64, rng: &mut Stream) -> (Vec<f32>, [f32; 9]) {
    let draws = Draws::random(probability, rng);
    (apply(&draws, image, shape), draws.label())
}

/// Applies a given transformation to `image`, [C, H, W]; the result has the same shape.
///
/// # Panics
/// When `image` is not as long as `shape` says.
pub fn apply(draws: &Draws, image: &[f32], shape: [usize; 3]) -> Vec<f32> {
    let [channels, height, width] = shape;
    assert_eq!(image.len(), channels * height * width, "an image of shape {shape:?}");
    let mut flipped = image.to_vec();
    if image.is_empty() {
        return flipped;
    }
    if draws.x_flip {
        flipped.chunks_exact_mut(width).for_each(<[f32]>::reverse);
    }
    if draws.y_flip {
        for plane in flipped.chunks_exact_mut(height * width) {
            for y in 0..height / 2 {
                let (upper, lower) = plane.split_at_mut((height - 1 - y) * width);
                upper[y * width..][..width].swap_with_slice(&mut lower[..width]);
            }
        }
    }
    if draws.only_flips() {
        return flipped;
    }
    resample::transform(&flipped, shape, &draws.inverse(width, height))
}

/// `p -> linear p + offset` in the plane.
#[derive(Clone, Copy, Debug)]
struct Affine {
    linear: [[f64; 2]; 2],
    offset: [f64; 2],
}

impl Affine {
    fn scaling(x: f64, y: f64) -> Self {
        Self { linear: [[x, 0.0], [0.0, y]], offset: [0.0; 2] }
    }

    fn rotation(angle: f64) -> Self {
        let (sin, cos) = angle.sin_cos();
        Self { linear: [[cos, -sin], [sin, cos]], offset: [0.0; 2] }
    }

    /// The product `self * first`: `first` acts on a position before `self` does.
    fn then(self, first: Self) -> Self {
        let [a, b] = self.linear;
        let column = |j: usize| [a, b].map(|row| row[0] * first.linear[0][j] + row[1] * first.linear[1][j]);
        let (x, y) = (column(0), column(1));
        Self { linear: [[x[0], y[0]], [x[1], y[1]]], offset: self.at(first.offset) }
    }

    fn at(&self, [x, y]: [f64; 2]) -> [f64; 2] {
        let row = |i: usize| self.linear[i][0] * x + self.linear[i][1] * y + self.offset[i];
        [row(0), row(1)]
    }
}

mod resample;
#[cfg(test)]
mod tests;
