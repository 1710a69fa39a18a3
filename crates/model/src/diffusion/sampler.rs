//! Sampling runs as data: a [`Plan`] lists the network calls of a sampler with all their coefficients, and
//! [`Plan::run`] drives any interpreter of the sampler graph through them.
//!
//! One step of the graph of kind `sampler` (see [`super::sampler_graph`]) computes, with `x0` and `eps` (DDPM) or `D`
//! (EDM) predicted by the network from `x`:
//!
//! - DDPM: `next = a x + b x0 + c eps + d noise`
//! - EDM: `next = a x + b D + c carry + d noise` and `next_carry = e x + f D + g carry`
//!
//! Every published sampler is such a sequence: ancestral DDPM, DDIM, and EDM's Heun method, whose second call needs
//! what the first one left in `carry`.

use super::ddpm::Tables;
use super::edm::{self, Preconditioning};
use crate::config::{DdpmConfig, EdmConfig, Timesteps};
use crate::tensor::{DType, Data, Tensor};

/// A sampler with its settings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SamplerKind {
    /// Ancestral sampling over all timesteps (DDPM, algorithm 2).
    Ddpm,
    /// DDIM (arXiv 2010.02502) over `steps` timesteps.
    Ddim {
        /// Number of timesteps visited.
        steps: usize,
        /// 0 is deterministic, 1 as noisy as DDPM.
        eta: f64,
    },
    /// EDM's Heun method with churn (algorithm 2).
    Edm {
        /// Number of noise levels; the network is called `2 * steps - 1` times.
        steps: usize,
        /// Amount of churn, from 0 to 1.
        eta: f64,
    },
}

/// Settings that no sampling run can have.
#[derive(Debug, thiserror::Error, PartialEq)]
#[error("{0}")]
pub struct PlanError(String);

/// One network call.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The scalar that the network embeds.
    pub t: f32,
    /// How the network's input and result are scaled: `[sqrt_alpha_bar, sqrt_one_minus_alpha_bar]` (DDPM) or
    /// `[c_in, c_skip, c_out]` (EDM).
    pub preconditioning: Vec<f32>,
    /// `[a, b, c, d]` (DDPM) or `[a, b, c, d, e, f, g]` (EDM).
    pub coefficients: Vec<f64>,
    /// Which draw of noise is added, `None` where its factor is 0. Draw 0 is the start of the run.
    pub noise: Option<usize>,
}

/// A sampling run.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The network calls in order.
    pub steps: Vec<Step>,
    /// The run starts from this times draw 0 ...
    pub start_scale: f64,
    /// ... plus this times draw 1 (churn before the first call).
    pub start_churn: f64,
    /// Type of the state between calls.
    pub dtype: DType,
}

impl Plan {
    /// Ancestral or DDIM sampling of a DDPM.
    ///
    /// # Errors
    /// When the kind is EDM, `steps` is not in `1..=n_T` or `eta` not in [0, 1].
    pub fn ddpm(config: &DdpmConfig, kind: SamplerKind) -> Result<Plan, PlanError> {
        let steps = match kind {
            SamplerKind::Ddpm => ancestral(config),
            SamplerKind::Ddim { steps, eta } => {
                check(steps, config.n_t, eta)?;
                ddim(config, steps, eta)
            }
            SamplerKind::Edm { .. } => {
                return Err(PlanError("a DDPM is sampled with ddpm or ddim, not edm".to_string()));
            }
        };
        Ok(Plan { steps, start_scale: 1.0, start_churn: 0.0, dtype: DType::F32 })
    }

    /// EDM's sampler.
    ///
    /// # Errors
    /// When the kind is another, `steps` is not in `2..=10000` or `eta` not in [0, 1].
    pub fn edm(config: &EdmConfig, kind: SamplerKind) -> Result<Plan, PlanError> {
        let SamplerKind::Edm { steps, eta } = kind else {
            return Err(PlanError("an EDM is sampled with edm, not ddpm or ddim".to_string()));
        };
        if steps < 2 {
            return Err(PlanError(format!("{steps} steps: the EDM sampler needs at least 2")));
        }
        check(steps, 10_000, eta)?;
        Ok(heun(config, steps, eta))
    }

