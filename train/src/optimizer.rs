//! Adam and AdamW with state that we own, so that a checkpoint can hold all of it; and the gradient scaler of fp16.

use ddae_model::config::{Optim, OptimArgs};
use tch::{Device, Kind, TchError, Tensor};

use crate::torch::shim::{self, AdamStep, AdamTensors, Scaled};
use crate::torch::{Parameters, TorchError};

/// Largest joint norm of the gradients, as published.
pub const MAX_GRADIENT_NORM: f64 = 1.0;

/// Adam (arXiv 1412.6980) or AdamW (arXiv 1711.05101) over a network's parameters.
#[derive(Debug)]
pub struct Optimizer {
    kind: Optim,
    arguments: OptimArgs,
    /// Moving average of the gradients.
    pub exp_avg: Parameters,
    /// Moving average of their squares.
    pub exp_avg_sq: Parameters,
    /// The number of steps taken, once per parameter as the fused kernel wants it. All are one tensor.
    steps: Vec<Tensor>,
    /// Only under fp16.
    scaler: Option<GradScaler>,
}

impl Optimizer {
    /// A fresh optimiser for `weights`.
    ///
    /// # Errors
    /// libtorch's, as for lack of memory.
    pub fn new(
        kind: Optim,
        arguments: OptimArgs,
        weights: &Parameters,
        device: Device,
        scaler: Option<GradScaler>,
    ) -> Result<Optimizer, TorchError> {
        let (exp_avg, exp_avg_sq) = (weights.zeros_like()?, weights.zeros_like()?);
        let mut optimizer = Optimizer { kind, arguments, exp_avg, exp_avg_sq, steps: Vec::new(), scaler };
        optimizer.set_steps(0, device)?;
        Ok(optimizer)
    }

    /// Sets the number of steps taken, as when a run resumes.
    ///
    /// # Errors
    /// libtorch's.
    pub fn set_steps(&mut self, steps: u64, device: Device) -> Result<(), TorchError> {
        let count = Tensor::f_full([], steps as f64, (Kind::Float, device));
        let count = count.map_err(|e| TorchError::at("Adam", e))?;
        self.steps = self.exp_avg.tensors().iter().map(|_| count.shallow_clone()).collect();
        Ok(())
    }

    /// The number of steps taken; those that the gradient scaler left out are not among them. Waits for the device.
    ///
    /// # Errors
    /// libtorch's.
    pub fn steps(&self) -> Result<u64, TorchError> {
        let count = self.steps.first().map_or(Ok(0.0), |count| count.f_double_value(&[]));
        count.map(|count| count as u64).map_err(|e| TorchError::at("Adam", e))
    }

    /// The scaler of fp16.
    pub fn scaler(&self) -> Option<&GradScaler> {
        self.scaler.as_ref()
    }

    /// Replaces the scaler, as when a run resumes.
    pub fn set_scaler(&mut self, scaler: GradScaler) {
        self.scaler = Some(scaler);
    }

    /// Propagates `loss` back and moves `weights`, their gradients clipped to a joint norm of
    /// [`MAX_GRADIENT_NORM`]. Gives the norm before the clipping, a scalar tensor, so that a GPU is not waited for.
    ///
    /// Under fp16, a step whose gradients are not finite moves nothing and lowers the scale; its norm is not finite.
    ///
    /// # Errors
    /// libtorch's.
    pub fn step(
        &mut self,
        loss: &Tensor,
        weights: &Parameters,
        learning_rate: f64,
    ) -> Result<Tensor, TorchError> {
        let failed = |e| TorchError::at("backward", e);
        match &self.scaler {
            Some(scaler) => loss.f_mul(&scaler.scale).and_then(|scaled| scaled.f_backward()),
            None => loss.f_backward(),
        }
        .map_err(failed)?;
        let gradients = weights.gradients()?;
        let found_inf = self.scaler.as_ref().map(|scaler| scaler.unscale(&gradients)).transpose()?;
        let norm = shim::clip_gradients(&gradients, MAX_GRADIENT_NORM)?;

        // The kernel wants the count with this step; one that is left out is taken back below.
        self.count(|count| count.f_add_scalar_(1.0))?;
        let step = AdamStep {
            learning_rate,
            beta1: self.arguments.betas[0],
            beta2: self.arguments.betas[1],
            eps: self.arguments.eps,
            weight_decay: self.arguments.weight_decay,
            decoupled: self.kind == Optim::AdamW,
        };
        let tensors = AdamTensors {
            parameters: weights.tensors(),
            gradients: &gradients,
            first_moments: self.exp_avg.tensors(),
            second_moments: self.exp_avg_sq.tensors(),
            steps: &self.steps,
        };
        match (&mut self.scaler, &found_inf) {
            (Some(scaler), Some(found_inf)) => {
                // The gradients are unscaled already: they were clipped.
                shim::adam_step(step, &tensors, Some(Scaled { scale: &scaler.one, found_inf }))?;
                scaler.update(found_inf)?;
                self.count(|count| count.f_sub_(found_inf))?;
            }
            _ => shim::adam_step(step, &tensors, None)?,
        }
        shim::clear_gradients(weights.tensors())?;
        Ok(norm)
    }

