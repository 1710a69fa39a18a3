//! The published linear probe: a linear layer trained by Adam in some epochs, as DDAE, SODA and DiT's features are
//! measured.
//!
//! | module | subject |
//! | --- | --- |
//! | [`model`] | the layer, and batch normalisation before it |
//! | [`trainer`] | a step of training |
//!
//! The result is not the minimum of a loss but where some epochs of noisy steps lead, so it depends on the seed:
//! initial weights, order of the rows and, where a training file has several views, which of them is seen in an epoch.
//! For the minimum see [`crate::logistic`].

pub mod model;
pub mod trainer;

use std::f64::consts::PI;

use ddae_base::random::{Purpose, stream};
use ndarray::{Array2, ArrayView2, Axis};

use crate::error::{ClassifyError, Result};
use crate::scaling::Normalisation;
use model::LinearModel;
use trainer::Trainer;

/// How to train.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinearOptions {
    /// Passes over the training set, at least 1.
    pub epochs: usize,
    /// Rows in a step, at least 1; the last step of an epoch takes what is left.
    pub batch: usize,
    /// Adam's learning rate in the first epoch, above 0.
    pub learning_rate: f64,
    /// What is done to features first.
    pub normalisation: Normalisation,
    /// Whether batch normalisation without scale and shift stands before the layer.
    pub batch_norm: bool,
    /// Of initial weights, order and views.
    pub seed: u64,
}

/// The published settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// DDAE's: 15 epochs on features as they are.
    Ddae,
    /// SODA's: L2-normalised features and batch normalisation, 15 epochs.
    Soda,
    /// DiT's features: 30 epochs on features as they are.
    Dit,
}

impl Preset {
    /// The name on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ddae => "ddae",
            Self::Soda => "soda",
            Self::Dit => "dit",
        }
    }

    /// Its settings, with seed 0.
    pub fn options(self) -> LinearOptions {
        let plain = LinearOptions {
            epochs: 15,
            batch: 128,
            learning_rate: 1e-3,
            normalisation: Normalisation::None,
            batch_norm: false,
            seed: 0,
        };
        match self {
            Self::Ddae => plain,
            Self::Soda => LinearOptions { normalisation: Normalisation::L2, batch_norm: true, ..plain },
            Self::Dit => LinearOptions { epochs: 30, ..plain },
        }
    }
}

/// The learning rate of an epoch, counted from 0: half a cosine wave from the first rate towards 0, which it would reach
/// after the last epoch (PyTorch's `CosineAnnealingLR`, stepped per epoch).
pub fn learning_rate(options: &LinearOptions, epoch: usize) -> f64 {
    options.learning_rate * 0.5 * (1.0 + (PI * epoch as f64 / options.epochs as f64).cos())
}

/// What a training passes over, epoch by epoch: rows `[N, D]`, scaled.
pub trait TrainingRows {
    /// N and D.
    fn size(&self) -> [usize; 2];

    /// The rows of an epoch, counted from 0.
    ///
    /// # Errors
    /// As [`crate::rows::Rows::read`].
    fn of_epoch(&mut self, epoch: usize) -> Result<ArrayView2<'_, f32>>;
}

/// The same rows in every epoch.
impl TrainingRows for Array2<f32> {
    fn size(&self) -> [usize; 2] {
        [self.nrows(), self.ncols()]
    }

    fn of_epoch(&mut self, _epoch: usize) -> Result<ArrayView2<'_, f32>> {
        Ok(self.view())
    }
}

/// How a training ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrainingSummary {
    /// Steps taken.
    pub steps: usize,
    /// Mean cross-entropy of the rows seen in the last epoch, each before the step it took part in, in nats.
    pub last_loss: f64,
}

/// What learns from batches.
pub(crate) trait Learner {
    /// One step on the mean cross-entropy of a batch `[N, D]` with its classes. Returns the loss before it, in nats.
    fn step(&mut self, features: Array2<f32>, classes: &[usize], learning_rate: f64) -> f64;

    /// Whether all weights are finite.
    fn is_finite(&self) -> bool;
}

/// Whether all numbers of weights are finite.
pub(crate) fn all_finite<'a>(weights: impl IntoIterator<Item = &'a f32>) -> bool {
    weights.into_iter().all(|weight| weight.is_finite())
}

impl Learner for Trainer {
    fn step(&mut self, features: Array2<f32>, classes: &[usize], learning_rate: f64) -> f64 {
        Trainer::step(self, features, classes, learning_rate)
    }

    fn is_finite(&self) -> bool {
        all_finite(self.model().weight.iter().chain(&self.model().bias))
    }
}

