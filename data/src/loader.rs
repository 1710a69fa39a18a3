//! Batches of a split in order, read and augmented ahead of time by worker threads.
//!
//! What is in a batch depends on (seed, epoch, position) alone, not on the number of workers, so a run that resumes in
//! the middle of an epoch, or on a machine with more cores, sees the same images.

mod images;
mod pairs;
mod pool;
mod schedule;

use std::ops::Range;

use crate::augment::ImageKey;
use crate::datasets::DataError;
use crate::split::Split;
use ddae_base::random::{Purpose, stream};
use pool::Pool;
use schedule::Schedule;

pub use images::Images;
pub use pairs::Pairs;

/// Which batches of a split a [`Loader`] gives.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// Threads that read ahead; 0 reads in the calling thread.
    pub workers: usize,
    /// Which parts of each batch to give.
    pub parts: Parts,
}

/// Batches cut into parts of equal size (up to one image), of which a loader gives some: those of a rank, one for each forward
/// pass of a step. All parts together are the batch, whatever their number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts {
    /// Parts of a batch.
    pub count: usize,
    /// The first part to give, counted from 0.
    pub first: usize,
    /// From each part that is given to the next one.
    pub stride: usize,
}

impl Parts {
    /// The batch as it is.
    pub const WHOLE: Parts = Parts { count: 1, first: 0, stride: 1 };

    /// Those of rank `rank` of `ranks`, which make `turns` passes for each step.
    pub fn of_rank(rank: usize, ranks: usize, turns: usize) -> Parts {
        Parts { count: ranks * turns, first: rank, stride: ranks }
    }

    /// How many parts of each batch are given.
    pub fn given(self) -> usize {
        (self.count - self.first).div_ceil(self.stride)
    }

    /// The places in a batch of `total` images of the given part `turn`, counted from 0. None where there are more parts than
    /// images.
    pub fn places(self, turn: usize, total: usize) -> Range<usize> {
        let part = self.first + turn * self.stride;
        part * total / self.count..(part + 1) * total / self.count
    }
}

impl Default for LoaderOptions {
    /// Batches of 128 in the split's order, one worker.
    fn default() -> Self {
        LoaderOptions {
            batch: 128,
            shuffle: false,
            seed: 0,
            epoch: 0,
            start_batch: 0,
            drop_last: false,
            workers: 1,
            parts: Parts::WHOLE,
        }
    }
}

/// Some images of a split.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch<I> {
    /// The images, as they were prepared.
    pub images: I,
    /// Labels, `[B]`.
    pub labels: Vec<i64>,
    /// Ids of the images in their whole split ([`Split::id`]), `[B]`.
    pub indices: Vec<u64>,
}

impl<I> Batch<I> {
    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are no images.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }
}

/// Makes the images of a batch; a clone for each.
trait Prepare: Clone + Send + Sync + 'static {
    type Images;

    /// Adds the image with these `levels` [C, H, W], which need not stay what they are.
    fn add(&mut self, levels: &mut [u8], key: ImageKey);

    fn finish(self) -> Self::Images;
}

/// The order of `count` images in an epoch: every order equally likely, the same for the same seed and epoch.
pub fn order(seed: u64, epoch: u64, count: usize) -> Vec<u32> {
    let mut positions: Vec<u32> = (0..count as u32).collect();
    stream(seed, Purpose::Shuffle, 0, epoch).shuffle(&mut positions);
    positions
}

/// An iterator over the batches of one epoch, or over the parts of each that are asked for.
///
/// After an error (an unreadable image; the message names its file) it goes on with the next batch, but callers
/// should stop. Dropping it in the middle of an epoch ends its threads.
///
/// ```
/// use ddae_data::augment::Augmentation;
/// use ddae_data::datasets;
/// use ddae_data::loader::{Images, Loader, LoaderOptions};
/// # fn main() -> Result<(), ddae_data::DataError> {
/// let train = datasets::open("fashion-sample", None)?.train;
/// let options = LoaderOptions { batch: 64, shuffle: true, ..Default::default() };
/// let flip = Augmentation::Crop { padding: None, flip: true };
/// let mut loader = Loader::images(&train, &options, flip, None)?;
/// assert_eq!(loader.batches(), 94);
/// let batch = loader.next().expect("there are 94")?;
/// assert!(matches!(batch.images, Images::Bytes(pixels) if pixels.len() == 64 * 28 * 28));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Loader<I> {
    pool: Pool<Batch<I>>,
    batches: usize,
}

impl<I> Loader<I> {
    /// Number of whole batches in the whole epoch, those before `start_batch` included.
    pub fn batches(&self) -> usize {
        self.batches
    }
}

impl<I: Send + 'static> Loader<I> {
    /// Starts reading.
    fn start(
        split: &Split,
        options: &LoaderOptions,
        prepare: impl Prepare<Images = I>,
    ) -> Result<Loader<I>, DataError> {
        let LoaderOptions { seed, epoch, start_batch, workers, parts, .. } = *options;
        let schedule = Schedule::new(split, options)?;
        let (batches, given) = (schedule.batches(), parts.given());
        let split = split.clone();
        let make = move |number: usize| {
            let (positions, mut prepare) = (schedule.positions(number), prepare.clone());
            let (mut labels, mut indices, mut levels) = (vec![], vec![], vec![0; split.image_len()]);
            for position in positions {
                split.read(position, &mut levels)?;
                let id = split.id(position);
                prepare.add(&mut levels, ImageKey { seed, epoch, id });
                labels.push(split.label(position) as i64);
                indices.push(id);
            }
            Ok(Batch { images: prepare.finish(), labels, indices })
        };
        Ok(Loader { pool: Pool::new(start_batch * given..batches * given, workers, make), batches })
    }
}

impl<I: Send + 'static> Iterator for Loader<I> {
    type Item = Result<Batch<I>, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.pool.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.pool.left();
        (left, Some(left))
    }
}

impl<I: Send + 'static> ExactSizeIterator for Loader<I> {}