    /// Changes the number of steps taken.
    fn count(&self, change: impl FnOnce(&mut Tensor) -> Result<Tensor, TchError>) -> Result<(), TorchError> {
        let Some(count) = self.steps.first() else { return Ok(()) };
        change(&mut count.shallow_clone()).map(|_| ()).map_err(|e| TorchError::at("Adam", e))
    }
}

/// The loss is multiplied by a scale before it is propagated back, so that small gradients do not vanish in fp16. The
/// scale halves when a gradient overflows and doubles after [`GradScaler::GROWTH_INTERVAL`] steps without that.
#[derive(Debug)]
pub struct GradScaler {
    scale: Tensor,
    one: Tensor,
    /// Steps since the scale last changed.
    growth_tracker: Tensor,
}

impl GradScaler {
    /// The scale at first, as in PyTorch.
    pub const INITIAL_SCALE: f64 = 65536.0;
    /// Factor of a growth.
    pub const GROWTH: f64 = 2.0;
    /// Factor after an overflow.
    pub const BACKOFF: f64 = 0.5;
    /// Steps without overflow until a growth.
    pub const GROWTH_INTERVAL: i64 = 2000;

    /// A scaler of this scale, `steps` after its last change.
    ///
    /// # Errors
    /// libtorch's.
    pub fn new(scale: f64, steps: u64, device: Device) -> Result<GradScaler, TorchError> {
        let failed = |e| TorchError::at("gradient scaler", e);
        let scalar = |value: f64| Tensor::f_full([], value, (Kind::Float, device)).map_err(failed);
        Ok(GradScaler {
            scale: scalar(scale)?,
            one: scalar(1.0)?,
            growth_tracker: Tensor::f_full([], steps as i64, (Kind::Int, device)).map_err(failed)?,
        })
    }

    /// The scale, and the steps since it last changed. Waits for the device.
    ///
    /// # Errors
    /// libtorch's.
    pub fn state(&self) -> Result<(f64, u64), TorchError> {
        let scale = self.scale.f_double_value(&[]);
        let steps = self.growth_tracker.f_int64_value(&[]);
        scale
            .and_then(|scale| Ok((scale, steps?.max(0) as u64)))
            .map_err(|e| TorchError::at("gradient scaler", e))
    }

    /// Divides the gradients by the scale; gives 1 if one of them is not finite, else 0.
    fn unscale(&self, gradients: &[Tensor]) -> Result<Tensor, TorchError> {
        let failed = |e| TorchError::at("gradient scaler", e);
        let found_inf = self.scale.f_zeros_like().map_err(failed)?;
        shim::unscale(gradients, &self.scale.f_reciprocal().map_err(failed)?, &found_inf)?;
        Ok(found_inf)
    }

    fn update(&mut self, found_inf: &Tensor) -> Result<(), TorchError> {
        let (growth, backoff, interval) = (Self::GROWTH, Self::BACKOFF, Self::GROWTH_INTERVAL);
        let tracker = &self.growth_tracker;
        let updated = self.scale.f_internal_amp_update_scale_(tracker, found_inf, growth, backoff, interval);
        updated.map(|_| ()).map_err(|e| TorchError::at("gradient scaler", e))
    }
}
