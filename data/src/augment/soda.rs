//! SODA's views of a training image: a source that the encoder sees, and a target that is generated from it.
//!
//! Each view is drawn for itself: with probability 0.95 a resized crop, then mirrored with probability 1/2; with
//! probability 0.65 RandAugment. The source is normalised and gets noise; the target lies in [0, 1].

use ddae_model::config::{ChannelStatistics, SodaAugmentation};

use super::{Canvas, Normaliser, RandAugment, ResizedCrop, random_flip};
use crate::datasets::DataError;
use ddae_base::random::{Purpose, Stream, stream};

/// Probability of the resized crop of a view.
const CROP: f64 = 0.95;
/// Probability of RandAugment.
const RAND_AUGMENT: f64 = 0.65;
/// Standard deviation of the noise on a source, after normalisation.
const NOISE_STD: f32 = 0.1;

/// What decides every draw for an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ImageKey {
    /// Seed of the run.
    pub seed: u64,
    /// Epoch.
    pub epoch: u64,
    /// Id of the image in its whole split ([`crate::Split::id`]).
    pub id: u64,
}

impl ImageKey {
    fn stream(self, purpose: Purpose) -> Stream {
        stream(self.seed, purpose, self.id, self.epoch)
    }
}

/// Makes source and target of images of one shape.
#[derive(Clone, Debug)]
pub struct SodaViews {
    /// As every thread's begins.
    canvas: Canvas,
    crop: ResizedCrop,
    rand_augment: RandAugment,
    source: Normaliser,
    target: Normaliser,
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
            source: Normaliser::new(channels, statistics)?,
            target: Normaliser::to_unit(channels),
            augment_target: augmentation.augment_target,
        })
    }

    /// A canvas for [`SodaViews::source`] and [`SodaViews::target`]: every thread needs its own.
    pub fn canvas(&self) -> Canvas {
        self.canvas.clone()
    }

    /// Appends the source of the image with these `levels` [C, H, W]: normalised, with noise.
    ///
    /// # Panics
    /// When `levels` or `canvas` has another shape.
    pub fn source(&self, levels: &[u8], key: ImageKey, canvas: &mut Canvas, out: &mut Vec<f32>) {
        let mut rng = key.stream(Purpose::SodaSource);
        canvas.levels_mut().copy_from_slice(levels);
        self.augment(canvas, &mut rng);
        let first = out.len();
        self.source.append(canvas.levels(), out);
        add_noise(&mut out[first..], &mut rng);
    }

    /// Appends the target of the image with these `levels` [C, H, W]: in [0, 1].
    ///
    /// # Panics
    /// When `levels` or `canvas` has another shape.
    pub fn target(&self, levels: &[u8], key: ImageKey, canvas: &mut Canvas, out: &mut Vec<f32>) {
        if !self.augment_target {
            return self.target.append(levels, out);
        }
        canvas.levels_mut().copy_from_slice(levels);
        self.augment(canvas, &mut key.stream(Purpose::SodaTarget));
        self.target.append(canvas.levels(), out);
    }

    fn augment(&self, canvas: &mut Canvas, rng: &mut Stream) {
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
