//! The run that follows from the options: the data and the network opened and checked, the steps counted. Nothing is
//! written yet, so `--dry-run` can show it.

use std::fmt;

use ddae_data::datasets;
use ddae_data::loader::LoaderOptions;
use ddae_data::split::Split;
use ddae_model::config::{Config, LrSchedule, ProcessConfig};
use ddae_model::diffusion;
use ddae_model::graph::Graph;
use sha2::{Digest, Sha256};

use super::options::{Amp, Options};
use super::sample;
use super::trainer::training_graph;
use crate::TrainError;
use crate::learning_rate::LearningRate;

/// Pictures that the digest of a data set reads.
const DIGEST_PICTURES: usize = 64;

/// A run ready to begin.
#[derive(Debug)]
pub struct Plan {
    /// The configuration.
    pub config: Config,
    /// The training pictures, in the network's shape.
    pub train: Split,
    /// Where they were found.
    pub origin: String,
    /// The network.
    pub graph: Graph,
    /// Steps of an epoch; an incomplete last batch is left out.
    pub steps_per_epoch: u64,
    /// The learning rate of each step.
    pub learning_rate: LearningRate,
    /// How the pictures of a sheet are sampled.
    pub sampler: diffusion::Plan,
}

impl Plan {
    /// Opens the data set, builds the network and counts the steps.
    ///
    /// # Errors
    /// When one of them cannot be had, the process cannot be sampled as asked for, or the data set has fewer pictures than a batch.
    pub fn new(options: &Options) -> Result<Plan, TrainError> {
        let config = options.config.clone();
        let graph = training_graph(&config)?;
        let data = datasets::open(&config.dataset, options.data_root.as_deref())?;
        let train = data.train.fit(config.network.image_shape)?;
        let batch = config.training.batch_size;
        let steps_per_epoch = (train.len() / batch) as u64;
        if steps_per_epoch == 0 {
            let (name, count) = (train.name(), train.len());
            return Err(TrainError::Argument(format!(
                "batch_size is {batch}, but {name} has only {count} pictures: set a batch_size of at most {count}"
            )));
        }
        let learning_rate = LearningRate::new(&config.training, steps_per_epoch);
        let sampler = sample::plan(&config, options.sample_steps)?;
        Ok(Plan { config, train, origin: data.origin, graph, steps_per_epoch, learning_rate, sampler })
    }

    /// Number of epochs.
    pub fn epochs(&self) -> u64 {
        self.config.training.n_epoch as u64
    }

    /// Number of steps over all epochs.
    pub fn steps(&self) -> u64 {
        self.steps_per_epoch.saturating_mul(self.epochs())
    }

    /// How an epoch's pictures are read, from batch `start` on.
    pub fn loader(&self, seed: u64, epoch: u64, start: u64, workers: usize) -> LoaderOptions {
        let augment = match &self.config.process {
            ProcessConfig::Edm(edm) if edm.augment_prob > 0.0 => Some(edm.augment_prob),
            _ => None,
        };
        LoaderOptions {
            batch: self.config.training.batch_size,
            shuffle: true,
            seed,
            epoch,
            start_batch: start as usize,
            drop_last: true,
            flip: self.config.training.flip,
            edm_augment: augment,
            workers,
            ..LoaderOptions::default()
        }
    }

    /// A digest of the training pictures: their number, shape, labels, and 64 of them.
    ///
    /// # Errors
    /// When a picture cannot be read.
    pub fn data_digest(&self) -> Result<String, TrainError> {
        let count = self.train.len();
        let mut hash = Sha256::new();
        for size in self.train.shape().into_iter().chain([count]) {
            hash.update((size as u64).to_le_bytes());
        }
        for i in 0..count {
            hash.update((self.train.label(i) as u64).to_le_bytes());
        }
        let mut picture = vec![0; self.train.picture_len()];
        for i in (0..count).step_by(count.div_ceil(DIGEST_PICTURES).max(1)) {
            self.train.read(i, &mut picture)?;
            hash.update(&picture);
        }
        Ok(hash.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// The run in words, for `--dry-run` and the log.
    pub fn describe(&self, amp: Amp) -> Description<'_> {
        Description { plan: self, amp }
    }

    /// Bytes of weights, average, gradients and moments, and a guess at those of the activations that the backward pass
    /// needs: every result of the forward pass, once.
    fn memory(&self, amp: Amp) -> (f64, f64) {
        let parameters = self.graph.parameter_count();
        let activations: usize = self.graph.nodes().iter().map(|n| n.shape.per_sample()).sum();
        let activations = activations.saturating_sub(parameters) as f64;
        let bytes = if amp == Amp::Off { 4.0 } else { 2.0 };
        (5.0 * 4.0 * parameters as f64, activations * bytes * self.config.training.batch_size as f64)
    }
}

/// Shows a [`Plan`].
#[derive(Debug)]
pub struct Description<'a> {
    plan: &'a Plan,
    amp: Amp,
}

impl fmt::Display for Description<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Plan { config, train, origin, graph, steps_per_epoch, .. } = self.plan;
        let training = &config.training;
        let process = match &config.process {
            ProcessConfig::Ddpm(c) => format!("DDPM, {} timesteps", c.n_t),
            ProcessConfig::Edm(c) if c.augment_prob > 0.0 => {
                format!("EDM, augmented with probability {}", c.augment_prob)
            }
            ProcessConfig::Edm(_) => "EDM".to_string(),
        };
        let schedule = match training.lr_schedule {
            LrSchedule::Constant => "constant",
            LrSchedule::Cosine => "cosine to 0",
        };
        let (state, activations) = self.plan.memory(self.amp);
        let flops = graph.flops() as f64;
        writeln!(f, "data        {}: {} pictures, {origin}", train.name(), train.len())?;
        writeln!(f, "process     {process}")?;
        writeln!(
            f,
            "network     {} parameters, {:.2} GFLOP forward per picture",
            thousands(graph.parameter_count() as u64),
            flops / 1e9
        )?;
        writeln!(
            f,
            "steps       {} epochs of {} steps of {} pictures: {} steps, {:.3} PFLOP in all",
            training.n_epoch,
            steps_per_epoch,
            training.batch_size,
            thousands(self.plan.steps()),
            // The backward pass computes two products for each one of the forward pass.
            3.0 * flops * self.plan.steps() as f64 * training.batch_size as f64 / 1e15
        )?;
        writeln!(
            f,
            "optimiser   {:?}, learning rate {:e}, {} warm-up epochs, {schedule}, EMA {}",
            training.optim, training.lrate, training.warm_epoch, training.ema
        )?;
        write!(
            f,
            "memory      {:.2} GiB of weights and optimiser, about {:.2} GiB of activations (amp {})",
            state / f64::from(1 << 30),
            activations / f64::from(1 << 30),
            self.amp
        )
    }
}

/// 35746307 as 35,746,307.
fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_grouped_from_the_right() {
        assert_eq!(thousands(35_746_307), "35,746,307");
        assert_eq!(thousands(746_307), "746,307");
        assert_eq!(thousands(0), "0");
    }
}
