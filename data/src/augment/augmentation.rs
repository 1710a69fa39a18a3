use ddae_base::random::Stream;

use super::{Canvas, ResizedCrop, random_crop, random_flip};
use crate::datasets::DataError;

/// Probability of a resized crop.
const RESIZED_CROP: f64 = 0.65;

/// How the levels of an image vary from epoch to epoch, or view to view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Augmentation {
    /// Of classifiers and diffusion models: [`random_crop`], then [`random_flip`].
    Crop {
        /// Zeros on every side of which crops are taken; none for no crop.
        padding: Option<usize>,
        /// Whether images are mirrored at random.
        flip: bool,
    },
    /// Of the training images that SODA's features are probed with: with probability 0.65 a [`ResizedCrop`], then
    /// mirrored with probability 1/2.
    ResizedCrop,
}

impl Augmentation {
    /// Images as they are.
    pub const NONE: Augmentation = Augmentation::Crop { padding: None, flip: false };
}

/// Applies an [`Augmentation`] to images of one shape.
///
/// Clones share the filter weights; each thread needs a clone of its own.
#[derive(Clone, Debug)]
pub struct Augmenter {
    shape: [usize; 3],
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Crop { padding: Option<usize>, flip: bool },
    Resized(ResizedCrop, Canvas),
}

impl Augmenter {
    /// For images of `shape` = [C, H, W].
    ///
    /// # Errors
    /// When there is more padding than image; and for resized crops, when there are neither 1 nor 3 channels, or no
    /// pixels.
    pub fn new(augmentation: Augmentation, shape: [usize; 3]) -> Result<Augmenter, DataError> {
        let [_, height, width] = shape;
        let kind = match augmentation {
            Augmentation::Crop { padding: Some(padding), .. } if padding > height.min(width) => {
                return Err(DataError::Argument(format!(
                    "a crop padding of {padding} is more than the images' {height}x{width}"
                )));
            }
            Augmentation::Crop { padding, flip } => Kind::Crop { padding, flip },
            Augmentation::ResizedCrop => Kind::Resized(ResizedCrop::new(height, width), Canvas::new(shape)?),
        };
        Ok(Augmenter { shape, kind })
    }

    /// Changes an image in place, or leaves it as it is.
    ///
    /// # Panics
    /// When `image` does not have the length of the shape.
    pub fn apply(&mut self, image: &mut [u8], rng: &mut Stream) {
        match &mut self.kind {
            Kind::Crop { padding, flip } => {
                if let Some(padding) = *padding {
                    random_crop(image, self.shape, padding, rng);
                }
                if *flip {
                    random_flip(image, self.shape, rng);
                }
            }
            Kind::Resized(crop, canvas) => {
                if rng.chance(RESIZED_CROP) {
                    canvas.levels_mut().copy_from_slice(image);
                    crop.random(canvas, rng);
                    image.copy_from_slice(canvas.levels());
                    random_flip(image, self.shape, rng);
                }
            }
        }
    }
}
