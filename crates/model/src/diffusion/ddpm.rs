//! The discrete process of DDPM (arXiv 2006.11239), in the arithmetic of the published code.

use std::f64::consts::PI;

use crate::config::{Betas, DdpmConfig, Timesteps};

/// Nichol and Dhariwal's offset, which keeps the first variances from vanishing.
const OFFSET: f64 = 0.008;
/// The largest variance of the curved schedules, whose last would be 1.
const LARGEST_BETA: f64 = 0.999;

/// What a noise schedule gives at each timestep: `0..=n_T`, or `0..=n_T - 1` where timesteps are indices.
#[derive(Clone, Debug, PartialEq)]
pub struct Tables {
    /// Variances.
    pub beta: Vec<f32>,
    /// `1 - beta`.
    pub alpha: Vec<f32>,
    /// Products of `alpha`: the share of the image's variance that is left.
    pub alpha_bar: Vec<f32>,
    /// `sqrt(alpha_bar)`: the factor of the image.
    pub sqrt_alpha_bar: Vec<f32>,
    /// `sqrt(1 - alpha_bar)`: the factor of the noise.
    pub sqrt_one_minus_alpha_bar: Vec<f32>,
}

impl Tables {
    /// The schedule of training, feature extraction and ancestral sampling: `n_T` variances over the timesteps. Where
    /// those are `1..=n_T`, nothing happens at timestep 0.
    pub fn training(config: &DdpmConfig) -> Tables {
        match config.timesteps {
            Timesteps::Fraction => {
                let mut betas = rescaled(config, variances(config.betas, config.n_t));
                betas.insert(0, 0.0);
                Tables::from_betas(betas)
            }
            Timesteps::Index => Tables::by_index(config),
        }
    }

    /// The schedule of DDIM sampling. That of DDAE and SODA is one of its own: `n_T + 1` variances over the timesteps
    /// `0..=n_T`.
    pub fn ddim(config: &DdpmConfig) -> Tables {
        match config.timesteps {
            Timesteps::Fraction => {
                Tables::from_betas(rescaled(config, variances(config.betas, config.n_t + 1)))
            }
            Timesteps::Index => Tables::by_index(config),
        }
    }

    /// In the float64 arithmetic of the code that DiT comes with, rounded at the end.
    fn by_index(config: &DdpmConfig) -> Tables {
        let even = |first: f64, last: f64| {
            let intervals = config.n_t.saturating_sub(1).max(1) as f64;
            (0..config.n_t).map(move |i| first + (last - first) * i as f64 / intervals)
        };
        let beta: Vec<f64> = match config.betas {
            Betas::Linear([first, last]) => even(first, last).collect(),
            Betas::ScaledLinear([first, last]) => {
                even(first.sqrt(), last.sqrt()).map(|root| root * root).collect()
            }
            Betas::Cosine => {
                let left = |i: usize| {
                    let time = i as f64 / config.n_t as f64;
                    ((time + OFFSET) / (1.0 + OFFSET) * PI / 2.0).cos().powi(2)
                };
                (0..config.n_t).map(|i| (1.0 - left(i + 1) / left(i)).min(LARGEST_BETA)).collect()
            }
            Betas::Inverted => variances(config.betas, config.n_t).into_iter().map(f64::from).collect(),
        };
        let beta = if config.zero_snr { zero_terminal_snr(&beta) } else { beta };
        let mut product = 1.0;
        let alpha_bar: Vec<f64> = beta
            .iter()
            .map(|beta| {
                product *= 1.0 - beta;
                product
            })
            .collect();
        let rounded = |values: &[f64], f: fn(f64) -> f64| values.iter().map(|&x| f(x) as f32).collect();
        Tables {
            alpha: rounded(&beta, |beta| 1.0 - beta),
            beta: rounded(&beta, |beta| beta),
            sqrt_alpha_bar: rounded(&alpha_bar, f64::sqrt),
            sqrt_one_minus_alpha_bar: rounded(&alpha_bar, |a| (1.0 - a).sqrt()),
            alpha_bar: rounded(&alpha_bar, |a| a),
        }
    }

