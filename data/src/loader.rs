//! Batches of a split in order, read and augmented ahead of time by worker threads.
//!
//! What is in a batch depends on (seed, epoch, position) alone, not on the number of workers, so a run that resumes in
//! the middle of an epoch, or on a machine with more cores, sees the same pictures.

mod pool;

use crate::augment::{random_crop, random_flip};
use crate::datasets::DataError;
use crate::edm_augment;
use crate::random::{Purpose, stream};
use crate::split::Split;
use pool::Pool;

/// What a [`Loader`] does with a split.
#[derive(Clone, Debug, PartialEq)]
pub struct LoaderOptions {
    /// Pictures per batch.
    pub batch: usize,
    /// Whether the order is drawn anew for every epoch; otherwise it is the split's.
    pub shuffle: bool,
    /// Seed of order and augmentation.
    pub seed: u64,
    /// Epoch, or view of a feature job: other draws for the same pictures.
    pub epoch: u64,
    /// The first batch to give, counted from 0: where an interrupted epoch goes on.
    pub start_batch: usize,
    /// Whether an incomplete last batch is left out.
    pub drop_last: bool,
    /// Mirror every picture with probability 1/2.
    pub flip: bool,
    /// Random crop after padding with that many zeros on every side; with EDM's augmentation, before it.
    pub crop_padding: Option<usize>,
    /// EDM's augmentation, each of its transformations with this probability (0.12 as published).
    pub edm_augment: Option<f64>,
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
            workers: 1,
        }
    }
}

/// Some pictures of a split.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// Pictures in [0, 1], [B, C, H, W]; EDM's augmentation, which resamples, may leave that range a little.
    pub images: Vec<f32>,
    /// Labels, `[B]`.
    pub labels: Vec<i64>,
    /// Ids of the pictures in their whole split ([`Split::id`]), `[B]`.
    pub indices: Vec<u64>,
    /// Labels of EDM's augmentation, [B, 9], if it was asked for.
    pub augment_labels: Option<Vec<f32>>,
}

impl Batch {
    /// Number of pictures.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are no pictures.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }
}

/// The order of `count` pictures in an epoch: every order equally likely, the same for the same seed and epoch.
pub fn order(seed: u64, epoch: u64, count: usize) -> Vec<u32> {
    let mut positions: Vec<u32> = (0..count as u32).collect();
    stream(seed, Purpose::Shuffle, 0, epoch).shuffle(&mut positions);
    positions
}

/// An iterator over the batches of one epoch.
///
/// After an error (an unreadable picture; the message names its file) it goes on with the next batch, but callers
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
    pool: Pool,
    batches: usize,
}

impl Loader {
    /// Starts reading.
    ///
    /// # Errors
    /// When an option makes no sense: an empty batch, a probability outside [0, 1], a padding larger than the
    /// pictures, a start beyond the last batch.
    pub fn new(split: &Split, options: LoaderOptions) -> Result<Loader, DataError> {
        let count = split.len();
        if options.batch == 0 {
            return Err(DataError::Argument("a batch of 0 pictures: give at least 1".into()));
        }
        let batches = match options.drop_last {
            true => count / options.batch,
            false => count.div_ceil(options.batch),
        };
        if options.start_batch > batches {
            return Err(DataError::Argument(format!(
                "cannot start at batch {}: {} has {batches} batches of {}",
                options.start_batch,
                split.name(),
                options.batch
            )));
        }
        if let Some(p) = options.edm_augment.filter(|p| !(0.0..=1.0).contains(p)) {
            return Err(DataError::Argument(format!(
                "an augmentation probability of {p}: it must lie between 0 and 1"
            )));
        }
        let [_, height, width] = split.shape();
        if let Some(padding) = options.crop_padding.filter(|&p| p > height.min(width)) {
            return Err(DataError::Argument(format!(
                "a crop padding of {padding} is more than the pictures' {height}x{width}"
            )));
        }
        let order = options.shuffle.then(|| order(options.seed, options.epoch, count));
        let start = options.start_batch;
        let workers = options.workers;
        let split = split.clone();
        let make = move |number: usize| {
            let first = number * options.batch;
            let last = (first + options.batch).min(count);
            let positions = (first..last).map(|i| order.as_ref().map_or(i, |order| order[i] as usize));
            make_batch(&split, positions, &options)
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
) -> Result<Batch, DataError> {
    let shape = split.shape();
    let mut levels = vec![0u8; split.picture_len()];
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
        match (options.edm_augment, &mut batch.augment_labels) {
            (Some(probability), Some(labels)) => {
                // In [-1, 1], as published: what comes in from beyond the mirror images is 0 there, a middle grey.
                let picture: Vec<f32> = levels.iter().map(|&v| f32::from(v) / 127.5 - 1.0).collect();
                let mut rng = stream(options.seed, Purpose::EdmAugment, id, options.epoch);
                let (picture, label) = edm_augment::augment(&picture, shape, probability, &mut rng);
                batch.images.extend(picture.iter().map(|v| (v + 1.0) / 2.0));
                labels.extend(label);
            }
            _ => batch.images.extend(levels.iter().map(|&v| f32::from(v) / 255.0)),
        }
        batch.labels.push(split.label(position) as i64);
        batch.indices.push(id);
    }
    Ok(batch)
}
