//! The gradient scaler of fp16.

use tch::{Device, Kind, Tensor};

use crate::torch::{TorchError, shim};

/// The loss is multiplied by a scale before it is propagated back, so that small gradients do not vanish in fp16. The
/// scale halves when a gradient overflows and doubles after [`GradScaler::GROWTH_INTERVAL`] steps without that.
#[derive(Debug)]
pub struct GradScaler {
    pub(crate) scale: Tensor,
    /// The scale of gradients that were divided by it already.
    pub(crate) one: Tensor,
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
    pub(crate) fn unscale(&self, gradients: &[Tensor]) -> Result<Tensor, TorchError> {
        let failed = |e| TorchError::at("gradient scaler", e);
        let found_inf = self.scale.f_zeros_like().map_err(failed)?;
        shim::unscale(gradients, &self.scale.f_reciprocal().map_err(failed)?, &found_inf)?;
        Ok(found_inf)
    }

    /// Adjusts the scale after a step.
    pub(crate) fn update(&mut self, found_inf: &Tensor) -> Result<(), TorchError> {
        let (growth, backoff, interval) = (Self::GROWTH, Self::BACKOFF, Self::GROWTH_INTERVAL);
        let tracker = &self.growth_tracker;
        let updated = self.scale.f_internal_amp_update_scale_(tracker, found_inf, growth, backoff, interval);
        updated.map(|_| ()).map_err(|e| TorchError::at("gradient scaler", e))
    }
}
