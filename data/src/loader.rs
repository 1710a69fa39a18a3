//! Batches of a split in order, read and augmented ahead of time by worker threads.
//!
//! What is in a batch depends on (seed, epoch, position) alone, not on the number of workers, so a run that resumes in
//! the middle of an epoch, or on a machine with more cores, sees the same images.

mod pairs;
mod pool;
mod schedule;

use ddae_model::config::ChannelStatistics;

use crate::augment::{DownstreamCrop, Normaliser, random_crop, random_flip};
use crate::datasets::DataError;
use crate::edm_augment;
use crate::split::Split;
use ddae_base::random::{Purpose, stream};
use pool::Pool;
use schedule::Schedule;

pub use pairs::{PairBatch, PairLoader, PairOptions};

/// What a [`Loader`] does with a split.
#[derive(Clone, Debug, PartialEq)]
pub struct LoaderOptions {
    /// Images per batch.
    pub batch: usize,
    /// Whether the order is drawn anew for every epoch; otherwise it is the split's.
    pub shuffle: bool,
    /// Seed of order and augmentation.
    pub seed: u64,
    /// Epoch, or view of a feature job: other draws for the same images.
    pub epoch: u64,
    /// The first batch to give, counted from 0: where an interrupted epoch goes on.
    pub start_batch: usize,
    /// Whether an incomplete last batch is left out.
    pub drop_last: bool,
    /// Mirror every image with probability 1/2.
    pub flip: bool,
    /// Random crop after padding with that many zeros on every side; with EDM's augmentation, before it.
    pub crop_padding: Option<usize>,
    /// EDM's augmentation, each of its transformations with this probability (0.12 as published).
    pub edm_augment: Option<f64>,
    /// The random resized crops of SODA's probes ([`DownstreamCrop`]), which take the place of `flip` and
    /// `crop_padding`.
    pub downstream_crop: bool,
    /// By which images are normalised; not with EDM's augmentation.
    pub normalisation: Option<ChannelStatistics>,
    /// Threads that read ahead; 0 reads in the calling thread.
    pub workers: usize,
}

impl Default for LoaderOptions {
    /// Batches of 128 in the split's order, unaugmented, one worker.
    fn default() -> Self {
        LoaderOptions {
            batch: 128,
            shuffle: false,
            seed: 0,
            epoch: 0,
            start_batch: 0,
            drop_last: false,
            flip: false,
            crop_padding: None,
            edm_augment: None,
            downstream_crop: false,
            normalisation: None,
            workers: 1,
        }
    }
}

impl LoaderOptions {
    /// Checks the augmentations for images of this shape.
    fn check(&self, [_, height, width]: [usize; 3]) -> Result<(), DataError> {
        let refuse = |message: String| Err(DataError::Argument(message));
        if let Some(p) = self.edm_augment.filter(|p| !(0.0..=1.0).contains(p)) {
            return refuse(format!("an augmentation probability of {p}: it must lie between 0 and 1"));
        }
        if let Some(padding) = self.crop_padding.filter(|&p| p > height.min(width)) {
            return refuse(format!("a crop padding of {padding} is more than the images' {height}x{width}"));
        }
        if self.downstream_crop && (self.flip || self.crop_padding.is_some()) {
            return refuse("resized crops mirror images themselves: leave out flip and padded crop".into());
        }
        if self.normalisation.is_some() && self.edm_augment.is_some() {
            return refuse("EDM's augmentation is for images in [0, 1]: leave out the normalisation".into());
        }
        Ok(())
    }
}

/// Some images of a split.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// Images [B, C, H, W], normalised where that was asked for, or else in [0, 1]; EDM's augmentation, which
    /// resamples, may leave that range a little.
    pub images: Vec<f32>,
    /// Labels, `[B]`.
    pub labels: Vec<i64>,
    /// Ids of the images in their whole split ([`Split::id`]), `[B]`.
    pub indices: Vec<u64>,
    /// Labels of EDM's augmentation, [B, 9], if it was asked for.
    pub augment_labels: Option<Vec<f32>>,
}

impl Batch {
    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are no images.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }
}

/// The order of `count` images in an epoch: every order equally likely, the same for the same seed and epoch.
pub fn order(seed: u64, epoch: u64, count: usize) -> Vec<u32> {
    let mut positions: Vec<u32> = (0..count as u32).collect();
    stream(seed, Purpose::Shuffle, 0, epoch).shuffle(&mut positions);
    positions
}

