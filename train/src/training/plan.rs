//! The run that follows from the options: the data and the network opened and checked, the steps counted. Nothing is
//! written yet, so `--dry-run` can show it.

use ddae_checkpoint::{SharedSteps, TrainingState};
use ddae_data::digest::DigestOf;
use ddae_data::{DataSet, Split};
use ddae_model::config::RunConfig;
use ddae_model::graph::{Graph, Node, Op};
use sha2::{Digest, Sha256};

use super::describe::Description;
use super::options::Amp;
use super::validation::{self, ValidationPlan};
use crate::TrainError;
use crate::learning_rate::LearningRate;
use crate::ranks::{BatchOf, Shares, StepBatch};

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
    /// Training images that are not trained on, if some are held out.
    pub held_out: Option<Split>,
    /// What the validation loss is of, if there is one.
    pub validation: Option<ValidationPlan>,
    /// How the images of a sheet are sampled, in words.
    pub sheets: String,
    /// Where they were found.
    pub origin: String,
    /// The network in training, with every parameter that a checkpoint holds.
    pub graph: Graph,
    /// The images of a step, and who computes them.
    pub batch: StepBatch,
    /// Steps of an epoch.
    pub steps_per_epoch: u64,
    /// Images of the last of them: as many as in the others, or fewer.
    pub last_batch: u64,
    /// The learning rate of each step.
    pub learning_rate: LearningRate,
    /// What the user should know.
    pub notes: Vec<String>,
}

impl TrainingPlan {
    /// Fits the images of `data` to the network `graph` and counts the steps.
    ///
    /// # Errors
    /// When the images cannot have the network's shape, the data set has fewer of them than a batch, or a batch of a single
    /// image would leave batch normalisation nothing to average over.
    pub fn new(
        config: RunConfig,
        data: &DataSet,
        graph: Graph,
        shares: Shares,
    ) -> Result<TrainingPlan, TrainError> {
        let image = config.image_shape();
        let (whole, test) = data.for_training()?;
        let (whole, test) = (whole.fit(image)?, test.fit(image)?);
        let (train, held_out) = validation::hold_out(config.training(), &whole)?;
        let step = StepBatch::new(&config, shares)?;
        let batch = step.total;
        if train.len() < batch {
            let (name, count) = (train.name(), train.len());
            let of = match step.parts() {
                1 => format!("batch_size is {batch}"),
                parts => format!("a step has {batch} images in {parts} parts"),
            };
            let most = match step.batch_of {
                BatchOf::Rank => count / step.parts(),
                BatchOf::All => count,
            };
            return Err(TrainError::Argument(format!(
                "{of}, but {name} has only {count} images: set a batch_size of at most {most}"
            )));
        }
        let drops_last = config.training().drops_last();
        let steps_per_epoch =
            if drops_last { train.len() / batch } else { train.len().div_ceil(batch) } as u64;
        let last_batch = match train.len() % batch {
            left if left > 0 && !config.training().drops_last() => left,
            _ => batch,
        };
        if last_batch == 1 && graph.nodes().iter().any(normalises_one_value) {
            let (name, count) = (train.name(), train.len());
            let advice = if batch == 1 {
                "a batch_size of at least 2"
            } else {
                "another batch_size, or drop_last=True"
            };
            return Err(TrainError::Argument(format!(
                "batch_size is {batch}, so one of the batches of {count} images of {name} is a single image, over which \
                 batch normalisation cannot average: set {advice}"
            )));
        }
        let normalises_batches = graph.nodes().iter().any(|node| matches!(node.op, Op::BatchNorm { .. }));
        let least = step.parts().max(2 * shares.accumulate);
        if step.parts() > 1 && normalises_batches && last_batch < least {
            let (name, count) = (train.name(), train.len());
            return Err(TrainError::Argument(format!(
                "the last step of an epoch over {count} images of {name} has {last_batch} of them for {} parts, and batch \
                 normalisation wants an image in each and two in each pass: set another batch_size, or drop_last=True",
                step.parts()
            )));
        }
        let mut scaled = config.training().clone();
        scaled.lrate *= step.rate_factor;
        let learning_rate = LearningRate::new(&scaled, steps_per_epoch);
        let (last_batch, origin, mut notes) = (last_batch as u64, data.origin.clone(), data.notes.clone());
        let unseen = held_out.as_ref().unwrap_or(&test);
        let validation = ValidationPlan::new(config.training(), &train, unseen)?;
        notes.extend(ValidationPlan::missing(config.training(), unseen));
        Ok(TrainingPlan {
            config,
            train,
            test,
            held_out,
            validation,
            sheets: String::new(),
            origin,
            graph,
            batch: step,
            steps_per_epoch,
            last_batch,
            learning_rate,
            notes,
        })
    }

