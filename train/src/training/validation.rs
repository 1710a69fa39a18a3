//! The loss on images that are not trained on.
//!
//! It is measured on the average of the weights, which is what is exported, in evaluation mode, and on the same images with the
//! same noise at the same noise levels every time, so that nothing but the weights moves it. Draws are keyed by images alone:
//! those of training stay what they are, and runs that differ in their seed are measured alike. Noise levels are spread evenly
//! over the distribution of training, so that few images tell much.
//!
//! It costs a forward pass for each image, a third of what a step of training spends on one.

use std::ops::Range;

use ddae_base::random::{Purpose, Stream, stream};
use ddae_data::interleave::interleave;
use ddae_data::{DataError, Split};
use ddae_model::config::TrainingConfig;
use ddae_model::diffusion::loss_graph;
use tch::{Kind, Tensor};

use super::method::{Method, Place};
use super::plan::TrainingPlan;
use crate::TrainError;
use crate::ranks::Division;
use crate::torch::{Mode, Network, Parameters, Precision, TorchError};

/// The most images unless another number is asked for, ...
const MOST_IMAGES: usize = 1024;
/// ... and how many must be trained on for each.
const TRAINED_FOR_EACH: usize = 16;
/// Epochs between two measurements unless another number is asked for.
const DEFAULT_EVERY: u64 = 1;
/// The seed of what is held out and drawn here: no run's, so that all have the same.
const SEED: u64 = 0;

/// Variants of [`Purpose::Validation`].
const NOISE: u64 = 0;
const MASK: u64 = 1;
const CHOICE: u64 = 2;
const ORDER: u64 = 3;

/// The images to train on, and those that the configuration holds out of them.
///
/// # Errors
/// When one of the parts would be empty.
pub(super) fn hold_out(
    training: &TrainingConfig,
    train: &Split,
) -> Result<(Split, Option<Split>), DataError> {
    match training.hold_out {
        None => Ok((train.clone(), None)),
        Some(share) => train.hold_out(share, SEED).map(|(fit, held)| (fit, Some(held))),
    }
}

/// What a validation loss is of, and how often it is measured.
#[derive(Clone, Debug)]
pub struct ValidationPlan {
    /// The images.
    pub images: Split,
    /// Epochs between two measurements, at least 1.
    pub every: u64,
}

impl ValidationPlan {
    /// Some of the images of `unseen`, which are not trained on, for a run on `train`. `None` where the configuration wants no
    /// such loss, or there are no such images.
    ///
    /// # Errors
    /// When the configuration wants more images than there are.
    pub fn new(
        training: &TrainingConfig,
        train: &Split,
        unseen: &Split,
    ) -> Result<Option<ValidationPlan>, TrainError> {
        let every = training.validate_every.unwrap_or(DEFAULT_EVERY);
        if every == 0 || unseen.is_empty() {
            return Ok(None);
        }
        let count = match training.validation_images {
            Some(wanted) if wanted > unseen.len() => {
                let (name, count) = (unseen.name(), unseen.len());
                return Err(TrainError::Argument(format!(
                    "validation_images is {wanted}, but {name} has only {count} images: set at most {count}"
                )));
            }
            Some(wanted) => wanted,
            None => MOST_IMAGES.min(train.len().div_ceil(TRAINED_FOR_EACH)).clamp(1, unseen.len()),
        };
        // Data sets are often in the order of their classes.
        let mut positions: Vec<usize> = (0..unseen.len()).collect();
        stream(SEED, Purpose::Validation, 0, CHOICE).shuffle(&mut positions);
        positions.truncate(count);
        positions.sort_unstable();
        Ok(Some(ValidationPlan { images: unseen.subset(&positions)?, every }))
    }

    /// Why there is no such loss although nobody has switched it off.
    pub fn missing(training: &TrainingConfig, unseen: &Split) -> Option<String> {
        let wanted = training.validate_every.unwrap_or(DEFAULT_EVERY) > 0;
        let note = "no validation loss: the data set has no test images; --hold-out 0.05 keeps one in 20 of the training \
                    images for it";
        (wanted && unseen.is_empty()).then(|| note.to_string())
    }