/// Trains a layer on `rows`, with one class index below `class_count` for each. `progress` is told the number of rows after
/// each step.
///
/// With batch normalisation a single row that is left at an epoch's end is passed over: it has no variance.
///
/// # Errors
/// When rows cannot be read, the loss or a weight is not finite any more, or batch normalisation has no batch to work with.
///
/// # Panics
/// When there is not one class for each row.
pub fn train(
    rows: &mut impl TrainingRows,
    classes: &[usize],
    class_count: usize,
    options: &LinearOptions,
    progress: &mut dyn FnMut(u64),
) -> Result<(LinearModel, TrainingSummary)> {
    let [_, dim] = rows.size();
    let mut trainer = Trainer::new(LinearModel::initial(dim, class_count, options.batch_norm, options.seed));
    let summary = fit(&mut trainer, rows, classes, options, progress)?;
    Ok((trainer.finish(), summary))
}

/// Leads a learner through the epochs.
///
/// # Errors
/// As [`train`].
pub(crate) fn fit(
    learner: &mut impl Learner,
    rows: &mut impl TrainingRows,
    classes: &[usize],
    options: &LinearOptions,
    progress: &mut dyn FnMut(u64),
) -> Result<TrainingSummary> {
    let count = rows.size()[0];
    assert_eq!(count, classes.len(), "one class per row");
    let least = if options.batch_norm { 2 } else { 1 };
    if count.min(options.batch) < least {
        return Err(ClassifyError::BatchOfOne { rows: count, batch: options.batch });
    }
    let mut summary = TrainingSummary { steps: 0, last_loss: 0.0 };
    for epoch in 0..options.epochs {
        let features = rows.of_epoch(epoch)?;
        let mut order: Vec<usize> = (0..count).collect();
        stream(options.seed, Purpose::Shuffle, 0, epoch as u64).shuffle(&mut order);
        let learning_rate = learning_rate(options, epoch);
        let (mut sum, mut seen) = (0.0, 0);
        for batch in order.chunks(options.batch).filter(|batch| batch.len() >= least) {
            let of_batch: Vec<usize> = batch.iter().map(|&row| classes[row]).collect();
            let loss = learner.step(features.select(Axis(0), batch), &of_batch, learning_rate);
            if !loss.is_finite() {
                return Err(ClassifyError::Diverged { loss, epoch: epoch + 1, learning_rate });
            }
            sum += loss * batch.len() as f64;
            seen += batch.len();
            summary.steps += 1;
            progress(batch.len() as u64);
        }
        summary.last_loss = sum / seen as f64;
    }
    // Losses are taken before their step: the last may have led astray.
    if !learner.is_finite() {
        let learning_rate = learning_rate(options, options.epochs.saturating_sub(1));
        return Err(ClassifyError::Diverged { loss: f64::NAN, epoch: options.epochs, learning_rate });
    }
    Ok(summary)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One step, whose loss is that of the initial weights.
    #[test]
    fn a_last_step_that_leads_astray_is_told() {
        let rows = || Array2::from_shape_fn((4, 17), |(i, j)| if j == 16 { 1.0 } else { (i * 3 + j) as f32 });
        let options = LinearOptions { epochs: 1, learning_rate: 1e39, ..Preset::Ddae.options() };
        let classes = [0, 1, 0, 1];
        let told = [
            train(&mut rows(), &classes, 2, &options, &mut |_| ()).map(|_| ()),
            crate::mlp::train(&mut rows(), &classes, 2, 8, &options, &mut |_| ()).map(|_| ()),
            crate::noise_mlp::train(&mut rows(), &classes, 2, &options, &mut |_| ()).map(|_| ()),
        ];
        for told in told {
            let error = told.expect_err("weights that are not finite");
            assert!(matches!(error, ClassifyError::Diverged { epoch: 1, .. }), "{error}");
        }
    }

    #[test]
    fn the_learning_rate_falls_like_a_cosine() {
        let options = LinearOptions { epochs: 4, learning_rate: 2.0, ..Preset::Ddae.options() };
        let rates: Vec<f64> = (0..4).map(|epoch| learning_rate(&options, epoch)).collect();
        let half = 0.5_f64.sqrt();
        for (rate, expected) in rates.iter().zip([2.0, 1.0 + half, 1.0, 1.0 - half]) {
            assert!((rate - expected).abs() < 1e-12, "{rates:?}");
        }
    }

    #[test]
    fn presets_are_the_published_protocols() {
        let ddae = Preset::Ddae.options();
        assert_eq!((ddae.epochs, ddae.batch, ddae.learning_rate), (15, 128, 1e-3));
        assert_eq!((ddae.normalisation, ddae.batch_norm), (Normalisation::None, false));
        let soda = Preset::Soda.options();
        assert_eq!((soda.normalisation, soda.batch_norm), (Normalisation::L2, true));
        assert_eq!(LinearOptions { normalisation: Normalisation::None, batch_norm: false, ..soda }, ddae);
        assert_eq!(LinearOptions { epochs: 15, ..Preset::Dit.options() }, ddae);
    }
}