    /// Leaves the validation loss out, and says why, where `check` refuses its images.
    pub(crate) fn validate_only_where(&mut self, check: impl FnOnce(&Split) -> Result<(), TrainError>) {
        if let Some(reason) = self.validation.as_ref().and_then(|of| check(&of.images).err()) {
            self.notes.push(format!("no validation loss: {reason}"));
            self.validation = None;
        }
    }

    /// Images of a step of an epoch, counted from 0.
    pub fn images_of(&self, step_in_epoch: u64) -> u64 {
        match step_in_epoch + 1 == self.steps_per_epoch {
            true => self.last_batch,
            false => self.batch.total as u64,
        }
    }

    /// Images of all steps of an epoch.
    pub fn images_per_epoch(&self) -> u64 {
        self.steps_per_epoch.saturating_sub(1) * self.batch.total as u64 + self.last_batch
    }

    /// Number of epochs.
    pub fn epochs(&self) -> u64 {
        self.config.training().n_epoch as u64
    }

    /// Number of steps over all epochs.
    pub fn steps(&self) -> u64 {
        self.steps_per_epoch.saturating_mul(self.epochs())
    }

    /// The steps of this plan up to where a run stands. Not those that it made, where its batches were others before.
    pub fn position(&self, state: &TrainingState) -> u64 {
        state.epoch.saturating_mul(self.steps_per_epoch).saturating_add(state.step_in_epoch)
    }

    /// The number of steps that a run will have made at its end.
    pub fn last_step(&self, state: &TrainingState) -> u64 {
        state.step + self.steps().saturating_sub(self.position(state))
    }

    /// The images that are not trained on: those held out, or those to report results on; there may be none.
    pub fn unseen(&self) -> &Split {
        self.held_out.as_ref().unwrap_or(&self.test)
    }

    /// Those of them that validation losses and scores are of, if the run measures any.
    pub fn evaluated(&self) -> Option<&Split> {
        let has_scores = !matches!(self.config, RunConfig::Diffusion(_));
        (self.validation.is_some() || has_scores).then(|| self.unseen())
    }

    /// The same in words.
    pub fn evaluated_in_words(&self) -> String {
        let of = |split: Option<&Split>| match split {
            Some(split) => format!("{} of {}", split.len(), split.name()),
            None => "none".to_string(),
        };
        let validation = self.validation.as_ref().map(|validation| &validation.images);
        format!("validation images {} and test images {}", of(validation), of(self.evaluated()))
    }

    /// How steps are shared out, as a checkpoint has it.
    pub fn shared(&self) -> Option<SharedSteps> {
        let StepBatch { total, shares, rate_factor, .. } = self.batch;
        let Shares { ranks, accumulate, .. } = shares;
        let is_usual = self.batch.parts() == 1 && rate_factor == 1.0;
        (!is_usual).then_some(SharedSteps {
            ranks: ranks as u64,
            accumulate: accumulate as u64,
            batch: total as u64,
            rate_factor,
        })
    }

    /// What tells the training images from others ([`Split::digest`]).
    ///
    /// # Errors
    /// When an image cannot be read.
    pub fn data_digest(&self) -> Result<String, TrainError> {
        Ok(self.train.digest(DigestOf::Content)?)
    }

    /// The same of those that validation losses and scores are of.
    ///
    /// # Errors
    /// When an image cannot be read.
    pub fn evaluated_digest(&self) -> Result<Option<String>, TrainError> {
        Ok(self.evaluated().map(|images| images.digest(DigestOf::Content)).transpose()?)
    }

    /// What told training images from others in checkpoints of earlier versions: a digest of number, shape, labels, and 64 of the images.
    ///
    /// # Errors
    /// When an image cannot be read.
    pub fn sampled_data_digest(&self) -> Result<String, TrainError> {
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

/// Whether a node is a batch norm that sees one value of each channel of an image: the variance of a single image's would
/// be that of one number.
fn normalises_one_value(node: &Node) -> bool {
    let shape = node.shape.resolve(1);
    matches!(node.op, Op::BatchNorm { .. }) && shape.iter().skip(2).product::<usize>() == 1
}
