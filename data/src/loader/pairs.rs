use ddae_model::config::{ChannelStatistics, SodaAugmentation};

use super::pool::Pool;
use super::schedule::Schedule;
use crate::augment::{ImageKey, SodaViews};
use crate::datasets::DataError;
use crate::split::Split;

/// What a [`PairLoader`] does with a split.
#[derive(Clone, Debug, PartialEq)]
pub struct PairOptions {
    /// Images per batch.
    pub batch: usize,
    /// Whether the order is drawn anew for every epoch; otherwise it is the split's.
    pub shuffle: bool,
    /// Seed of order and augmentation.
    pub seed: u64,
    /// Epoch: other draws for the same images.
    pub epoch: u64,
    /// The first batch to give, counted from 0: where an interrupted epoch goes on.
    pub start_batch: usize,
    /// Whether an incomplete last batch is left out.
    pub drop_last: bool,
    /// By which sources are normalised.
    pub normalisation: ChannelStatistics,
    /// How the views differ from the image.
    pub augmentation: SodaAugmentation,
    /// Threads that read ahead; 0 reads in the calling thread.
    pub workers: usize,
}

impl PairOptions {
    /// Shuffled batches of 128, an incomplete one left out, augmentation as published, one worker.
    pub fn new(normalisation: ChannelStatistics) -> PairOptions {
        PairOptions {
            batch: 128,
            shuffle: true,
            seed: 0,
            epoch: 0,
            start_batch: 0,
            drop_last: true,
            normalisation,
            augmentation: SodaAugmentation::default(),
            workers: 1,
        }
    }
}

/// Two views of some images of a split.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PairBatch {
    /// What the encoder sees, normalised and with noise, [B, C, H, W].
    pub sources: Vec<f32>,
    /// What is to be generated, in [0, 1], [B, C, H, W].
    pub targets: Vec<f32>,
    /// Labels, `[B]`.
    pub labels: Vec<i64>,
    /// Ids of the images in their whole split ([`Split::id`]), `[B]`.
    pub indices: Vec<u64>,
}

impl PairBatch {
    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are no images.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }
}

/// An iterator over the batches of one epoch of SODA's training: like [`super::Loader`], with [`SodaViews`] of every
/// image.
///
/// ```
/// use ddae_data::datasets;
/// use ddae_data::loader::{PairLoader, PairOptions};
/// use ddae_model::config::{ChannelStatistics, SodaAugmentation};
/// # fn main() -> Result<(), ddae_data::DataError> {
/// let train = datasets::open("fashion-sample", None)?.train;
/// let normalisation = ChannelStatistics { mean: vec![0.286], std: vec![0.353] };
/// let mut loader = PairLoader::new(&train, PairOptions { batch: 64, ..PairOptions::new(normalisation) })?;
/// assert_eq!(loader.batches(), 93);
/// let pairs = loader.next().expect("there are 93")?;
/// assert_eq!(pairs.sources.len(), 64 * 28 * 28);
/// assert_eq!(pairs.targets.len(), 64 * 28 * 28);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct PairLoader {
    pool: Pool<PairBatch>,
    batches: usize,
}

impl PairLoader {
    /// Starts reading.
    ///
    /// # Errors
    /// When an option makes no sense: an empty batch, a start beyond the last batch, a normalisation for other
    /// channels; or when the images are neither grey nor RGB.
    pub fn new(split: &Split, options: PairOptions) -> Result<PairLoader, DataError> {
        let shuffle = options.shuffle.then_some((options.seed, options.epoch));
        let schedule = Schedule::new(split, options.batch, options.drop_last, shuffle)?;
        schedule.check_start(options.start_batch, split)?;
        let views = SodaViews::new(split.shape(), &options.normalisation, options.augmentation)?;
        let batches = schedule.batches();
        let split = split.clone();
        let (seed, epoch) = (options.seed, options.epoch);
        let make = move |number: usize| make_batch(&split, schedule.positions(number), &views, seed, epoch);
        Ok(PairLoader { pool: Pool::new(options.start_batch..batches, options.workers, make), batches })
    }

    /// Number of batches in the whole epoch, those before `start_batch` included.
    pub fn batches(&self) -> usize {
        self.batches
    }
}

impl Iterator for PairLoader {
    type Item = Result<PairBatch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.pool.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.pool.left();
        (left, Some(left))
    }
}

impl ExactSizeIterator for PairLoader {}

fn make_batch(
    split: &Split,
    positions: impl ExactSizeIterator<Item = usize>,
    views: &SodaViews,
    seed: u64,
    epoch: u64,
) -> Result<PairBatch, DataError> {
    let mut levels = vec![0u8; split.image_len()];
    let mut canvas = views.canvas();
    let numbers = positions.len() * levels.len();
    let mut batch = PairBatch {
        sources: Vec::with_capacity(numbers),
        targets: Vec::with_capacity(numbers),
        labels: Vec::with_capacity(positions.len()),
        indices: Vec::with_capacity(positions.len()),
    };
    for position in positions {
        split.read(position, &mut levels)?;
        let id = split.id(position);
        let key = ImageKey { seed, epoch, id };
        views.source(&levels, key, &mut canvas, &mut batch.sources);
        views.target(&levels, key, &mut canvas, &mut batch.targets);
        batch.labels.push(split.label(position) as i64);
        batch.indices.push(id);
    }
    Ok(batch)
}
