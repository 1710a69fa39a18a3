//! The published YAML configurations, read unchanged; unknown keys are errors.

mod model;
mod overrides;
mod process;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_norway::Value;

use crate::networks::{Architecture, UNetConfig};

pub use model::{AnyConfig, ChannelStatistics, ModelConfig};
pub use overrides::Override;
pub use process::{DdpmConfig, EdmConfig, ProcessConfig, Timesteps};

/// The largest `n_sample`.
const MOST_SAMPLES: usize = 10_000;

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The text is not such a configuration.
    #[error("{origin}: {message}")]
    Invalid {
        /// The file, or where the text came from.
        origin: String,
        /// The key and what is wrong with it.
        message: String,
    },
}

/// A whole configuration of a diffusion model, `model_type: DDPM` or `EDM`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Config {
    /// Data set: `cifar`, `cifar100`, `tiny`, or one that the `data` crate adds.
    pub dataset: String,
    /// Number of classes, for probes.
    pub classes: usize,
    /// DDPM or EDM, with its process.
    #[serde(flatten)]
    pub process: ProcessConfig,
    /// The only type there is: `UNet`.
    pub net_type: NetType,
    /// The network.
    pub network: UNetConfig,
    /// Everything about the training run.
    #[serde(flatten)]
    pub training: TrainingConfig,
    /// The published linear probe of this model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub linear: Option<LinearConfig>,
}

/// Kinds of networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NetType {
    /// The UNet of [`crate::networks::unet`].
    UNet,
}

/// Optimisers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Optim {
    /// Adam; weight decay, where given, is added to the gradient.
    #[default]
    Adam,
    /// AdamW: decoupled weight decay.
    AdamW,
}

/// `optim_args`, with PyTorch's defaults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptimArgs {
    /// Weight decay.
    #[serde(default)]
    pub weight_decay: f64,
    /// Decay of the first and second moment.
    #[serde(default = "OptimArgs::default_betas")]
    pub betas: [f64; 2],
    /// Added to the root of the second moment.
    #[serde(default = "OptimArgs::default_eps")]
    pub eps: f64,
}

impl OptimArgs {
    fn default_betas() -> [f64; 2] {
        [0.9, 0.999]
    }

    fn default_eps() -> f64 {
        1e-8
    }
}

impl Default for OptimArgs {
    fn default() -> OptimArgs {
        OptimArgs { weight_decay: 0.0, betas: OptimArgs::default_betas(), eps: OptimArgs::default_eps() }
    }
}

/// How the learning rate goes on after the warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LrSchedule {
    /// It stays, as published.
    #[default]
    Constant,
    /// It falls to zero over the run along half a cosine, step by step.
    Cosine,
}

/// The training run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainingConfig {
    /// Number of passes over the data.
    pub n_epoch: usize,
    /// Pictures per step and device.
    pub batch_size: usize,
    /// Learning rate per device; multiplied by the number of devices.
    pub lrate: f64,
    /// Epochs over which the learning rate rises linearly.
    #[serde(default)]
    pub warm_epoch: usize,
    /// Our addition: what follows the warm-up.
    #[serde(default)]
    pub lr_schedule: LrSchedule,
    /// Epoch to go on from; -1 for none.
    #[serde(default = "TrainingConfig::from_scratch")]
    pub load_epoch: i64,
    /// Mirror half of the pictures.
    #[serde(default)]
    pub flip: bool,
    /// Largest decay of the moving average of the weights.
    pub ema: f64,
    /// The optimiser.
    #[serde(default)]
    pub optim: Optim,
    /// Its settings.
    #[serde(default)]
    pub optim_args: OptimArgs,
    /// Pictures on a sample sheet.
    pub n_sample: usize,
    /// The run folder.
    pub save_dir: String,
    /// Whether checkpoints are written.
    #[serde(default = "TrainingConfig::saving")]
    pub save_model: bool,
}

impl TrainingConfig {
    fn from_scratch() -> i64 {
        -1
    }

    fn saving() -> bool {
        true
    }
}

/// `linear`: the published linear probe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinearConfig {
    /// Passes over the features.
    pub n_epoch: usize,
    /// Features per step.
    pub batch_size: usize,
    /// Learning rate.
    pub lrate: f64,
    /// Timestep of the features.
    pub timestep: i64,
    /// Layer of the features (`out_6`).
    pub blockname: String,
}

/// The keys as the file has them: `diffusion` is read once `model_type` is known.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    dataset: String,
    classes: usize,
    model_type: String,
    net_type: NetType,
    diffusion: Value,
    network: UNetConfig,
    n_epoch: usize,
    batch_size: usize,
    lrate: f64,
    #[serde(default)]
    warm_epoch: usize,
    #[serde(default)]
    lr_schedule: LrSchedule,
    #[serde(default = "TrainingConfig::from_scratch")]
    load_epoch: i64,
    #[serde(default)]
    flip: bool,
    ema: f64,
    #[serde(default)]
    optim: Optim,
    #[serde(default)]
    optim_args: OptimArgs,
    n_sample: usize,
    save_dir: String,
    #[serde(default = "TrainingConfig::saving")]
    save_model: bool,
    #[serde(default)]
    linear: Option<LinearConfig>,
}

impl Config {
    /// Reads a YAML file.
    ///
    /// # Errors
    /// One line that names the file, the key and what is wrong with it.
    pub fn read(path: &Path) -> Result<Config, ConfigError> {
        Config::read_with(path, &[])
    }

    /// Reads a YAML file, then sets single keys (`network.dropout=0.2`).
    ///
    /// # Errors
    /// Like [`Config::read`].
    pub fn read_with(path: &Path, overrides: &[Override]) -> Result<Config, ConfigError> {
        Config::parse(&read_text(path)?, &path.display().to_string(), overrides)
    }

