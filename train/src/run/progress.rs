//! A run on the terminal: a bar where stderr is one, plain lines elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use ddae_base::tell;
use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Time between plain lines.
const PLAIN_INTERVAL: Duration = Duration::from_secs(30);
/// Weight of the newest loss in the smoothed one.
const SMOOTHING: f64 = 0.05;

/// Shows steps, the smoothed loss, speed and remaining time on stderr.
#[derive(Debug)]
pub struct Progress {
    bar: Option<ProgressBar>,
    quiet: bool,
    first: u64,
    total: u64,
    batch: u64,
    epochs: u64,
    loss: Option<f64>,
    /// Time spent training; checkpoints and samples are not part of it.
    training: Duration,
    last_line: Instant,
}

impl Progress {
    /// For a run that stands after `first` of `total` steps of `batch` images.
    pub fn new(first: u64, total: u64, batch: u64, epochs: u64, quiet: bool) -> Progress {
        let style = ProgressStyle::with_template("{prefix} {wide_bar:.cyan/blue} {pos}/{len} {msg}");
        let bar = match style {
            Ok(style) if !quiet && std::io::stderr().is_terminal() => {
                let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr_with_hz(4));
                bar.set_style(style);
                bar.set_position(first);
                Some(bar)
            }
            _ => None,
        };
        let (loss, training, last_line) = (None, Duration::ZERO, Instant::now());
        Progress { bar, quiet, first, total, batch, epochs, loss, training, last_line }
    }

    /// After the losses of further steps were read: `step` steps are finished, in `epoch` counted from 0; `training` is
    /// the time that this process has spent on steps.
    pub fn update(&mut self, step: u64, epoch: u64, losses: &[f64], training: Duration) {
        for &loss in losses.iter().filter(|loss| loss.is_finite()) {
            let smoothed = self.loss.map_or(loss, |old| old + SMOOTHING * (loss - old));
            self.loss = Some(smoothed);
        }
        self.training = training;
        let epoch = (epoch + 1).min(self.epochs);
        if let Some(bar) = &self.bar {
            bar.set_prefix(format!("epoch {epoch}/{}", self.epochs));
            bar.set_position(step);
            bar.set_message(self.message(step));
        } else if self.last_line.elapsed() >= PLAIN_INTERVAL {
            let (epochs, total) = (self.epochs, self.total);
            self.line(&format!("epoch {epoch}/{epochs} step {step}/{total} {}", self.message(step)));
            self.last_line = Instant::now();
        }
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

    fn message(&self, step: u64) -> String {
        let loss = self.loss.map_or("-".to_string(), |loss| format!("{loss:.4}"));
        let done = step.saturating_sub(self.first).max(1) as f64;
        let left = self.training.as_secs_f64() / done * self.total.saturating_sub(step) as f64;
        let left = HumanDuration(Duration::try_from_secs_f64(left).unwrap_or(Duration::MAX));
        format!("loss {loss} {:.1} images/s {left:#} left", self.images_per_second(step))
    }

    /// Writes a line of its own, above the bar where there is one.
    pub fn line(&self, text: &str) {
        match &self.bar {
            _ if self.quiet => {}
            Some(bar) => bar.suspend(|| tell(text)),
            None => tell(text),
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
