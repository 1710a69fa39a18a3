//! Losses, gradient norms and speed between the step that makes them and the log that shows them.
//!
//! Reading a value from a GPU waits for it, so steps leave their scalars here and they are read in groups.

use std::time::Duration;

use ddae_base::progress::rate;
use ddae_checkpoint::SinceLine;
use tch::{Kind, Tensor};

use super::trainer::StepResult;
use crate::TrainError;
use crate::run::stats::StatsLine;
use crate::torch::TorchError;

/// Gathers the results of steps until a line of the log is due.
#[derive(Debug, Default)]
pub struct Meter {
    /// Steps not yet read: their number, learning rate and scalars.
    pending: Vec<(u64, f64, StepResult)>,
    /// The losses and norms since the last line, those of the processes before among them.
    since_line: SinceLine,
    last_rate: f64,
    /// This process's steps since the last line, and of all.
    speed: Speed,
    total: Speed,
}

/// Images that were trained on, and how long it took.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Speed {
    /// Images.
    pub images: u64,
    /// Time of their steps; that of checkpoints and samples is not part of it.
    pub time: Duration,
    /// The part of it spent waiting for images.
    pub waiting: Duration,
}

impl Speed {
    fn add(&mut self, other: Speed) {
        self.images += other.images;
        self.time += other.time;
        self.waiting += other.waiting;
    }

    /// Images per second; none without an image or a time.
    pub fn images_per_second(&self) -> Option<f64> {
        rate(self.images as f64, self.time)
    }

    /// The share of the time spent waiting; none without an image or a time.
    fn data_wait(&self) -> Option<f64> {
        self.images_per_second().map(|_| self.waiting.as_secs_f64() / self.time.as_secs_f64())
    }
}

/// Steps whose results were just read.
#[derive(Debug, Default, PartialEq)]
pub struct Read {
    /// Their losses.
    pub losses: Vec<f64>,
    /// The first whose loss or gradients are not finite: its number, its learning rate and what it was.
    pub broken: Option<(u64, f64, String)>,
}

impl Meter {
    /// For a run whose last step had this learning rate, with what its checkpoint says of the steps since the last line.
    pub fn new(since_line: SinceLine, last_rate: f64) -> Meter {
        Meter { since_line, last_rate, ..Meter::default() }
    }

    /// Adds a step, counted from 1.
    pub fn add(&mut self, step: u64, learning_rate: f64, result: StepResult) {
        self.pending.push((step, learning_rate, result));
        self.last_rate = learning_rate;
    }

    /// Adds what a step took.
    pub fn spend(&mut self, speed: Speed) {
        self.speed.add(speed);
        self.total.add(speed);
    }

    /// Steps that were not read yet.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// All steps of this process.
    pub fn total(&self) -> Speed {
        self.total
    }

    /// The steps read since the last line, for a checkpoint.
    pub fn since_line(&self) -> SinceLine {
        self.since_line
    }

    /// Reads the steps that were not read yet, waiting for the device.
    ///
    /// # Errors
    /// libtorch's.
    pub fn read(&mut self) -> Result<Read, TrainError> {
        if self.pending.is_empty() {
            return Ok(Read::default());
        }
        let losses: Vec<&Tensor> = self.pending.iter().map(|(.., result)| &result.loss).collect();
        let norms: Vec<&Tensor> = self.pending.iter().map(|(.., result)| &result.norm).collect();
        let (losses, norms) = (values(&losses)?, values(&norms)?);
        let broken =
            self.pending.iter().zip(losses.iter().zip(&norms)).find_map(|((step, rate, _), (l, n))| {
                let what = match (l.is_finite(), n.is_finite()) {
                    (true, true) => return None,
                    (false, _) => format!("the loss was {l}"),
                    (true, false) => format!("the gradients' norm was {n}"),
                };
                Some((*step, *rate, what))
            });
        self.since_line.add(&losses, &norms);
        self.pending.clear();
        Ok(Read { losses, broken })
    }

    /// The averages since the last line; `None` where no step was read since.
    pub fn line(&mut self, step: u64, epoch: u64) -> Option<StatsLine> {
        let SinceLine { steps, loss, normed_steps, norm } = self.since_line;
        if steps == 0 {
            return None;
        }
        let line = StatsLine {
            step,
            epoch,
            steps: Some(steps),
            loss: loss / steps as f64,
            lr: self.last_rate,
            grad_norm: (normed_steps > 0).then(|| norm / normed_steps as f64),
            images_per_second: self.speed.images_per_second(),
            seconds: self.total.time.as_secs_f64(),
            data_wait: self.speed.data_wait(),
            loss_scale: None,
            skipped_steps: None,
        };
        (self.since_line, self.speed) = (SinceLine::default(), Speed::default());
        Some(line)
    }
}

fn values(scalars: &[&Tensor]) -> Result<Vec<f64>, TorchError> {
    Tensor::f_stack(scalars, 0)
        .and_then(|stacked| Vec::<f64>::try_from(stacked.f_reshape([-1])?.f_to_kind(Kind::Double)?))
        .map_err(|e| TorchError::at("loss", e))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(loss: f32, norm: f32) -> StepResult {
        StepResult { loss: Tensor::from(loss), norm: Tensor::from(norm) }
    }

    fn add(meter: &mut Meter, step: u64, result: StepResult) {
        meter.add(step, 1e-3, result);
        let (time, waiting) = (Duration::from_millis(500), Duration::from_millis(50));
        meter.spend(Speed { images: 64, time, waiting });
    }

    #[test]
    fn a_line_averages_the_steps_since_the_last() {
        let mut meter = Meter::default();
        add(&mut meter, 0, result(1.0, 2.0));
        add(&mut meter, 1, result(0.5, 4.0));
        assert_eq!(meter.read().expect("read"), Read { losses: vec![1.0, 0.5], broken: None });
        let line = meter.line(2, 0).expect("a line");
        assert_eq!((line.steps, line.loss, line.grad_norm), (Some(2), 0.75, Some(3.0)));
        assert!((line.images_per_second.expect("a speed") - 128.0).abs() < 1e-9);
        assert!((line.data_wait.expect("a share") - 0.1).abs() < 1e-9);
        assert_eq!(meter.line(2, 0), None);
        assert_eq!(meter.total().time, Duration::from_secs(1));
    }

    #[test]
    fn a_line_averages_steps_of_the_process_before_too() {
        let mut before = Meter::default();
        add(&mut before, 5, result(1.0, 2.0));
        before.read().expect("read");
        let mut meter = Meter::new(before.since_line(), 1e-4);
        let line = Meter::new(before.since_line(), 1e-4).line(5, 0).expect("a line");
        assert_eq!((line.lr, line.images_per_second, line.data_wait), (1e-4, None, None));
        add(&mut meter, 6, result(0.5, f32::INFINITY));
        meter.read().expect("read");
        let line = meter.line(6, 0).expect("a line");
        assert_eq!((line.steps, line.loss, line.grad_norm, line.lr), (Some(2), 0.75, Some(2.0), 1e-3));
        assert!((line.images_per_second.expect("a speed") - 128.0).abs() < 1e-9, "of this process");
    }

    #[test]
    fn the_first_broken_step_is_named() {
        let mut meter = Meter::default();
        add(&mut meter, 7, result(1.0, 2.0));
        add(&mut meter, 8, result(1.0, f32::INFINITY));
        add(&mut meter, 9, result(f32::NAN, f32::NAN));
        let broken = meter.read().expect("read").broken.expect("broken");
        assert_eq!(broken, (8, 1e-3, "the gradients' norm was inf".to_string()));
    }
}
