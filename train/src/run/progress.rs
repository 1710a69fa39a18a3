//! A run on the terminal.

use ddae_base::progress::{self, left, shown_rate};

use crate::training::meter::Speed;

/// Weight of the newest loss in the smoothed one.
const SMOOTHING: f64 = 0.05;

/// Shows steps, the smoothed loss, speed and remaining time on stderr.
#[derive(Debug)]
pub struct Progress {
    shown: progress::Progress,
    first: u64,
    total: u64,
    epochs: u64,
    loss: Option<f64>,
    /// The last validation loss.
    validation: Option<f64>,
    images_per_second: Option<f64>,
}

impl Progress {
    /// For a run that stands after `first` of `total` steps.
    pub fn new(first: u64, total: u64, epochs: u64, quiet: bool) -> Progress {
        let shown = progress::Progress::job(total, quiet);
        shown.set(first);
        Progress { shown, first, total, epochs, loss: None, validation: None, images_per_second: None }
    }

    /// Takes the losses of further steps.
    pub fn add(&mut self, losses: &[f64]) {
        for &loss in losses.iter().filter(|loss| loss.is_finite()) {
            let smoothed = self.loss.map_or(loss, |old| old + SMOOTHING * (loss - old));
            self.loss = Some(smoothed);
        }
    }

    /// Takes a validation loss.
    pub fn validated(&mut self, loss: f64) {
        self.validation = Some(loss);
    }

    /// `step` steps are finished, in `epoch` counted from 0; `speed` is that of all steps of this process, the last one
    /// included.
    pub fn update(&mut self, step: u64, epoch: u64, speed: Speed) {
        self.images_per_second = speed.images_per_second();
        let epoch = format!("epoch {}/{}", (epoch + 1).min(self.epochs), self.epochs);
        self.shown.show(step, &epoch, || {
            let loss = self.loss.map_or("-".to_string(), |loss| format!("{loss:.4}"));
            let (first, total, rate) = (self.first, self.total, shown_rate(self.images_per_second));
            let left = left(speed.time, step.saturating_sub(first), total.saturating_sub(first));
            let validation = self.validation.map_or(String::new(), |loss| format!("validation {loss:.4} "));
            format!("step {step}/{total} loss {loss} {validation}{rate} images/s {left}")
        });
    }

    /// Images per second so far, once they can be told.
    pub fn images_per_second(&self) -> Option<f64> {
        self.images_per_second
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