    /// Whether the loss is measured after so many of `epochs` epochs: before training, after the last one, and every so often.
    pub fn is_due(&self, epoch: u64, epochs: u64) -> bool {
        epoch == epochs || epoch.is_multiple_of(self.every)
    }

    /// The same in words, with its cost for a run of so many images an epoch, which keeps an average of its weights or none.
    pub fn describe(&self, images_per_epoch: u64, ema: f64) -> String {
        let (count, name) = (self.images.len(), self.images.name());
        let every = match self.every {
            1 => "every epoch".to_string(),
            epochs => format!("every {epochs} epochs"),
        };
        // A step computes a forward pass, and a backward pass that is worth two.
        let share = 100.0 * count as f64 / (3.0 * images_per_epoch as f64 * self.every as f64);
        let weights = if ema == 0.0 { "weights" } else { "EMA" };
        format!(
            "{every}: loss of the {weights} on {count} images of {name}, {share:.1} % of the work of training"
        )
    }
}

/// Some of the images of a validation loss, with what is drawn for each of them: the same whenever it is asked for.
#[derive(Debug)]
pub struct FixedImages<'a> {
    images: &'a Split,
    positions: Range<usize>,
    /// Of all images.
    quantiles: &'a [f64],
}

impl<'a> FixedImages<'a> {
    /// The images at `positions`, with their noise levels at `quantiles`, of which there is one for each image of `images`.
    pub(crate) fn of(images: &'a Split, positions: Range<usize>, quantiles: &'a [f64]) -> FixedImages<'a> {
        FixedImages { images, positions, quantiles }
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.positions.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.positions.is_empty()
    }

    /// What tells each image from the others of its data set.
    pub fn ids(&self) -> impl Iterator<Item = u64> + '_ {
        self.positions.clone().map(|position| self.images.id(position))
    }

    /// The classes, `[B]`.
    pub fn labels(&self) -> Vec<i64> {
        self.positions.clone().map(|position| self.images.label(position) as i64).collect()
    }

    /// Reads one image after the other: its id and its levels `[C, H, W]`.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn read(&self, mut each: impl FnMut(u64, &[u8])) -> Result<(), DataError> {
        let mut levels = vec![0; self.images.image_len()];
        for position in self.positions.clone() {
            self.images.read(position, &mut levels)?;
            each(self.images.id(position), &levels);
        }
        Ok(())
    }

    /// The images as bytes, `[B, H, W, C]`.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn pixels(&self) -> Result<Vec<u8>, DataError> {
        let channels = self.images.shape()[0];
        let mut pixels = Vec::with_capacity(self.len() * self.images.image_len());
        self.read(|_, levels| interleave(levels, channels, &mut pixels))?;
        Ok(pixels)
    }

    /// Where each image's noise level lies in the distribution of noise levels, in (0, 1).
    pub fn quantiles(&self) -> &[f64] {
        &self.quantiles[self.positions.clone()]
    }

    /// Standard normal noise, `[B, C, H, W]`.
    pub fn noise(&self) -> Vec<f32> {
        let size = self.images.image_len();
        let mut noise = vec![0.0; self.len() * size];
        for (noise, id) in noise.chunks_exact_mut(size).zip(self.ids()) {
            stream(SEED, Purpose::Validation, id, NOISE).fill_normal(noise);
        }
        noise
    }

    /// The streams that decide what is hidden of the images' latents.
    pub fn mask_streams(&self) -> impl Iterator<Item = Stream> + '_ {
        self.ids().map(|id| stream(SEED, Purpose::Validation, id, MASK))
    }
}

/// The middles of `count` equal parts of (0, 1), in an order that has nothing to do with that of images.
pub(crate) fn quantiles(count: usize) -> Vec<f64> {
    let mut order: Vec<usize> = (0..count).collect();
    stream(SEED, Purpose::Validation, 0, ORDER).shuffle(&mut order);
    order.into_iter().map(|part| (part as f64 + 0.5) / count as f64).collect()
}

/// Measures validation losses. Nothing of it is part of the steps that a GPU records.
#[derive(Debug)]
pub(crate) struct Validation {
    plan: ValidationPlan,
    network: Network,
    precision: Precision,
    /// Images at a time.
    batch: usize,
    quantiles: Vec<f64>,
}

