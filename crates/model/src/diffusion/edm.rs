//! The continuous process of EDM (arXiv 2206.00364).

use crate::config::{EdmConfig, Preconditioner};

/// Steps of the grid on which features are taken: step 1 is `sigma_min`, step 18 `sigma_max`.
pub const FEATURE_STEPS: usize = 18;

/// How much of the variance is added per time, at the end and the beginning of the process that the preconditioning of VP
/// is for, and the number of its timesteps, which its networks count (table 1, "VP"; arXiv 2011.13456, appendix C).
const VP_BETA_GROWTH: f32 = 19.9;
const VP_BETA_MIN: f32 = 0.1;
const VP_TIMESTEPS: f32 = 1000.0;

/// The preconditioning of one noise level (table 1), in float32 as published: the denoiser is
/// `D(x) = c_skip x + c_out F(c_in x, c_noise)` with `F` the network.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Preconditioning {
    /// Factor of the noisy image.
    pub c_skip: f32,
    /// Factor of the network's result.
    pub c_out: f32,
    /// Factor of the network's input.
    pub c_in: f32,
    /// The scalar that the network embeds.
    pub c_noise: f32,
}

impl Preconditioning {
    /// At noise level `sigma`.
    pub fn at(config: &EdmConfig, sigma: f32) -> Preconditioning {
        match config.preconditioning {
            Preconditioner::Edm => {
                let data = config.sigma_data as f32;
                let variance = sigma * sigma + data * data;
                Preconditioning {
                    c_skip: data * data / variance,
                    c_out: sigma * data / variance.sqrt(),
                    c_in: 1.0 / variance.sqrt(),
                    c_noise: sigma.ln() / 4.0,
                }
            }
            Preconditioner::Vp => Preconditioning {
                c_skip: 1.0,
                c_out: -sigma,
                c_in: 1.0 / (sigma * sigma + 1.0).sqrt(),
                c_noise: (VP_TIMESTEPS - 1.0) * vp_time(sigma),
            },
            Preconditioner::Ve => {
                Preconditioning { c_skip: 1.0, c_out: sigma, c_in: 1.0, c_noise: (0.5 * sigma).ln() }
            }
        }
    }
}

/// The time, from 0 to 1, at which the process of VP has the noise level `sigma`.
fn vp_time(sigma: f32) -> f32 {
    let log = (1.0 + sigma * sigma).ln();
    ((VP_BETA_MIN * VP_BETA_MIN + 2.0 * VP_BETA_GROWTH * log).sqrt() - VP_BETA_MIN) / VP_BETA_GROWTH
}

/// The noise levels of a run of `steps` steps (eq. 5), falling from `sigma_max` to `sigma_min`, then 0:
/// `steps + 1` values.
pub fn grid(config: &EdmConfig, steps: usize) -> Vec<f64> {
    let (min, max) = (config.sigma_min.powf(1.0 / config.rho), config.sigma_max.powf(1.0 / config.rho));
    let intervals = steps.saturating_sub(1).max(1) as f64;
    let mut sigmas: Vec<f64> =
        (0..steps).map(|i| (max + i as f64 / intervals * (min - max)).powf(config.rho)).collect();
    sigmas.push(0.0);
    sigmas
}

/// The noise levels of the feature steps: index 0 is 0, 1 is `sigma_min`, 18 is `sigma_max`.
pub fn feature_sigmas(config: &EdmConfig) -> Vec<f64> {
    let mut sigmas = grid(config, FEATURE_STEPS);
    sigmas.reverse();
    sigmas
}
