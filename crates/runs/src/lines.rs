//! The lines of `stats.jsonl`: a JSON object per logging interval, one per validation loss and one per evaluation.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// One line: averages over the steps since the line before, whichever processes made them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StatsLine {
    /// Finished steps.
    pub step: u64,
    /// The epoch they are in, counted from 0.
    pub epoch: u64,
    /// How many steps are averaged over: those since the line before whose loss is finite. Fewer where a checkpoint of
    /// an earlier version came in between, which does not keep them.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub steps: Option<u64>,
    /// Mean loss.
    pub loss: f64,
    /// Learning rate of the last step.
    pub lr: f64,
    /// Mean norm of the gradients before clipping; null if no step had a finite one.
    pub grad_norm: Option<f64>,
    /// Images per second of this process's steps among them, checkpoints and samples not counted; null without any.
    pub images_per_second: Option<f64>,
    /// Seconds since this process began to train.
    pub seconds: f64,
    /// Share of their time spent waiting for images.
    pub data_wait: Option<f64>,
    /// Scale of the loss (fp16 only).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub loss_scale: Option<f64>,
    /// Steps left out because of an overflow (fp16 only).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub skipped_steps: Option<u64>,
}

/// One line of an evaluation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScoresLine {
    /// Finished steps.
    pub step: u64,
    /// Finished epochs.
    pub epoch: u64,
    /// Accuracies of a classifier at noise levels of its process, rising; none where they were not measured.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub by_timestep: Vec<TimestepAccuracy>,
    /// Of a classifier, how many images its `accuracy` is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<Count>,
    /// Scores from 0 to 1, as in `"knn_accuracy": 0.8`.
    #[serde(flatten)]
    pub scores: BTreeMap<String, f64>,
    /// How they were obtained.
    pub protocol: serde_json::Value,
}

/// How many images an accuracy is of.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Count {
    /// Images that were classified correctly, ...
    pub correct: usize,
    /// ... of so many.
    pub images: usize,
    /// Standard error of their share, `sqrt(p (1 - p) / images)`.
    pub standard_error: f64,
}

impl Count {
    /// With the standard error, which is 0 without images.
    pub fn new(correct: usize, images: usize) -> Count {
        let (share, images_at_least_1) = (correct as f64 / images.max(1) as f64, images.max(1) as f64);
        let standard_error = (share * (1.0 - share) / images_at_least_1).max(0.0).sqrt();
        Count { correct, images, standard_error }
    }

    /// The share of the images that were classified correctly; 0 without images.
    pub fn accuracy(&self) -> f64 {
        self.correct as f64 / self.images.max(1) as f64
    }
}

impl fmt::Display for Count {
    /// `± 0.0156 (1000 images)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "± {:.4} ({} images)", self.standard_error, self.images)
    }
}

/// How many images a classifier classified correctly at a noise level.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TimestepAccuracy {
    /// The timestep of a DDPM, or the step of an EDM's grid of 18.
    pub timestep: i64,
    /// Share of the images that were classified correctly.
    pub accuracy: f64,
    /// How many they are.
    #[serde(flatten)]
    pub count: Count,
}

/// One line of a validation loss.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ValidationLine {
    /// Finished steps.
    pub step: u64,
    /// Finished epochs.
    pub epoch: u64,
    /// Mean loss of the average of the weights; null where it is not finite.
    pub validation_loss: Option<f64>,
    /// How many images it is of, ...
    pub images: usize,
    /// ... and where they are from.
    pub split: String,
}

/// A line of any kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Line {
    /// Of a logging interval.
    Stats(StatsLine),
    /// Of an evaluation.
    Scores(ScoresLine),
    /// Of a validation loss.
    Validation(ValidationLine),
}

impl Line {
    /// Reads a line; none where it is of no kind that this version knows.
    pub fn parse(line: &str) -> Option<Line> {
        let validation = serde_json::from_str(line).map(Line::Validation);
        let stats = || serde_json::from_str(line).map(Line::Stats);
        let scores = || serde_json::from_str(line).map(Line::Scores);
        validation.or_else(|_| stats()).or_else(|_| scores()).ok()
    }
}