    /// Runs the plan for one batch of images of `shape = [B, C, H, W]`.
    ///
    /// `noise(draw)` gives the standard normal values of a draw for the whole batch; `call` runs the sampler graph on
    /// named inputs and gives `next` (and `next_carry`). The result is the images in [0, 1], not yet clamped, in the
    /// type of the state.
    ///
    /// # Errors
    /// Those of `call`.
    pub fn run<E>(
        &self,
        shape: [usize; 4],
        mut noise: impl FnMut(usize) -> Vec<f32>,
        mut call: impl FnMut(&[(&str, Tensor)]) -> Result<Vec<Tensor>, E>,
    ) -> Result<Tensor, E> {
        let start: Vec<f64> = noise(0).into_iter().map(|z| f64::from(z) * self.start_scale).collect();
        let start = match self.start_churn {
            0.0 => start,
            churn => start.iter().zip(noise(1)).map(|(x, z)| x + churn * f64::from(z)).collect(),
        };
        let zeros = vec![0f32; shape.iter().product()];
        let mut x = self.state(&shape, start);
        let mut carry = self.state(&shape, vec![0.0; zeros.len()]);
        for step in &self.steps {
            let drawn = step.noise.map_or_else(|| zeros.clone(), &mut noise);
            let mut inputs = vec![
                ("x", x.clone()),
                ("noise", Tensor::f32(&shape, drawn)),
                ("t", Tensor::f32(&[1], vec![step.t])),
                ("preconditioning", Tensor::f32(&[step.preconditioning.len()], step.preconditioning.clone())),
                ("coefficients", self.state(&[step.coefficients.len()], step.coefficients.clone())),
            ];
            if self.dtype == DType::F64 {
                inputs.push(("carry", carry.clone()));
            }
            let mut results = call(&inputs)?.into_iter();
            let Some(next) = results.next() else { break };
            x = next;
            carry = results.next().unwrap_or(carry);
        }
        Ok(match x.into_data() {
            Data::F64(v) => Tensor::f64(&shape, v.into_iter().map(|x| (x + 1.0) / 2.0).collect()),
            Data::F32(v) => Tensor::f32(&shape, v.into_iter().map(|x| (x + 1.0) / 2.0).collect()),
            other => Tensor::f64(&shape, vec![f64::NAN; other.len()]),
        })
    }

    /// Values in the type of the state.
    pub fn state(&self, shape: &[usize], values: Vec<f64>) -> Tensor {
        match self.dtype {
            DType::F64 => Tensor::f64(shape, values),
            _ => Tensor::f32(shape, values.into_iter().map(|x| x as f32).collect()),
        }
    }
}

fn check(steps: usize, most: usize, eta: f64) -> Result<(), PlanError> {
    if steps == 0 || steps > most {
        return Err(PlanError(format!("{steps} steps: this sampler takes 1 to {most}")));
    }
    if !(0.0..=1.0).contains(&eta) {
        return Err(PlanError(format!("eta is {eta}; it must be in [0, 1]")));
    }
    Ok(())
}

/// The network call at timestep `t` of a DDPM.
fn ddpm_step(config: &DdpmConfig, tables: &Tables, t: usize, coefficients: [f64; 4], draw: usize) -> Step {
    Step {
        t: config.scalar(t),
        preconditioning: vec![tables.sqrt_alpha_bar[t], tables.sqrt_one_minus_alpha_bar[t]],
        noise: (coefficients[3] != 0.0).then_some(draw),
        coefficients: coefficients.to_vec(),
    }
}

fn ancestral(config: &DdpmConfig) -> Vec<Step> {
    let tables = Tables::training(config);
    let first = config.first_timestep();
    (first..first + config.n_t)
        .rev()
        .enumerate()
        .map(|(k, t)| {
            let beta = f64::from(tables.beta[t]);
            let scale = 1.0 / (1.0 - beta).sqrt();
            let eps = -scale * beta / f64::from(tables.sqrt_one_minus_alpha_bar[t]);
            let noise = if t == first { 0.0 } else { beta.sqrt() };
            ddpm_step(config, &tables, t, [scale, 0.0, eps, noise], k + 1)
        })
        .collect()
}

/// DDIM, eq. 12.
fn ddim(config: &DdpmConfig, steps: usize, eta: f64) -> Vec<Step> {
    let tables = Tables::ddim(config);
    // What is left of the image at the end of the run: DDAE's table has a first entry for it, elsewhere it is whole.
    let clean = match config.timesteps {
        Timesteps::Fraction => f64::from(tables.alpha_bar[0]),
        Timesteps::Index => 1.0,
    };
    let first = config.first_timestep();
    let mut times: Vec<usize> = (first..first + config.n_t).step_by(config.n_t / steps).collect();
    times.reverse();
    let alpha_bars = times.iter().map(|&t| f64::from(tables.alpha_bar[t])).chain([clean]);
    let alpha_bars: Vec<f64> = alpha_bars.collect();
    times
        .iter()
        .enumerate()
        .map(|(k, &t)| {
            let (at, au) = (alpha_bars[k], alpha_bars[k + 1]);
            let sigma = eta * ((1.0 - at / au) * (1.0 - au) / (1.0 - at)).sqrt();
            let eps = (1.0 - au - sigma * sigma).max(0.0).sqrt();
            let noise = if t == first { 0.0 } else { sigma };
            ddpm_step(config, &tables, t, [0.0, au.sqrt(), eps, noise], k + 1)
        })
        .collect()
}

/// EDM, algorithm 2, as two kinds of calls: the Euler step to the next noise level, which leaves in `carry` what the
/// correction needs, and the correction there. The noise that the next step begins with is added by the call before.
fn heun(config: &EdmConfig, steps: usize, eta: f64) -> Plan {
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
        Step {
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
    Plan { steps: calls, start_scale: sigmas[0], start_churn: churned(0).1, dtype: DType::F64 }
}
