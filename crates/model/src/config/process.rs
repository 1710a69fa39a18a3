//! Diffusion processes: the keys `model_type` and `diffusion`.

use serde::{Deserialize, Serialize};
use serde_norway::Value;

use super::{Betas, typed, words};
use crate::diffusion::ddpm::Tables;

/// The largest `n_T`: far more timesteps than anyone uses, and tables of a few megabytes.
const MOST_TIMESTEPS: usize = 1_000_000;

/// `model_type` and `diffusion`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "model_type", content = "diffusion")]
pub enum ProcessConfig {
    /// Denoising diffusion with discrete timesteps (arXiv 2006.11239).
    #[serde(rename = "DDPM")]
    Ddpm(DdpmConfig),
    /// The design of arXiv 2206.00364 with continuous noise levels.
    #[serde(rename = "EDM")]
    Edm(EdmConfig),
}

/// `diffusion` of a DDPM.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DdpmConfig {
    /// Number of noise levels.
    #[serde(rename = "n_T")]
    pub n_t: usize,
    /// The variances of the noise.
    pub betas: Betas,
    /// Our addition, for weights from elsewhere: how timesteps are counted.
    #[serde(default, skip_serializing_if = "Timesteps::is_default")]
    pub timesteps: Timesteps,
    /// Our addition, for weights from elsewhere: what the network finds in a noised image.
    #[serde(default, skip_serializing_if = "Prediction::is_default")]
    pub prediction: Prediction,
    /// Our addition, for weights from elsewhere: the variances are rescaled so that the last timestep leaves nothing of the
    /// image (arXiv 2305.08891, algorithm 1).
    #[serde(default, skip_serializing_if = "is_default")]
    pub zero_snr: bool,
    /// Our addition, for weights from elsewhere: the bound to which samplers clip the image that they find on the way.
    #[serde(default, skip_serializing_if = "Clip::is_default")]
    pub clip_sample: Clip,
    /// Our addition, for weights from elsewhere: the variance of the noise that ancestral sampling adds.
    #[serde(default, skip_serializing_if = "VarianceType::is_default")]
    pub variance_type: VarianceType,
}

/// What the network of a DDPM finds in `x = sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) eps`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prediction {
    /// The noise, `eps`.
    #[default]
    Epsilon,
    /// `v = sqrt(alpha_bar) eps - sqrt(1 - alpha_bar) x0` (arXiv 2202.00512).
    VPrediction,
    /// The image, `x0`.
    Sample,
}

/// How samplers clip images on the way: `true` to [-1, 1], `false` not at all, a number `r` to [-r, r].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Clip {
    /// To [-1, 1], or not at all.
    Unit(bool),
    /// To [-r, r].
    Range(f64),
}

impl Default for Clip {
    fn default() -> Clip {
        Clip::Unit(true)
    }
}

impl Clip {
    /// The bound, if there is one.
    pub fn bound(self) -> Option<f64> {
        match self {
            Clip::Unit(true) => Some(1.0),
            Clip::Unit(false) => None,
            Clip::Range(bound) => Some(bound),
        }
    }

    fn is_default(&self) -> bool {
        *self == Clip::default()
    }
}

/// The variance of the noise that ancestral sampling adds (arXiv 2006.11239, section 3.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VarianceType {
    /// `beta`: the one for data of unit variance.
    #[default]
    FixedLarge,
    /// `beta (1 - alpha_bar before) / (1 - alpha_bar)`: the one for a single image.
    FixedSmall,
}

impl VarianceType {
    fn is_default(&self) -> bool {
        *self == VarianceType::default()
    }
}

impl Prediction {
    fn is_default(&self) -> bool {
        *self == Prediction::default()
    }
}

fn is_default(value: &bool) -> bool {
    !value
}

/// How a DDPM counts its timesteps and tells its network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Timesteps {
    /// `1..=n_T`, told as `t / n_T` (DDAE). Timestep 0 is the image itself.
    #[default]
    Fraction,
    /// `0..=n_T - 1`, told as they are (DiT, diffusers). Timestep 0 has the first noise.
    Index,
}

impl Timesteps {
    fn is_default(&self) -> bool {
        *self == Timesteps::Fraction
    }
}

/// `diffusion` of an EDM.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EdmConfig {
    /// Standard deviation of the data.
    pub sigma_data: f64,
    /// Mean of `ln sigma` in training.
    pub p_mean: f64,
    /// Standard deviation of `ln sigma` in training.
    pub p_std: f64,
    /// Smallest noise level of the sampler.
    pub sigma_min: f64,
    /// Largest noise level of the sampler.
    pub sigma_max: f64,
    /// Curvature of the sampler's grid.
    pub rho: f64,
    /// Smallest noise level with churn.
    #[serde(rename = "S_min")]
    pub s_min: f64,
    /// Largest noise level with churn.
    #[serde(rename = "S_max")]
    pub s_max: f64,
    /// Scale of the churn's noise.
    #[serde(rename = "S_noise")]
    pub s_noise: f64,
    /// Probability of each augmentation in training; 0 for none.
    #[serde(default)]
    pub augment_prob: f64,
    /// Our addition, for weights from elsewhere: how the network becomes a denoiser.
    #[serde(default, skip_serializing_if = "Preconditioner::is_default")]
    pub preconditioning: Preconditioner,
}

