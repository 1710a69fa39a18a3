//! DPM-Solver++(2M) (arXiv 2211.01095, algorithm 2), for DDPM and EDM.
//!
//! In the half logarithm of the signal-to-noise ratio, `lambda = ln(alpha / sigma)`, a step from `s` to `t` with
//! `h = lambda_t - lambda_s` is
//!
//! `x_t = (sigma_t / sigma_s) x_s - alpha_t (exp(-h) - 1) ((1 + 1 / (2 r)) D_s - 1 / (2 r) D_before)`
//!
//! with `r = (lambda_s - lambda_before) / h` and `D` the denoised image. The first and the last step, which ends without
//! noise, are of first order: `D_s` alone.

use super::Sampler;
use super::heun::MOST_STEPS;
use super::plan::{PlanError, SamplerPlan, SamplerStep, check, ddpm_step};
use crate::config::{DdpmConfig, EdmConfig, ProcessConfig};
use crate::diffusion::ddpm::Tables;
use crate::diffusion::edm::{self, Preconditioning};
use crate::tensor::DType;

pub(super) static SAMPLER: Sampler = Sampler {
    name: "dpm-solver",
    about: "DPM-Solver++(2M): good images in about 20 steps",
    steps: Some(20),
    // More would visit a timestep twice.
    most: most_steps,
    takes_eta: false,
    plan: |process, steps, _| dpm_solver(process, steps),
};

/// DPM-Solver++(2M) over `steps` noise levels: timesteps at equal distances from the last one down (DDPM), or EDM's grid.
///
/// # Errors
/// When `steps` is 0, as large as the number of a DDPM's timesteps, or far too large.
pub fn dpm_solver(process: &ProcessConfig, steps: usize) -> Result<SamplerPlan, PlanError> {
    match process {
        ProcessConfig::Ddpm(config) => {
            check(steps, 1, most_steps(config.n_t), 0.0)?;
            finite(of_ddpm(config, steps))
        }
        ProcessConfig::Edm(config) => {
            check(steps, 2, MOST_STEPS, 0.0)?;
            finite(of_edm(config, steps))
        }
    }
}

fn most_steps(n_t: usize) -> usize {
    n_t.saturating_sub(1).max(1)
}

/// Refuses schedules of which two levels are so alike, or one is so noisy, that no step can be computed.
fn finite(plan: SamplerPlan) -> Result<SamplerPlan, PlanError> {
    match plan.steps.iter().position(|step| step.coefficients.iter().any(|c| !c.is_finite())) {
        None => Ok(plan),
        Some(step) => Err(PlanError(format!(
            "step {step} of dpm-solver cannot be computed: its noise level is too like the next, or leaves nothing of \
             the image; take fewer steps, or another sampler"
        ))),
    }
}

/// A noise level: factors of the image and of the noise.
#[derive(Clone, Copy)]
struct Level {
    alpha: f64,
    sigma: f64,
}

impl Level {
    fn lambda(self) -> f64 {
        self.alpha.ln() - self.sigma.ln()
    }
}

/// Factors of `x`, `D` and the `D` before of each step from level to level; the last level has no noise.
fn factors(levels: &[Level]) -> Vec<[f64; 3]> {
    let step = |i: usize| {
        let (from, to) = (levels[i], levels[i + 1]);
        if to.sigma == 0.0 {
            return [0.0, to.alpha, 0.0];
        }
        let h = to.lambda() - from.lambda();
        let (x, d) = (to.sigma / from.sigma, -to.alpha * (-h).exp_m1());
        if i == 0 {
            return [x, d, 0.0];
        }
        let r = (from.lambda() - levels[i - 1].lambda()) / h;
        [x, d * (1.0 + 0.5 / r), -d * 0.5 / r]
    };
    (0..levels.len() - 1).map(step).collect()
}

fn of_ddpm(config: &DdpmConfig, steps: usize) -> SamplerPlan {
    let tables = Tables::training(config);
    let last = (config.n_t - 1) as f64;
    let times: Vec<usize> = (0..steps)
        .map(|k| (last * (steps - k) as f64 / steps as f64).round_ties_even() as usize)
        .map(|index| config.first_timestep() + index)
        .collect();
    let level = |&t: &usize| {
        let alpha_bar = f64::from(tables.alpha_bar[t]);
        Level { alpha: alpha_bar.sqrt(), sigma: (1.0 - alpha_bar).sqrt() }
    };
    let levels: Vec<Level> = times.iter().map(level).chain([Level { alpha: 1.0, sigma: 0.0 }]).collect();
    let calls = times.iter().zip(factors(&levels));
    let calls = calls.map(|(&t, [x, d, before])| ddpm_step(config, &tables, t, [x, d, 0.0, 0.0, before], 0));
    SamplerPlan::ddpm(calls.collect(), true)
}