    fn from_betas(beta: Vec<f32>) -> Tables {
        let alpha: Vec<f32> = beta.iter().map(|b| 1.0 - b).collect();
        let mut log_sum = 0f64;
        let alpha_bar: Vec<f32> = alpha
            .iter()
            .map(|a| {
                log_sum += f64::from(a.ln());
                (log_sum as f32).exp()
            })
            .collect();
        Tables {
            sqrt_alpha_bar: alpha_bar.iter().map(|a| a.sqrt()).collect(),
            sqrt_one_minus_alpha_bar: alpha_bar.iter().map(|a| (1.0 - a).sqrt()).collect(),
            beta,
            alpha,
            alpha_bar,
        }
    }
}

impl DdpmConfig {
    /// What the network is told of timestep `t`.
    pub fn scalar(&self, t: usize) -> f32 {
        match self.timesteps {
            Timesteps::Fraction => t as f32 / self.n_t as f32,
            Timesteps::Index => t as f32,
        }
    }

    /// The first timestep, that with the least noise.
    pub fn first_timestep(&self) -> usize {
        match self.timesteps {
            Timesteps::Fraction => 1,
            Timesteps::Index => 0,
        }
    }
}

fn rescaled(config: &DdpmConfig, betas: Vec<f32>) -> Vec<f32> {
    if !config.zero_snr {
        return betas;
    }
    let betas: Vec<f64> = betas.into_iter().map(f64::from).collect();
    zero_terminal_snr(&betas).into_iter().map(|beta| beta as f32).collect()
}

/// The variances with which the roots of `alpha_bar` are shifted and stretched to end at 0 and begin as before (arXiv
/// 2305.08891, algorithm 1).
fn zero_terminal_snr(beta: &[f64]) -> Vec<f64> {
    let mut product = 1.0;
    let roots: Vec<f64> = beta
        .iter()
        .map(|beta| {
            product *= 1.0 - beta;
            f64::sqrt(product)
        })
        .collect();
    let (Some(&first), Some(&last)) = (roots.first(), roots.last()) else { return Vec::new() };
    let alpha_bar: Vec<f64> =
        roots.iter().map(|root| ((root - last) * first / (first - last)).powi(2)).collect();
    let before = std::iter::once(1.0).chain(alpha_bar.iter().copied());
    alpha_bar.iter().zip(before).map(|(now, before)| 1.0 - now / before).collect()
}

/// The variances of `count` timesteps.
fn variances(betas: Betas, count: usize) -> Vec<f32> {
    match betas {
        Betas::Linear(ends) => linear(ends, count),
        Betas::ScaledLinear(ends) => {
            linear(ends.map(f64::sqrt), count).into_iter().map(|root| root * root).collect()
        }
        // What is left of the image at time 0 to 1; divided by its value at time 0.
        Betas::Cosine => falling(count, |time| {
            ((time + OFFSET as f32) / (1.0 + OFFSET as f32) * PI as f32 * 0.5).cos().powi(2)
        }),
        Betas::Inverted => falling(count, |time| {
            time.sqrt().acos() * (2.0 / PI) as f32 * (1.0 + OFFSET as f32) - OFFSET as f32
        }),
    }
}

/// The variances with which `left(time)` of the image is left after each of `count` timesteps, in float32 as
/// published.
fn falling(count: usize, left: impl Fn(f32) -> f32) -> Vec<f32> {
    let start = left(0.0);
    let at = |i: usize| left(i as f32 / count as f32) / start;
    (0..count).map(|i| (1.0 - at(i + 1) / at(i)).clamp(0.0, LARGEST_BETA as f32)).collect()
}

/// `count` values from the first to the last.
fn linear([first, last]: [f64; 2], count: usize) -> Vec<f32> {
    let (first, last) = (first as f32, last as f32);
    let intervals = count.saturating_sub(1).max(1) as f32;
    (0..count).map(|i| (last - first) * (i as f32) / intervals + first).collect()
}