/// An iterator over the batches of one epoch.
///
/// After an error (an unreadable image; the message names its file) it goes on with the next batch, but callers
/// should stop. Dropping it in the middle of an epoch ends its threads.
///
/// ```
/// use ddae_data::datasets;
/// use ddae_data::loader::{Loader, LoaderOptions};
/// # fn main() -> Result<(), ddae_data::DataError> {
/// let train = datasets::open("fashion-sample", None)?.train;
/// let options = LoaderOptions { batch: 64, shuffle: true, flip: true, ..Default::default() };
/// let mut loader = Loader::new(&train, options)?;
/// assert_eq!(loader.batches(), 94);
/// let batch = loader.next().expect("there are 94")?;
/// assert_eq!(batch.images.len(), 64 * 28 * 28);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Loader {
    pool: Pool<Batch>,
    batches: usize,
}

impl Loader {
    /// Starts reading.
    ///
    /// # Errors
    /// When an option makes no sense: an empty batch, a probability outside [0, 1], a padding larger than the
    /// images, a start beyond the last batch, a normalisation for other channels, or options that exclude each other.
    pub fn new(split: &Split, options: LoaderOptions) -> Result<Loader, DataError> {
        let shuffle = options.shuffle.then_some((options.seed, options.epoch));
        let schedule = Schedule::new(split, options.batch, options.drop_last, shuffle)?;
        schedule.check_start(options.start_batch, split)?;
        options.check(split.shape())?;
        let [channels, ..] = split.shape();
        let normaliser = match &options.normalisation {
            Some(statistics) => Normaliser::new(channels, statistics)?,
            None => Normaliser::to_unit(channels),
        };
        let crop = options.downstream_crop.then(|| DownstreamCrop::new(split.shape())).transpose()?;
        let (start, batches, workers) = (options.start_batch, schedule.batches(), options.workers);
        let split = split.clone();
        let make = move |number: usize| {
            make_batch(&split, schedule.positions(number), &options, crop.clone(), &normaliser)
        };
        Ok(Loader { pool: Pool::new(start..batches, workers, make), batches })
    }

    /// Number of batches in the whole epoch, those before `start_batch` included.
    pub fn batches(&self) -> usize {
        self.batches
    }
}

impl Iterator for Loader {
    type Item = Result<Batch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.pool.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.pool.left();
        (left, Some(left))
    }
}

impl ExactSizeIterator for Loader {}

fn make_batch(
    split: &Split,
    positions: impl ExactSizeIterator<Item = usize>,
    options: &LoaderOptions,
    mut downstream_crop: Option<DownstreamCrop>,
    normaliser: &Normaliser,
) -> Result<Batch, DataError> {
    let shape = split.shape();
    let mut levels = vec![0u8; split.image_len()];
    let mut batch = Batch {
        images: Vec::with_capacity(positions.len() * levels.len()),
        labels: Vec::with_capacity(positions.len()),
        indices: Vec::with_capacity(positions.len()),
        augment_labels: options.edm_augment.map(|_| Vec::new()),
    };
    for position in positions {
        split.read(position, &mut levels)?;
        let id = split.id(position);
        let mut rng = stream(options.seed, Purpose::Augment, id, options.epoch);
        if let Some(padding) = options.crop_padding {
            random_crop(&mut levels, shape, padding, &mut rng);
        }
        if options.flip {
            random_flip(&mut levels, shape, &mut rng);
        }
        if let Some(crop) = &mut downstream_crop {
            crop.apply(&mut levels, &mut rng);
        }
        match (options.edm_augment, &mut batch.augment_labels) {
            (Some(probability), Some(labels)) => {
                // In [-1, 1], as published: what comes in from beyond the mirror images is 0 there, a middle grey.
                let image: Vec<f32> = levels.iter().map(|&v| f32::from(v) / 127.5 - 1.0).collect();
                let mut rng = stream(options.seed, Purpose::EdmAugment, id, options.epoch);
                let (image, label) = edm_augment::augment(&image, shape, probability, &mut rng);
                batch.images.extend(image.iter().map(|v| (v + 1.0) / 2.0));
                labels.extend(label);
            }
            _ => normaliser.append(&levels, &mut batch.images),
        }
        batch.labels.push(split.label(position) as i64);
        batch.indices.push(id);
    }
    Ok(batch)
}
