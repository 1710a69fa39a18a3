//! The moving average of the weights that samples and features are made with.

use tch::Device;

use crate::torch::shim::cuda::{Average, Scalar, has_kernels};
use crate::torch::{Parameters, TorchError, shim};

/// The decay of the update after step `step`, counted from 0: `1 - (1 + step)^(-2/3)`, at most `beta`.
///
/// The first update copies. Source: `ema_pytorch` with `update_after_step = 0`, `update_every = 1`, as the published
/// code uses it.
pub fn decay(step: u64, beta: f64) -> f64 {
    match step {
        0 => 0.0,
        n => (1.0 - (1.0 + n as f64).powf(-2.0 / 3.0)).clamp(0.0, beta),
    }
}

/// The average of a network's weights while that is trained.
#[derive(Debug)]
pub struct Ema {
    beta: f64,
    /// How far the next update goes: 1 less the decay.
    weight: f64,
    /// On a GPU with the project's kernels: the same there, so that a step that is replayed reads it.
    on_device: Option<(Average, Scalar)>,
}

impl Ema {
    /// Of `weights` into `average`, with the largest decay `beta`.
    ///
    /// # Errors
    /// libtorch's.
    pub fn new(
        average: &Parameters,
        weights: &Parameters,
        beta: f64,
        device: Device,
    ) -> Result<Ema, TorchError> {
        let on_device = match has_kernels(device) {
            true => Some((Average::new(average.state(), weights.state(), device)?, Scalar::new(device)?)),
            false => None,
        };
        Ok(Ema { beta, weight: 1.0, on_device })
    }

    /// Whether an update can be recorded and replayed.
    pub fn is_on_device(&self) -> bool {
        self.on_device.is_some()
    }

    /// The next update is that after step `step`, counted from 0.
    ///
    /// # Errors
    /// libtorch's.
    pub fn set_step(&mut self, step: u64) -> Result<(), TorchError> {
        self.weight = 1.0 - decay(step, self.beta);
        self.on_device.as_ref().map_or(Ok(()), |(_, scalar)| scalar.set(self.weight))
    }

    /// `average += weight (weights - average)`. Buffers are averaged like the weights, as `ema_pytorch` does with those of
    /// floating-point types.
    ///
    /// # Errors
    /// libtorch's.
    pub fn update(&self, average: &Parameters, weights: &Parameters) -> Result<(), TorchError> {
        match &self.on_device {
            Some((pieces, weight)) => pieces.update(weight.tensor()),
            None if self.weight == 1.0 => shim::copy(average.state(), weights.state()),
            None => shim::lerp(average.state(), weights.state(), self.weight),
        }
    }
}
