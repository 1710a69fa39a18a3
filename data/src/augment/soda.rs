//! SODA's views of a training image: a source that the encoder sees, and a target that is generated from it.
//!
//! Each view is drawn for itself: with probability 0.95 a resized crop, then mirrored with probability 1/2; with
//! probability 0.65 RandAugment. The source is normalised and gets noise; the target stays levels.

use ddae_model::config::{ChannelStatistics, SodaAugmentation};

use super::{Canvas, ImageKey, Normaliser, RandAugment, ResizedCrop, random_flip};
use crate::datasets::DataError;
use ddae_base::random::{Purpose, Stream};

/// Probability of the resized crop of a view.
const CROP: f64 = 0.95;
/// Probability of RandAugment.
const RAND_AUGMENT: f64 = 0.65;
/// Standard deviation of the noise on a source, after normalisation.
const NOISE_STD: f32 = 0.1;

/// Makes source and target of images of one shape.
///
/// Clones share the filter weights; each thread needs a clone of its own.
#[derive(Clone, Debug)]
pub struct SodaViews {
    canvas: Canvas,
    crop: ResizedCrop,
    rand_augment: RandAugment,
    normaliser: Normaliser,
    augment_target: bool,
}

impl SodaViews {
    /// For images of `shape` = [C, H, W], sources normalised by `statistics`. Without `augment_target` the target is
    /// the image as it is.
    ///
    /// # Errors
    /// When there are neither 1 nor 3 channels, no pixels, or not as many statistics as channels.
    pub fn new(
        shape: [usize; 3],
        statistics: &ChannelStatistics,
        augmentation: SodaAugmentation,
    ) -> Result<SodaViews, DataError> {
        let canvas = Canvas::new(shape)?;
        let [channels, height, width] = shape;
        Ok(SodaViews {
            canvas,
            crop: ResizedCrop::new(height, width).with_area(augmentation.crop_area),
            rand_augment: RandAugment::new(height, width),
            normaliser: Normaliser::new(channels, statistics)?,
            augment_target: augmentation.augment_target,
        })
    }

    /// Appends the source of the image with these `levels` [C, H, W]: normalised, with noise.
    ///
    /// # Panics
    /// When `levels` has another shape.
    pub fn source(&mut self, levels: &[u8], key: ImageKey, out: &mut Vec<f32>) {
        let mut rng = key.stream(Purpose::SodaSource);
        self.augment(levels, &mut rng);
        let first = out.len();
        self.normaliser.append(self.canvas.levels(), out);
        add_noise(&mut out[first..], &mut rng);
    }

    /// The target of the image with these `levels` [C, H, W], likewise.
    ///
    /// # Panics
    /// When `levels` has another shape.
    pub fn target(&mut self, levels: &[u8], key: ImageKey) -> &[u8] {
        if self.augment_target {
            self.augment(levels, &mut key.stream(Purpose::SodaTarget));
        } else {
            self.canvas.levels_mut().copy_from_slice(levels);
        }
        self.canvas.levels()
    }

    /// Draws a view of an image on the canvas.
    fn augment(&mut self, levels: &[u8], rng: &mut Stream) {
        let canvas = &mut self.canvas;
        canvas.levels_mut().copy_from_slice(levels);
        if rng.chance(CROP) {
            self.crop.random(canvas, rng);
            let shape = canvas.shape();
            random_flip(canvas.levels_mut(), shape, rng);
        }
        if rng.chance(RAND_AUGMENT) {
            self.rand_augment.apply(canvas, rng);
        }
    }
}

/// Adds N(0, 0.1^2) to every number.
fn add_noise(numbers: &mut [f32], rng: &mut Stream) {
    let mut noise = [0f32; 256];
    for numbers in numbers.chunks_mut(noise.len()) {
        let noise = &mut noise[..numbers.len()];
        rng.fill_normal(noise);
        for (number, noise) in numbers.iter_mut().zip(noise) {
            *number += NOISE_STD * *noise;
        }
    }
}
