//! DDIM (arXiv 2010.02502).

use super::Sampler;
use super::plan::{PlanError, SamplerPlan, check, ddpm_step};
use crate::config::{DdpmConfig, ProcessConfig, Timesteps};
use crate::diffusion::ddpm::Tables;

pub(super) static SAMPLER: Sampler = Sampler {
    name: "ddim",
    about: "DDIM",
    steps: Some(100),
    most: |n_t| n_t,
    takes_eta: true,
    plan: |process, steps, eta| match process {
        ProcessConfig::Ddpm(config) => ddim(config, steps, eta),
        ProcessConfig::Edm(_) => {
            Err(PlanError("an EDM is sampled with edm or dpm-solver, not ddim".to_string()))
        }
    },
};

/// DDIM (eq. 12) over `steps` timesteps; `eta` 0 is deterministic, 1 as noisy as DDPM. Timesteps are counted from the first
/// on, as published; where the last leaves nothing of the image, from the last down, since noise alone is only that one's
/// (arXiv 2305.08891, section 3.3).
///
/// # Errors
/// When `steps` is not in `1..=n_T` or `eta` not in [0, 1].
pub fn ddim(config: &DdpmConfig, steps: usize, eta: f64) -> Result<SamplerPlan, PlanError> {
    check(steps, 1, config.n_t, eta)?;
    let tables = Tables::ddim(config);
    // What is left of the image at the end of the run: DDAE's table has a first entry for it, elsewhere it is whole.
    let clean = match config.timesteps {
        Timesteps::Fraction => f64::from(tables.alpha_bar[0]),
        Timesteps::Index => 1.0,
    };
    let first = config.first_timestep();
    let times: Vec<usize> = match config.zero_snr {
        true => {
            let every = config.n_t as f64 / steps as f64;
            let count = |k: usize| ((steps - k) as f64 * every).round_ties_even() as usize;
            (0..steps).map(|k| first + count(k) - 1).collect()
        }
        false => {
            let times: Vec<usize> = (first..first + config.n_t).step_by(config.n_t / steps).collect();
            times.into_iter().rev().collect()
        }
    };
    let alpha_bars = times.iter().map(|&t| f64::from(tables.alpha_bar[t])).chain([clean]);
    let alpha_bars: Vec<f64> = alpha_bars.collect();
    let calls = times
        .iter()
        .enumerate()
        .map(|(k, &t)| {
            let (at, au) = (alpha_bars[k], alpha_bars[k + 1]);
            let sigma = eta * ((1.0 - at / au) * (1.0 - au) / (1.0 - at)).sqrt();
            let eps = (1.0 - au - sigma * sigma).max(0.0).sqrt();
            let noise = if k + 1 == times.len() { 0.0 } else { sigma };
            ddpm_step(config, &tables, t, [0.0, au.sqrt(), eps, noise, 0.0], k + 1)
        })
        .collect();
    Ok(SamplerPlan::ddpm(calls, false))
}
