use super::{Canvas, ResizedCrop, random_flip};
use crate::datasets::DataError;
use ddae_base::random::Stream;

/// Probability that an image is cropped at all.
const PROBABILITY: f64 = 0.65;

/// How training images vary where SODA's features are probed: with probability 0.65 a resized crop, then mirrored
/// with probability 1/2. Test images stay as they are; both are normalised ([`super::Normaliser`]).
///
/// Clones share the filter weights; each thread needs a clone of its own.
#[derive(Clone, Debug)]
pub struct DownstreamCrop {
    crop: ResizedCrop,
    canvas: Canvas,
}

impl DownstreamCrop {
    /// For images of `shape` = [C, H, W].
    ///
    /// # Errors
    /// When there are neither 1 nor 3 channels, or no pixels.
    pub fn new(shape: [usize; 3]) -> Result<DownstreamCrop, DataError> {
        let canvas = Canvas::new(shape)?;
        Ok(DownstreamCrop { crop: ResizedCrop::new(shape[1], shape[2]), canvas })
    }

    /// Changes an image in place, or leaves it as it is.
    ///
    /// # Panics
    /// When `image` does not have the length of the shape.
    pub fn apply(&mut self, image: &mut [u8], rng: &mut Stream) {
        if rng.chance(PROBABILITY) {
            self.canvas.levels_mut().copy_from_slice(image);
            self.crop.random(&mut self.canvas, rng);
            image.copy_from_slice(self.canvas.levels());
            random_flip(image, self.canvas.shape(), rng);
        }
    }
}