fn of_edm(config: &EdmConfig, steps: usize) -> SamplerPlan {
    let sigmas = edm::grid(config, steps);
    let levels: Vec<Level> = sigmas.iter().map(|&sigma| Level { alpha: 1.0, sigma }).collect();
    let call = |(&sigma, [x, d, before]): (&f64, [f64; 3])| {
        let p = Preconditioning::at(config, sigma as f32);
        SamplerStep {
            t: p.c_noise,
            preconditioning: vec![p.c_in, p.c_skip, p.c_out],
            // The next step finds this one's D in `carry`.
            coefficients: vec![x, d, before, 0.0, 0.0, 1.0, 0.0],
            noise: None,
        }
    };
    let calls = sigmas.iter().zip(factors(&levels)).map(call).collect();
    SamplerPlan { steps: calls, start_scale: sigmas[0], start_churn: 0.0, dtype: DType::F64, carries: true }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Timesteps;

    /// Levels and factors by the recurrence of diffusers' `DPMSolverMultistepScheduler` (`dpmsolver++`, midpoint, order 2,
    /// `lower_order_final`, final sigma 0), which is written there in `sigma_hat = sigma / alpha`.
    fn diffusers(sigma_hats: &[f64], variance_preserving: bool, x: f64, images: &[f64]) -> f64 {
        let split = |hat: f64| match variance_preserving {
            true => (1.0 / (hat * hat + 1.0).sqrt(), hat / (hat * hat + 1.0).sqrt()),
            false => (1.0, hat),
        };
        let lambda = |hat: f64| {
            let (alpha, sigma) = split(hat);
            alpha.ln() - sigma.ln()
        };
        let mut x = x;
        for i in 0..images.len() {
            let (s, t) = (sigma_hats[i], sigma_hats[i + 1]);
            let ((_, sigma_s), (alpha_t, sigma_t)) = (split(s), split(t));
            let h = lambda(t) - lambda(s);
            let m0 = images[i];
            if i == 0 || i + 1 == images.len() {
                x = (sigma_t / sigma_s) * x - alpha_t * ((-h).exp() - 1.0) * m0;
            } else {
                let h0 = lambda(s) - lambda(sigma_hats[i - 1]);
                let (d0, d1) = (m0, (h / h0) * (m0 - images[i - 1]));
                x = (sigma_t / sigma_s) * x
                    - alpha_t * ((-h).exp() - 1.0) * d0
                    - 0.5 * (alpha_t * ((-h).exp() - 1.0)) * d1;
            }
        }
        x
    }

    /// What a network might find, step by step.
    fn images(steps: usize) -> Vec<f64> {
        (0..steps).map(|i| (1.7 * i as f64 + 0.3).sin() * 0.8).collect()
    }

    #[test]
    fn a_ddpm_is_solved_as_in_diffusers() {
        for timesteps in [Timesteps::Fraction, Timesteps::Index] {
            let config = DdpmConfig::published(timesteps);
            let tables = Tables::training(&config);
            for steps in [1, 2, 10, 20, 999] {
                let plan = dpm_solver(&ProcessConfig::Ddpm(config.clone()), steps).expect("a plan");
                let index: Vec<usize> = (1..=steps)
                    .rev()
                    .map(|k| (k as f64 * 999.0 / steps as f64).round_ties_even() as usize)
                    .collect();
                let alpha_bars =
                    index.iter().map(|i| f64::from(tables.alpha_bar[i + config.first_timestep()]));
                let hats: Vec<f64> = alpha_bars.map(|a| ((1.0 - a) / a).sqrt()).chain([0.0]).collect();
                let images = images(steps);
                let (mut x, mut carry) = (1.3, 0.0);
                for (step, image) in plan.steps.iter().zip(&images) {
                    let c = &step.coefficients;
                    x = c[0] * x + c[1] * image + c[4] * carry;
                    carry = *image;
                    assert_eq!((c[2], c[3], step.noise), (0.0, 0.0, None));
                }
                let theirs = diffusers(&hats, true, 1.3, &images);
                assert!((x - theirs).abs() <= 1e-12 * theirs.abs().max(1.0), "{steps}: {x} and {theirs}");
            }
        }
    }

    #[test]
    fn an_edm_is_solved_as_in_diffusers() {
        let config = EdmConfig::published();
        for steps in [2, 18, 40] {
            let plan = dpm_solver(&ProcessConfig::Edm(config.clone()), steps).expect("a plan");
            let images = images(steps);
            let (mut x, mut carry) = (100.0, 0.0);
            for (step, image) in plan.steps.iter().zip(&images) {
                let c = &step.coefficients;
                (x, carry) = (c[0] * x + c[1] * image + c[2] * carry, c[4] * x + c[5] * image + c[6] * carry);
            }
            let theirs = diffusers(&edm::grid(&config, steps), false, 100.0, &images);
            assert!((x - theirs).abs() <= 1e-12 * theirs.abs().max(1.0), "{steps}: {x} and {theirs}");
        }
    }
}
