//! EDM's Heun method with churn (arXiv 2206.00364, algorithm 2).

use super::Sampler;
use super::plan::{PlanError, SamplerPlan, SamplerStep, check};
use crate::config::{EdmConfig, ProcessConfig};
use crate::diffusion::edm::{self, Preconditioning};
use crate::tensor::DType;

/// The most noise levels of a run.
pub(super) const MOST_STEPS: usize = 10_000;

pub(super) static SAMPLER: Sampler = Sampler {
    name: "edm",
    about: "EDM's Heun method",
    steps: Some(18),
    most: |n_t| n_t,
    takes_eta: true,
    plan: |process, steps, eta| match process {
        ProcessConfig::Edm(config) => heun(config, steps, eta),
        ProcessConfig::Ddpm(_) => {
            Err(PlanError("a DDPM is sampled with ddpm, ddim or dpm-solver, not edm".to_string()))
        }
    },
};

/// EDM, algorithm 2, as two kinds of calls: the Euler step to the next noise level, which leaves in `carry` what the
/// correction needs, and the correction there. The noise that the next step begins with is added by the call before.
///
/// `steps` noise levels, at which the network is called `2 * steps - 1` times; `eta` is the amount of churn.
///
/// # Errors
/// When `steps` is not in `2..=10000` or `eta` not in [0, 1].
pub fn heun(config: &EdmConfig, steps: usize, eta: f64) -> Result<SamplerPlan, PlanError> {
    check(steps, 2, MOST_STEPS, eta)?;
    let sigmas = edm::grid(config, steps);
    // Noise level after the churn of step i, and the factor of that churn's noise.
    let churned = |i: usize| -> (f64, f64) {
        let sigma = sigmas[i];
        let churns = config.s_min <= sigma && sigma <= config.s_max;
        let raised = if churns { sigma * (1.0 + (2f64.sqrt() - 1.0) * eta) } else { sigma };
        (raised, (raised * raised - sigma * sigma).max(0.0).sqrt() * config.s_noise)
    };
    let call = |sigma: f64, coefficients: [f64; 7], draw: usize| {
        let p = Preconditioning::at(config, sigma as f32);
        SamplerStep {
            t: p.c_noise,
            preconditioning: vec![p.c_in, p.c_skip, p.c_out],
            noise: (coefficients[3] != 0.0).then_some(draw),
            coefficients: coefficients.to_vec(),
        }
    };

    let mut calls = Vec::new();
    for i in 0..steps {
        let (sigma, next) = (churned(i).0, sigmas[i + 1]);
        // x + (next - sigma) (x - D) / sigma
        let slope = (next - sigma) / sigma;
        let half = slope / 2.0;
        calls.push(call(sigma, [1.0 + slope, -slope, 0.0, 0.0, 1.0 + half, -half, 0.0], 0));
        if next > 0.0 {
            // carry + (next - sigma)/2 (x - D) / next, plus the next step's churn
            let half = (next - sigma) / (2.0 * next);
            calls.push(call(next, [half, -half, 1.0, churned(i + 1).1, 0.0, 0.0, 0.0], i + 2));
        }
    }
    Ok(SamplerPlan {
        steps: calls,
        start_scale: sigmas[0],
        start_churn: churned(0).1,
        dtype: DType::F64,
        carries: true,
    })
}
