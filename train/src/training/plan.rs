//! The run that follows from the options: the data and the network opened and checked, the steps counted. Nothing is
//! written yet, so `--dry-run` can show it.

use ddae_data::digest::DigestOf;
use ddae_data::{DataSet, Split};
use ddae_model::config::RunConfig;
use ddae_model::graph::Graph;
use sha2::{Digest, Sha256};

use super::describe::Description;
use super::options::Amp;
use crate::TrainError;
use crate::learning_rate::LearningRate;

/// Images that the digest of a data set read in earlier versions.
const DIGEST_IMAGES: usize = 64;

/// A run ready to begin.
#[derive(Debug)]
pub struct TrainingPlan {
    /// The configuration.
    pub config: RunConfig,
    /// The training images, in the network's shape.
    pub train: Split,
    /// The images to report results on, likewise; there may be none.
    pub test: Split,
    /// Where they were found.
    pub origin: String,
    /// The network in training, with every parameter that a checkpoint holds.
    pub graph: Graph,
    /// Steps of an epoch; an incomplete last batch is left out.
    pub steps_per_epoch: u64,
    /// The learning rate of each step.
    pub learning_rate: LearningRate,
    /// What the user should know.
    pub notes: Vec<String>,
}

impl TrainingPlan {
    /// Fits the images of `data` to the network `graph` and counts the steps.
    ///
    /// # Errors
    /// When the images cannot have the network's shape, or the data set has fewer of them than a batch.
    pub fn new(config: RunConfig, data: &DataSet, graph: Graph) -> Result<TrainingPlan, TrainError> {
        let image = config.image_shape();
        let (train, test) = (data.train.fit(image)?, data.test.fit(image)?);
        let batch = config.training().batch_size;
        let steps_per_epoch = (train.len() / batch) as u64;
        if steps_per_epoch == 0 {
            let (name, count) = (train.name(), train.len());
            return Err(TrainError::Argument(format!(
                "batch_size is {batch}, but {name} has only {count} images: set a batch_size of at most {count}"
            )));
        }
        let learning_rate = LearningRate::new(config.training(), steps_per_epoch);
        let origin = data.origin.clone();
        Ok(TrainingPlan { config, train, test, origin, graph, steps_per_epoch, learning_rate, notes: vec![] })
    }

    /// Number of epochs.
    pub fn epochs(&self) -> u64 {
        self.config.training().n_epoch as u64
    }

    /// Number of steps over all epochs.
    pub fn steps(&self) -> u64 {
        self.steps_per_epoch.saturating_mul(self.epochs())
    }

    /// What tells the training images from others ([`Split::digest`]).
    ///
    /// # Errors
    /// When an image cannot be read.
    pub fn data_digest(&self) -> Result<String, TrainError> {
        Ok(self.train.digest(DigestOf::Content)?)
    }

    /// The same as `saved` in a checkpoint: those of earlier versions know the images by number, shape, labels, and 64 of
    /// them.
    ///
    /// # Errors
    /// When an image cannot be read.
    pub fn data_digest_like(&self, saved: &str) -> Result<String, TrainError> {
        if saved.contains(':') {
            return self.data_digest();
        }
        let count = self.train.len();
        let mut hash = Sha256::new();
        for size in self.train.shape().into_iter().chain([count]) {
            hash.update((size as u64).to_le_bytes());
        }
        for i in 0..count {
            hash.update((self.train.label(i) as u64).to_le_bytes());
        }
        let mut image = vec![0; self.train.image_len()];
        for i in (0..count).step_by(count.div_ceil(DIGEST_IMAGES).max(1)) {
            self.train.read(i, &mut image)?;
            hash.update(&image);
        }
        Ok(hash.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// The run in words, for `--dry-run` and the log.
    pub fn describe(&self, amp: Amp) -> Description<'_> {
        Description::new(self, amp)
    }
}
