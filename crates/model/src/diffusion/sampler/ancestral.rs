//! Ancestral sampling of a DDPM (arXiv 2006.11239).

use super::Sampler;
use super::plan::{PlanError, SamplerPlan, ddpm_step};
use crate::config::{DdpmConfig, ProcessConfig, VarianceType};
use crate::diffusion::ddpm::Tables;

pub(super) static SAMPLER: Sampler = Sampler {
    name: "ddpm",
    about: "Ancestral sampling over all timesteps",
    steps: None,
    most: |n_t| n_t,
    takes_eta: false,
    plan: |process, steps, _| match process {
        ProcessConfig::Ddpm(config) if steps == config.n_t => Ok(ancestral(config)),
        ProcessConfig::Ddpm(config) => {
            let all = config.n_t;
            Err(PlanError(format!("--sampler ddpm takes all {all} steps; give --sampler ddim for fewer")))
        }
        ProcessConfig::Edm(_) => {
            Err(PlanError("an EDM is sampled with edm or dpm-solver, not ddpm".to_string()))
        }
    },
};

/// Ancestral sampling over all timesteps (DDPM, algorithm 2).
pub fn ancestral(config: &DdpmConfig) -> SamplerPlan {
    let tables = Tables::training(config);
    let first = config.first_timestep();
    let steps = (first..first + config.n_t)
        .rev()
        .enumerate()
        .map(|(k, t)| {
            let beta = f64::from(tables.beta[t]);
            let before = if t == first { 1.0 } else { f64::from(tables.alpha_bar[t - 1]) };
            let noise = match config.variance_type {
                _ if t == first => 0.0,
                VarianceType::FixedLarge => beta.sqrt(),
                VarianceType::FixedSmall => {
                    (beta * (1.0 - before) / (1.0 - f64::from(tables.alpha_bar[t]))).sqrt()
                }
            };
            // Nothing is left of the image in x, so that the mean is that of the image alone (eq. 7).
            if beta == 1.0 {
                return ddpm_step(config, &tables, t, [0.0, before.sqrt(), 0.0, noise, 0.0], k + 1);
            }
            let scale = 1.0 / (1.0 - beta).sqrt();
            let eps = -scale * beta / f64::from(tables.sqrt_one_minus_alpha_bar[t]);
            ddpm_step(config, &tables, t, [scale, 0.0, eps, noise, 0.0], k + 1)
        })
        .collect();
    SamplerPlan::ddpm(steps, false)
}
