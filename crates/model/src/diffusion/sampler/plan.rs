//! What a sampling run consists of.
//!
//! One step of the graph of kind `sampler` (see [`super::sampler_graph`]) computes, with `x0` and `eps` (DDPM) or `D`
//! (EDM) predicted by the network from `x`:
//!
//! - DDPM: `next = a x + b x0 + c eps + d noise + e carry` and `next_carry = x0`
//! - EDM: `next = a x + b D + c carry + d noise` and `next_carry = e x + f D + g carry`

use crate::config::DdpmConfig;
use crate::diffusion::ddpm::Tables;
use crate::tensor::{DType, Tensor};

/// Settings that no sampling run can have.
#[derive(Clone, Debug, thiserror::Error, PartialEq)]
#[error("{0}")]
pub struct PlanError(pub(super) String);

/// One network call.
#[derive(Clone, Debug, PartialEq)]
pub struct SamplerStep {
    /// The scalar that the network embeds.
    pub t: f32,
    /// How the network's input and result are scaled: `[sqrt_alpha_bar, sqrt_one_minus_alpha_bar]` (DDPM) or
    /// `[c_in, c_skip, c_out]` (EDM).
    pub preconditioning: Vec<f32>,
    /// `[a, b, c, d, e]` (DDPM) or `[a, b, c, d, e, f, g]` (EDM).
    pub coefficients: Vec<f64>,
    /// Which draw of noise is added, `None` where its factor is 0. Draw 0 is the start of the run.
    pub noise: Option<usize>,
}

/// A sampling run.
#[derive(Clone, Debug, PartialEq)]
pub struct SamplerPlan {
    /// The network calls in order.
    pub steps: Vec<SamplerStep>,
    /// The run starts from this times draw 0 ...
    pub start_scale: f64,
    /// ... plus this times draw 1 (churn before the first call).
    pub start_churn: f64,
    /// Type of the state between calls.
    pub dtype: DType,
    /// Whether a step takes up what the one before left in `next_carry`.
    pub carries: bool,
}

impl SamplerPlan {
    /// A run of a DDPM from pure noise.
    pub(super) fn ddpm(steps: Vec<SamplerStep>, carries: bool) -> SamplerPlan {
        SamplerPlan { steps, start_scale: 1.0, start_churn: 0.0, dtype: DType::F32, carries }
    }

    /// Values in the type of the state.
    pub(super) fn state(&self, shape: &[usize], values: Vec<f64>) -> Tensor {
        match self.dtype {
            DType::F64 => Tensor::f64(shape, values),
            _ => Tensor::f32(shape, values.into_iter().map(|x| x as f32).collect()),
        }
    }
}

/// Refuses numbers of steps that are not in `least..=most` and an `eta` outside [0, 1].
pub(super) fn check(steps: usize, least: usize, most: usize, eta: f64) -> Result<(), PlanError> {
    if !(least..=most).contains(&steps) {
        return Err(PlanError(format!("{steps} steps: this sampler takes {least} to {most}")));
    }
    if !(0.0..=1.0).contains(&eta) {
        return Err(PlanError(format!("eta is {eta}; it must be in [0, 1]")));
    }
    Ok(())
}

/// The network call at timestep `t` of a DDPM; `coefficients` are `[a, b, c, d, e]`.
pub(super) fn ddpm_step(
    config: &DdpmConfig,
    tables: &Tables,
    t: usize,
    coefficients: [f64; 5],
    draw: usize,
) -> SamplerStep {
    SamplerStep {
        t: config.scalar(t),
        preconditioning: vec![tables.sqrt_alpha_bar[t], tables.sqrt_one_minus_alpha_bar[t]],
        noise: (coefficients[3] != 0.0).then_some(draw),
        coefficients: coefficients.to_vec(),
    }
}
