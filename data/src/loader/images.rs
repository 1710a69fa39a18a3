use ddae_base::random::Purpose;
use ddae_model::config::ChannelStatistics;

use super::{Loader, LoaderOptions, Prepare};
use crate::augment::{Augmentation, Augmenter, ImageKey, Normaliser};
use crate::datasets::DataError;
use crate::edm_augment;
use crate::interleave::interleave;
use crate::split::Split;

/// The images of a batch of diffusion training.
#[derive(Clone, Debug, PartialEq)]
pub enum Images {
    /// Levels in 0..=255, [B, H, W, C].
    Bytes(Vec<u8>),
    /// After EDM's augmentation.
    Edm {
        /// [B, C, H, W] in [0, 1]; the augmentation resamples, and may leave that range a little.
        images: Vec<f32>,
        /// What was done to each image, [B, 9].
        labels: Vec<f32>,
    },
}

impl Loader<Images> {
    /// Starts reading images for diffusion training; with `edm`, EDM's augmentation follows the other, each of its
    /// transformations with this probability (0.12 as published).
    ///
    /// # Errors
    /// When an option makes no sense: an empty batch, a start beyond the last batch, a padding larger than the images, a
    /// probability outside [0, 1].
    pub fn images(
        split: &Split,
        options: &LoaderOptions,
        augmentation: Augmentation,
        edm: Option<f64>,
    ) -> Result<Loader<Images>, DataError> {
        if let Some(p) = edm.filter(|p| !(0.0..=1.0).contains(p)) {
            let message = format!("an augmentation probability of {p}: it must lie between 0 and 1");
            return Err(DataError::Argument(message));
        }
        let images = match edm {
            None => Images::Bytes(vec![]),
            Some(_) => Images::Edm { images: vec![], labels: vec![] },
        };
        let (shape, probability) = (split.shape(), edm.unwrap_or_default());
        let augmenter = Augmenter::new(augmentation, shape)?;
        Loader::start(split, options, Training { shape, augmenter, probability, images })
    }
}

#[derive(Clone)]
struct Training {
    shape: [usize; 3],
    augmenter: Augmenter,
    /// Of EDM's augmentation.
    probability: f64,
    images: Images,
}

impl Prepare for Training {
    type Images = Images;

    fn add(&mut self, levels: &mut [u8], key: ImageKey) {
        self.augmenter.apply(levels, &mut key.stream(Purpose::Augment));
        match &mut self.images {
            Images::Bytes(pixels) => interleave(levels, self.shape[0], pixels),
            Images::Edm { images, labels } => {
                // In [-1, 1], as published: what comes in from beyond the mirror images is 0 there, a middle grey.
                let image: Vec<f32> = levels.iter().map(|&v| f32::from(v) / 127.5 - 1.0).collect();
                let mut rng = key.stream(Purpose::EdmAugment);
                let (image, label) = edm_augment::augment(&image, self.shape, self.probability, &mut rng);
                images.extend(image.iter().map(|v| (v + 1.0) / 2.0));
                labels.extend(label);
            }
        }
    }

    fn finish(self) -> Images {
        self.images
    }
}

impl Loader<Vec<f32>> {
    /// Starts reading images as encoders and classifiers see them: normalised by `statistics`, [B, C, H, W].
    ///
    /// # Errors
    /// As [`Loader::images`], and when the statistics are for other channels.
    pub fn normalised(
        split: &Split,
        options: &LoaderOptions,
        augmentation: Augmentation,
        statistics: &ChannelStatistics,
    ) -> Result<Loader<Vec<f32>>, DataError> {
        let augmenter = Augmenter::new(augmentation, split.shape())?;
        let normaliser = Normaliser::new(split.shape()[0], statistics)?;
        Loader::start(split, options, Normalised { augmenter, normaliser, images: vec![] })
    }
}

#[derive(Clone)]
struct Normalised {
    augmenter: Augmenter,
    normaliser: Normaliser,
    images: Vec<f32>,
}

impl Prepare for Normalised {
    type Images = Vec<f32>;

    fn add(&mut self, levels: &mut [u8], key: ImageKey) {
        self.augmenter.apply(levels, &mut key.stream(Purpose::Augment));
        self.normaliser.append(levels, &mut self.images);
    }

    fn finish(self) -> Vec<f32> {
        self.images
    }
}
