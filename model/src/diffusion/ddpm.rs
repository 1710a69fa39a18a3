//! The discrete process of DDPM (arXiv 2006.11239), in the float32 arithmetic of the published code.

use crate::config::DdpmConfig;

/// What a noise schedule gives at each timestep `0..=n_T`.
#[derive(Clone, Debug, PartialEq)]
pub struct Tables {
    /// Variances.
    pub beta: Vec<f32>,
    /// `1 - beta`.
    pub alpha: Vec<f32>,
    /// Products of `alpha`: the share of the picture's variance that is left.
    pub alpha_bar: Vec<f32>,
    /// `sqrt(alpha_bar)`: the factor of the picture.
    pub sqrt_alpha_bar: Vec<f32>,
    /// `sqrt(1 - alpha_bar)`: the factor of the noise.
    pub sqrt_one_minus_alpha_bar: Vec<f32>,
}

impl Tables {
    /// The schedule of training, feature extraction and ancestral sampling: nothing happens at timestep 0, and
    /// `n_T` variances rise linearly over the timesteps `1..=n_T`.
    pub fn training(config: &DdpmConfig) -> Tables {
        let mut betas = linear(config.betas, config.n_t);
        betas.insert(0, 0.0);
        Tables::from_betas(betas)
    }

    /// The schedule of DDIM sampling: `n_T + 1` variances rise linearly over the timesteps `0..=n_T`.
    pub fn ddim(config: &DdpmConfig) -> Tables {
        Tables::from_betas(linear(config.betas, config.n_t + 1))
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

/// `count` values from the first to the last.
fn linear([first, last]: [f64; 2], count: usize) -> Vec<f32> {
    let (first, last) = (first as f32, last as f32);
    let intervals = count.saturating_sub(1).max(1) as f32;
    (0..count).map(|i| (last - first) * (i as f32) / intervals + first).collect()
}
