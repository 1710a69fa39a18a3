//! What a way of training must say of itself.

use std::path::PathBuf;

use ddae_data::DataError;
use ddae_model::tensor::Tensor as Array;
use ddae_model::weights::Weights;
use tch::{Device, Tensor};

use super::plan::TrainingPlan;
use super::validation::FixedImages;
use crate::TrainError;
use crate::ranks::{Division, Part};
use crate::run::stats::{Count, TimestepAccuracy};
use crate::torch::{Layout, Parameters, Precision, TorchError};

/// What an average gives for fixed inputs, as [`Method::recorder`] says.
pub type Recorder = Box<dyn Fn(&Weights) -> Result<Vec<(String, Array)>, TrainError> + Send>;

/// Where and in which numbers a run computes.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Where tensors live.
    pub device: Device,
    /// Order of images' axes in memory.
    pub layout: Layout,
    /// What the network multiplies.
    pub precision: Precision,
}

/// Which batches of an epoch are wanted.
#[derive(Clone, Copy, Debug)]
pub struct Epoch {
    /// The run's seed.
    pub seed: u64,
    /// The epoch, counted from 0.
    pub number: u64,
    /// The first batch, counted from 0.
    pub start: u64,
    /// Threads that read ahead; 0 reads between steps.
    pub workers: usize,
}

/// How much the average of the weights is worth, in numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scores {
    /// Names, as in `knn_accuracy`, and values from 0 to 1; none where they were not wanted.
    pub values: Vec<(&'static str, f64)>,
    /// Of a classifier's `accuracy`, how many images it is of.
    pub count: Option<Count>,
    /// Accuracies at noise levels, rising, if they were measured.
    pub by_timestep: Vec<TimestepAccuracy>,
    /// How they were obtained.
    pub protocol: serde_json::Value,
    /// What the user should know.
    pub notes: Vec<String>,
}

/// How the average of the weights is evaluated.
#[derive(Clone, Debug)]
pub struct Evaluation {
    /// Finished epochs.
    pub epoch: u64,
    /// The run's seed.
    pub seed: u64,
    /// Where a sheet of images is written, by rank 0, if one is wanted.
    pub sheet: Option<PathBuf>,
    /// Whether scores are wanted.
    pub scores: bool,
    /// Whether those by timestep are wanted, too, where there are such.
    pub by_timestep: bool,
}

/// A way to train a network: all that is not the same for every training run.
pub trait Method {
    /// What a step learns from.
    type Batch;
    /// The batches of an epoch in order, read ahead of time.
    type Batches: Iterator<Item = Result<Self::Batch, DataError>>;

    /// The batches of an epoch. What is in them depends on seed, epoch and number alone.
    ///
    /// # Errors
    /// When the configuration is not for these images.
    fn batches(&self, plan: &TrainingPlan, epoch: Epoch) -> Result<Self::Batches, DataError>;

    /// The inputs of the plan's graph of kind `loss` for a batch, on the device of the run. Whatever is random comes from
    /// libtorch's generator, which is seeded for the step, and is drawn for all images of the step, of which the batch is a `part`.
    ///
    /// # Errors
    /// libtorch's.
    fn inputs(&self, batch: &Self::Batch, part: Part) -> Result<Vec<(&'static str, Tensor)>, TorchError>;

    /// The inputs of the run's graph of kind `loss`, with images as bytes, for images of a validation loss: prepared as for
    /// training, but whatever is random is drawn for the image alone.
    ///
    /// # Errors
    /// When an image cannot be read, and libtorch's.
    fn fixed_inputs(&self, images: &FixedImages) -> Result<Vec<(&'static str, Tensor)>, TrainError>;

    /// The learning rate of a parameter in multiples of the configuration's.
    fn rate_ratio(&self, _parameter: &str) -> f64 {
        1.0
    }

    /// What finds out what an average gives for fixed inputs, under the names of a checkpoint's record ([`ddae_checkpoint`]). On
    /// the CPU in float32, whatever the run trains on, so that an export can be held against it; in another thread than the run's.
    fn recorder(&self) -> Recorder;

    /// Whether there are [`Scores`]. Where there are, the untrained network is evaluated too.
    fn has_scores(&self) -> bool {
        false
    }

    /// Whether scores, and those by timestep, are to be measured after so many epochs, whatever the run's options say.
    fn wants_scores(&self, _epoch: u64) -> bool {
        false
    }

    /// Evaluates the average of the weights, with the other ranks where there are any; rank 0 alone has the scores and the sheet. `None`
    /// if the run was to stop, and there is no sheet.
    ///
    /// # Errors
    /// libtorch's, the system's, or when another rank does not answer.
    fn evaluate(
        &self,
        plan: &TrainingPlan,
        average: &Parameters,
        wanted: &Evaluation,
        among: Division,
    ) -> Result<Option<Scores>, TrainError>;
}
