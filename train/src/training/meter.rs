//! Losses, gradient norms and speed between the step that makes them and the log that shows them.
//!
//! Reading a value from a GPU waits for it, so steps leave their scalars here and they are read in groups.

use std::time::Duration;

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
    losses: Vec<f64>,
    norms: Vec<f64>,
    last_rate: f64,
    /// Time of the steps since the last line, and how much of it was spent waiting for images.
    time: Duration,
    waiting: Duration,
    /// Time of all steps of this process.
    total: Duration,
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
    /// Adds a step, counted from 1.
    pub fn add(&mut self, step: u64, learning_rate: f64, result: StepResult) {
        self.pending.push((step, learning_rate, result));
        self.last_rate = learning_rate;
    }

    /// Adds the time of a step, and the part of it spent waiting for images.
    pub fn spend(&mut self, time: Duration, waiting: Duration) {
        self.time += time;
        self.waiting += waiting;
        self.total += time;
    }

    /// Steps that were not read yet.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Time of all steps of this process.
    pub fn total(&self) -> Duration {
        self.total
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
        self.losses.extend(losses.iter().filter(|l| l.is_finite()));
        self.norms.extend(norms.iter().filter(|n| n.is_finite()));
        self.pending.clear();
        Ok(Read { losses, broken })
    }

    /// The averages since the last line; `None` where no step was read since. `batch` images make a step.
    pub fn line(&mut self, step: u64, epoch: u64, batch: u64) -> Option<StatsLine> {
        if self.losses.is_empty() {
            return None;
        }
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let seconds = self.time.as_secs_f64().max(1e-9);
        let line = StatsLine {
            step,
            epoch,
            loss: mean(&self.losses),
            lr: self.last_rate,
            grad_norm: (!self.norms.is_empty()).then(|| mean(&self.norms)),
            images_per_second: (self.losses.len() as u64 * batch) as f64 / seconds,
            seconds: self.total.as_secs_f64(),
            data_wait: self.waiting.as_secs_f64() / seconds,
            loss_scale: None,
            skipped_steps: None,
        };
        self.losses.clear();
        self.norms.clear();
        (self.time, self.waiting) = (Duration::ZERO, Duration::ZERO);
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
        meter.spend(Duration::from_millis(500), Duration::from_millis(50));
    }

    #[test]
    fn a_line_averages_the_steps_since_the_last() {
        let mut meter = Meter::default();
        add(&mut meter, 0, result(1.0, 2.0));
        add(&mut meter, 1, result(0.5, 4.0));
        assert_eq!(meter.read().expect("read"), Read { losses: vec![1.0, 0.5], broken: None });
        let line = meter.line(2, 0, 64).expect("a line");
        assert_eq!((line.loss, line.grad_norm), (0.75, Some(3.0)));
        assert!((line.images_per_second - 128.0).abs() < 1e-9);
        assert!((line.data_wait - 0.1).abs() < 1e-9);
        assert_eq!(meter.line(2, 0, 64), None);
        assert_eq!(meter.total(), Duration::from_secs(1));
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