    /// Reads YAML text; `origin` names it in errors.
    ///
    /// # Errors
    /// Like [`Config::read`].
    pub fn parse(text: &str, origin: &str, overrides: &[Override]) -> Result<Config, ConfigError> {
        Config::from_value(overridden(text, origin, overrides)?, origin)
    }

    fn from_value(value: Value, origin: &str) -> Result<Config, ConfigError> {
        let invalid = |message: String| ConfigError::Invalid { origin: origin.to_string(), message };
        let raw: Raw = typed(value, "").map_err(&invalid)?;
        let process = ProcessConfig::from_value(&raw.model_type, raw.diffusion).map_err(&invalid)?;
        let config = Config {
            dataset: raw.dataset,
            classes: raw.classes,
            process,
            net_type: raw.net_type,
            network: raw.network,
            training: TrainingConfig {
                n_epoch: raw.n_epoch,
                batch_size: raw.batch_size,
                lrate: raw.lrate,
                warm_epoch: raw.warm_epoch,
                lr_schedule: raw.lr_schedule,
                load_epoch: raw.load_epoch,
                flip: raw.flip,
                ema: raw.ema,
                optim: raw.optim,
                optim_args: raw.optim_args,
                n_sample: raw.n_sample,
                save_dir: raw.save_dir,
                save_model: raw.save_model,
            },
            linear: raw.linear,
        };
        config.check().map_err(invalid)?;
        Ok(config)
    }

    /// The part that graphs are made of.
    pub fn model(&self) -> ModelConfig {
        let architecture = Architecture::UNet(self.network.clone());
        ModelConfig { architecture, process: Some(self.process.clone()), normalisation: None }
    }

    /// The configuration as YAML that [`Config::parse`] reads back.
    pub fn to_yaml(&self) -> String {
        // Only maps with string keys, numbers and lists: nothing that YAML cannot hold.
        serde_norway::to_string(self).unwrap_or_default()
    }

    fn check(&self) -> Result<(), String> {
        self.network.check().map_err(|message| format!("network: {message}"))?;
        let t = &self.training;
        let positive = [("classes", self.classes), ("n_epoch", t.n_epoch), ("batch_size", t.batch_size)];
        if let Some((key, _)) = positive.iter().find(|(_, value)| *value == 0) {
            return Err(format!("{key} is 0; it must be at least 1"));
        }
        if !(t.lrate.is_finite() && t.lrate > 0.0) {
            return Err(format!("lrate is {}; it must be above 0", t.lrate));
        }
        if !(0.0..1.0).contains(&t.ema) {
            return Err(format!("ema is {}; it must be in [0, 1)", t.ema));
        }
        let [b1, b2] = t.optim_args.betas;
        if !(0.0..1.0).contains(&b1) || !(0.0..1.0).contains(&b2) {
            return Err(format!("optim_args.betas is [{b1}, {b2}]; both must be in [0, 1)"));
        }
        let OptimArgs { weight_decay, eps, .. } = t.optim_args;
        let least_0 = [("weight_decay", weight_decay), ("eps", eps)];
        if let Some((key, value)) = least_0.iter().find(|(_, v)| !(v.is_finite() && *v >= 0.0)) {
            return Err(format!("optim_args.{key} is {value}; it must be at least 0"));
        }
        if t.n_sample > MOST_SAMPLES {
            return Err(format!("n_sample is {}; a sheet holds at most {MOST_SAMPLES}", t.n_sample));
        }
        if t.load_epoch < -1 {
            return Err(format!("load_epoch is {}; it must be -1 (from scratch) or an epoch", t.load_epoch));
        }
        if let ProcessConfig::Edm(edm) = &self.process
            && edm.augment_prob > 0.0
            && self.network.augment_dim != 9
        {
            let dim = self.network.augment_dim;
            return Err(format!("diffusion.augment_prob needs network.augment_dim: 9, which is {dim}"));
        }
        Ok(())
    }
}

/// A configuration file's text.
fn read_text(path: &Path) -> Result<String, ConfigError> {
    let read = |source| ConfigError::Read { path: path.to_path_buf(), source };
    let text = std::fs::read(path).map_err(read)?;
    String::from_utf8(text).map_err(|_| ConfigError::Invalid {
        origin: path.display().to_string(),
        message: "not a text file; a YAML configuration is wanted here".to_string(),
    })
}

/// YAML text with single keys set; `origin` names it in errors.
fn overridden(text: &str, origin: &str, overrides: &[Override]) -> Result<Value, ConfigError> {
    let invalid = |message: String| ConfigError::Invalid { origin: origin.to_string(), message };
    let mut value: Value = serde_norway::from_str(text).map_err(|e| invalid(format!("not YAML: {e}")))?;
    if !value.is_mapping() {
        return Err(invalid("not a configuration: it needs keys like 'dataset: cifar'".to_string()));
    }
    for change in overrides {
        change.apply(&mut value).map_err(&invalid)?;
    }
    Ok(value)
}

/// A value as the type `T`; errors carry the key's path, after `section`.
fn typed<T: serde::de::DeserializeOwned>(value: Value, section: &str) -> Result<T, String> {
    serde_path_to_error::deserialize(value).map_err(|e| {
        let path = match (section, e.path().to_string().as_str()) {
            (section, ".") => section.to_string(),
            ("", path) => path.to_string(),
            (section, path) => format!("{section}.{path}"),
        };
        let message = e.inner();
        if path.is_empty() { message.to_string() } else { format!("{path}: {message}") }
    })
}