/// How the network of an EDM becomes a denoiser (arXiv 2206.00364, table 1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Preconditioner {
    /// EDM's own, from `sigma_data`.
    #[default]
    Edm,
    /// That of networks trained to find the noise, told of 1000 timesteps (VP, arXiv 2011.13456).
    Vp,
    /// That of networks trained to find what leads back to the image, told of `ln(sigma / 2)` (VE, arXiv 2011.13456).
    Ve,
}

impl Preconditioner {
    fn is_default(&self) -> bool {
        *self == Preconditioner::Edm
    }

    /// Its name in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Preconditioner::Edm => "edm",
            Preconditioner::Vp => "vp",
            Preconditioner::Ve => "ve",
        }
    }
}

impl ProcessConfig {
    /// Reads the section `diffusion` as `model_type` wants it, and checks it.
    pub(super) fn from_value(model_type: &str, diffusion: Value) -> Result<ProcessConfig, String> {
        let process = match model_type {
            "DDPM" => ProcessConfig::Ddpm(typed(diffusion, "diffusion")?),
            "EDM" => ProcessConfig::Edm(typed(diffusion, "diffusion")?),
            other => return Err(format!("model_type: {}", words::unknown_name(other, ["DDPM", "EDM"]))),
        };
        process.check().map_err(|message| format!("diffusion: {message}"))?;
        Ok(process)
    }

    /// Checks what the types cannot.
    ///
    /// # Errors
    /// A sentence that names the key and the values.
    pub fn check(&self) -> Result<(), String> {
        match self {
            ProcessConfig::Ddpm(config) => config.check(),
            ProcessConfig::Edm(config) => config.check(),
        }
    }
}

impl DdpmConfig {
    /// 1000 timesteps, variances from 1e-4 to 0.02: what DDPM, DDAE and DiT have in common.
    pub fn published(timesteps: Timesteps) -> DdpmConfig {
        DdpmConfig::of(1000, Betas::Linear([1e-4, 0.02]), timesteps)
    }

    /// Noise that is predicted, and images clipped to [-1, 1], over `n_t` timesteps.
    pub fn of(n_t: usize, betas: Betas, timesteps: Timesteps) -> DdpmConfig {
        DdpmConfig {
            n_t,
            betas,
            timesteps,
            prediction: Prediction::default(),
            zero_snr: false,
            clip_sample: Clip::default(),
            variance_type: VarianceType::default(),
        }
    }

    fn check(&self) -> Result<(), String> {
        if !(1..=MOST_TIMESTEPS).contains(&self.n_t) {
            return Err(format!("n_T is {}; it must be 1 to {MOST_TIMESTEPS}", self.n_t));
        }
        if let Clip::Range(bound) = self.clip_sample
            && !(bound.is_finite() && bound > 0.0)
        {
            return Err(format!("clip_sample is {bound}; it must be true, false or a number above 0"));
        }
        if self.zero_snr && self.prediction == Prediction::Epsilon {
            return Err(
                "zero_snr leaves nothing of the image at the last timestep, so its noise tells nothing: it needs \
                 prediction v_prediction or sample"
                    .to_string(),
            );
        }
        if self.zero_snr && self.n_t < 2 {
            return Err(format!("zero_snr needs at least 2 timesteps; n_T is {}", self.n_t));
        }
        self.betas.check()?;
        // Nothing can be told of timesteps that are noise alone, but of the last with zero_snr.
        for tables in [Tables::training(self), Tables::ddim(self)] {
            let alpha_bar = &tables.alpha_bar[..tables.alpha_bar.len() - usize::from(self.zero_snr)];
            if let Some(timestep) = alpha_bar.iter().position(|left| left.is_nan() || *left <= 0.0) {
                return Err(format!(
                    "betas leave nothing of the image at timestep {timestep} of {}: they must be smaller, or n_T",
                    self.n_t
                ));
            }
        }
        Ok(())
    }
}

impl EdmConfig {
    /// The values of the published configurations.
    pub fn published() -> EdmConfig {
        EdmConfig {
            sigma_data: 0.5,
            p_mean: -1.2,
            p_std: 1.2,
            sigma_min: 0.002,
            sigma_max: 80.0,
            rho: 7.0,
            s_min: 0.01,
            s_max: 1.0,
            s_noise: 1.007,
            augment_prob: 0.0,
            preconditioning: Preconditioner::Edm,
        }
    }

    fn check(&self) -> Result<(), String> {
        let positive = [
            ("sigma_data", self.sigma_data),
            ("p_std", self.p_std),
            ("sigma_min", self.sigma_min),
            ("rho", self.rho),
        ];
        if let Some((key, value)) = positive.iter().find(|(_, v)| !(v.is_finite() && *v > 0.0)) {
            return Err(format!("{key} is {value}; it must be above 0"));
        }
        let finite = [("p_mean", self.p_mean), ("S_min", self.s_min), ("S_noise", self.s_noise)];
        if let Some((key, value)) = finite.iter().find(|(_, v)| !v.is_finite()) {
            return Err(format!("{key} is {value}; it must be a finite number"));
        }
        // Infinity is no limit.
        if self.s_max.is_nan() {
            return Err("S_max is NaN; it must be a number".to_string());
        }
        if !(self.sigma_max.is_finite() && self.sigma_max > self.sigma_min) {
            return Err(format!(
                "sigma_max is {}; it must be above sigma_min, {}",
                self.sigma_max, self.sigma_min
            ));
        }
        if !(0.0..=1.0).contains(&self.augment_prob) {
            return Err(format!("augment_prob is {}; it must be in [0, 1]", self.augment_prob));
        }
        Ok(())
    }
}
