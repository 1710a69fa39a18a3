//! The moving average of the weights that samples and features are made with.

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

/// Updates the average after step `step`, counted from 0: `average += (1 - decay) (weights - average)`. Buffers are
/// averaged like the weights, as `ema_pytorch` does with those of floating-point types.
///
/// # Errors
/// libtorch's.
pub fn update(average: &Parameters, weights: &Parameters, step: u64, beta: f64) -> Result<(), TorchError> {
    match decay(step, beta) {
        0.0 => shim::copy(average.state(), weights.state()),
        decay => shim::lerp(average.state(), weights.state(), 1.0 - decay),
    }
}
