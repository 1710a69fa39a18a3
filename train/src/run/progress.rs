//! A run on the terminal.

use std::time::Duration;

use ddae_base::progress::{self, left};

/// Weight of the newest loss in the smoothed one.
const SMOOTHING: f64 = 0.05;

/// Shows steps, the smoothed loss, speed and remaining time on stderr.
#[derive(Debug)]
pub struct Progress {
    shown: progress::Progress,
    first: u64,
    total: u64,
    batch: u64,
    epochs: u64,
    loss: Option<f64>,
    /// Time spent training; checkpoints and samples are not part of it.
    training: Duration,
}

impl Progress {
    /// For a run that stands after `first` of `total` steps of `batch` images.
    pub fn new(first: u64, total: u64, batch: u64, epochs: u64, quiet: bool) -> Progress {
        let shown = progress::Progress::job(total, quiet);
        shown.set(first);
        Progress { shown, first, total, batch, epochs, loss: None, training: Duration::ZERO }
    }

    /// After the losses of further steps were read: `step` steps are finished, in `epoch` counted from 0; `training` is
    /// the time that this process has spent on steps.
    pub fn update(&mut self, step: u64, epoch: u64, losses: &[f64], training: Duration) {
        for &loss in losses.iter().filter(|loss| loss.is_finite()) {
            let smoothed = self.loss.map_or(loss, |old| old + SMOOTHING * (loss - old));
            self.loss = Some(smoothed);
        }
        self.training = training;
        let epoch = format!("epoch {}/{}", (epoch + 1).min(self.epochs), self.epochs);
        self.shown.show(step, &epoch, || {
            let loss = self.loss.map_or("-".to_string(), |loss| format!("{loss:.4}"));
            let (first, total, speed) = (self.first, self.total, self.images_per_second(step));
            let left = left(training, step.saturating_sub(first), total.saturating_sub(first));
            format!("step {step}/{total} loss {loss} {speed:.1} images/s {left}")
        });
    }

    /// Images per second so far.
    pub fn images_per_second(&self, step: u64) -> f64 {
        let images = (step.saturating_sub(self.first) * self.batch) as f64;
        images / self.training.as_secs_f64().max(1e-9)
    }

    /// The smoothed loss, once there is one.
    pub fn loss(&self) -> Option<f64> {
        self.loss
    }

    /// Writes a line of its own, above the bar where there is one.
    pub fn line(&self, text: &str) {
        self.shown.line(text);
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.shown.finish();
    }
}