impl Validation {
    /// That of a plan, if it has one.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn new(plan: &TrainingPlan, place: Place) -> Result<Option<Validation>, TrainError> {
        let Some(validation) = &plan.validation else { return Ok(None) };
        // EDM's augmentation, for which training resamples images, is left out.
        let graph = loss_graph(&plan.config, true)?;
        Ok(Some(Validation {
            plan: validation.clone(),
            network: Network::new(&graph, place.device, Kind::Float, place.layout)?,
            precision: place.precision,
            batch: plan.batch.pass,
            quantiles: quantiles(validation.images.len()),
        }))
    }

    /// What it is of.
    pub fn plan(&self) -> &ValidationPlan {
        &self.plan
    }

    /// The mean loss of the images with these weights, of which every rank computes a part and rank 0 gets all: no number on the others,
    /// and it may be none there. `None` if the run was to stop.
    ///
    /// # Errors
    /// When an image cannot be read, libtorch's, and when another rank does not answer.
    pub fn loss(
        &self,
        method: &impl Method,
        weights: &Parameters,
        among: Division,
    ) -> Result<Option<f64>, TrainError> {
        let mean = |losses: Vec<f64>| {
            // Batch by batch, whoever computed them.
            let sum: f64 = losses.chunks(self.batch).map(|of_batch| of_batch.iter().sum::<f64>()).sum();
            sum / losses.len() as f64
        };
        let of_part = |part| self.losses(method, weights, part, among);
        Ok(among.gathered([self.plan.images.len(), 1], self.batch, of_part)?.map(mean))
    }

    /// The losses of the images at `positions`. `None` if this rank was to stop.
    fn losses(
        &self,
        method: &impl Method,
        weights: &Parameters,
        positions: Range<usize>,
        among: Division,
    ) -> Result<Option<Vec<f64>>, TrainError> {
        let mode = Mode { train: false, precision: self.precision };
        let mut found = Vec::with_capacity(positions.len());
        for first in positions.clone().step_by(self.batch) {
            if among.is_stopped() {
                return Ok(None);
            }
            let positions = first..(first + self.batch).min(positions.end);
            let part = FixedImages::of(&self.plan.images, positions, &self.quantiles);
            let inputs = method.fixed_inputs(&part)?;
            let inputs: Vec<(&str, &Tensor)> = inputs.iter().map(|(name, tensor)| (*name, tensor)).collect();
            let losses = tch::no_grad(|| self.network.forward(weights, &inputs, mode))?;
            let losses = losses[0].f_to_kind(Kind::Double).and_then(|losses| Vec::<f64>::try_from(&losses));
            found.extend(losses.map_err(|e| TorchError::at("validation loss", e))?);
        }
        Ok(Some(found))
    }
}

#[cfg(test)]
mod tests {
    use ddae_model::config::{Config, Override};

    use super::*;

    /// `count` images of one pixel, in two classes, one after the other.
    fn split(name: &str, count: usize) -> Split {
        let labels = (0..count).map(|i| u32::from(i >= count / 2)).collect();
        let levels = (0..count).map(|i| (i % 256) as u8).collect();
        let classes = vec!["a".to_string(), "b".to_string()];
        Split::in_memory(name, classes, labels, [1, 1, 1], levels).expect("a split")
    }

    fn training(set: &[&str]) -> TrainingConfig {
        let set: Vec<Override> = set.iter().map(|text| text.parse().expect("key=value")).collect();
        let demo = include_str!("../../../configs/demo.yaml");
        Config::parse(demo, "demo.yaml", &set).expect("a configuration").training
    }

    fn plan(set: &[&str], train: usize, unseen: usize) -> Option<ValidationPlan> {
        let planned = ValidationPlan::new(&training(set), &split("train", train), &split("test", unseen));
        planned.expect("a plan")
    }

    fn ids(plan: &ValidationPlan) -> Vec<u64> {
        (0..plan.images.len()).map(|position| plan.images.id(position)).collect()
    }

