//! Ancestral sampling of a DDPM (arXiv 2006.11239).

use super::Sampler;
use super::plan::{PlanError, SamplerPlan, ddpm_step};
use crate::config::{DdpmConfig, ProcessConfig};
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
            let scale = 1.0 / (1.0 - beta).sqrt();
            let eps = -scale * beta / f64::from(tables.sqrt_one_minus_alpha_bar[t]);
            let noise = if t == first { 0.0 } else { beta.sqrt() };
            ddpm_step(config, &tables, t, [scale, 0.0, eps, noise, 0.0], k + 1)
        })
        .collect();
    SamplerPlan::ddpm(steps, false)
}