    #[test]
    fn as_many_images_as_training_can_spare() {
        for (set, train, unseen, wanted) in [
            (&[][..], 50_000, 10_000, 1024),
            (&[], 6_000, 1_000, 375),
            (&[], 60_000, 100, 100),
            (&[], 5, 10, 1),
            (&["validation_images=700"], 6_000, 1_000, 700),
        ] {
            assert_eq!(plan(set, train, unseen).expect("a loss").images.len(), wanted, "{train} {unseen}");
        }
        assert!(plan(&["validate_every=0"], 6_000, 1_000).is_none());
        let too_many =
            ValidationPlan::new(&training(&["validation_images=9"]), &split("train", 100), &split("test", 8));
        assert_eq!(
            too_many.expect_err("too many").to_string(),
            "validation_images is 9, but test has only 8 images: set at most 8"
        );
        assert!(plan(&[], 100, 0).is_none());
        let note = |set: &[&str], unseen| ValidationPlan::missing(&training(set), &split("test", unseen));
        assert!(note(&[], 0).expect("a note").contains("--hold-out 0.05"));
        assert_eq!((note(&[], 1), note(&["validate_every=0"], 0)), (None, None));
    }

    #[test]
    fn images_of_all_classes_are_chosen_the_same_every_time() {
        let chosen = plan(&[], 6_000, 1_000).expect("a loss");
        assert_eq!(ids(&chosen), ids(&plan(&[], 6_000, 1_000).expect("a loss")));
        let counts = chosen.images.class_counts();
        assert!(counts.iter().all(|&count| count > 150), "{counts:?}");
        let description = chosen.describe(6_000, 0.9);
        assert_eq!(
            description,
            "every epoch: loss of the EMA on 375 images of test, 2.1 % of the work of training"
        );
        let due: Vec<u64> = (0..=10).filter(|&epoch| chosen.is_due(epoch, 10)).collect();
        assert_eq!(due, (0..=10).collect::<Vec<u64>>());
        let seldom = plan(&["validate_every=4"], 6_000, 1_000).expect("a loss");
        let due: Vec<u64> = (0..=10).filter(|&epoch| seldom.is_due(epoch, 10)).collect();
        assert_eq!(due, [0, 4, 8, 10]);
    }

    #[test]
    fn what_is_held_out_is_not_trained_on() {
        let whole = split("train", 100);
        let (fit, held) = hold_out(&training(&["hold_out=0.2"]), &whole).expect("two parts");
        let held = held.expect("a part");
        assert_eq!((fit.len(), held.len()), (80, 20));
        let mut all: Vec<u64> =
            [&fit, &held].into_iter().flat_map(|part| (0..part.len()).map(|i| part.id(i))).collect();
        all.sort_unstable();
        assert_eq!(all, (0..100).collect::<Vec<u64>>());
        let (fit, held) = hold_out(&training(&[]), &whole).expect("all");
        assert_eq!((fit.len(), held.is_none()), (100, true));
        assert!(hold_out(&training(&["hold_out=0.001"]), &whole).is_err());
    }

    #[test]
    fn draws_depend_on_the_image_alone() {
        let images = split("test", 10);
        let quantiles = quantiles(10);
        let part = |positions| FixedImages { images: &images, positions, quantiles: &quantiles };
        let whole = part(0..10);
        let (first, second) = (part(0..4), part(4..10));
        assert_eq!([first.noise(), second.noise()].concat(), whole.noise());
        assert_eq!([first.quantiles(), second.quantiles()].concat(), whole.quantiles());
        assert_eq!([first.labels(), second.labels()].concat(), whole.labels());
        assert_eq!(second.pixels().expect("images"), [4, 5, 6, 7, 8, 9]);
        let masks =
            |part: &FixedImages| part.mask_streams().map(|mut rng| rng.uniform()).collect::<Vec<f64>>();
        assert_eq!([masks(&first), masks(&second)].concat(), masks(&whole));
        let mut sorted = quantiles.clone();
        sorted.sort_by(f64::total_cmp);
        assert_ne!(sorted, quantiles);
        for (part, quantile) in sorted.iter().enumerate() {
            assert!((quantile - (part as f64 + 0.5) / 10.0).abs() < 1e-12, "{quantile}");
        }
    }
}
