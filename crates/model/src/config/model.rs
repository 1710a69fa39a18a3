//! The part of a configuration that graphs are made of, for networks that were not trained here.
//!
//! It is written as YAML with the keys of a training configuration, and no others:
//!
//! ```yaml
//! net_type: DiT
//! network: {input_size: 32, patch_size: 2, …}
//! model_type: DDPM
//! diffusion: {n_T: 1000, betas: [1.0e-4, 0.02], timesteps: index}
//! ```

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_norway::Value;

use super::{ClassifierRun, Config, ConfigError, Origin, Override, ProcessConfig, RunConfig, SodaRun, typed};
use crate::graph::GraphKind;
use crate::networks::Architecture;

/// A network with what is around it in graphs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelConfig {
    /// The network.
    #[serde(flatten)]
    pub architecture: Architecture,
    /// The diffusion process it was trained in, if it is known and there is one.
    #[serde(flatten)]
    pub process: Option<ProcessConfig>,
    /// How images are normalised before an encoder sees them, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub normalisation: Option<ChannelStatistics>,
}

/// Mean and standard deviation of each channel of the images that a network was trained on, in [0, 1]. The network
/// sees `(x - mean) / std`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChannelStatistics {
    /// Means.
    pub mean: Vec<f64>,
    /// Standard deviations.
    pub std: Vec<f64>,
}

/// Keys that only the configuration of a training run has.
const TRAINING_KEYS: [&str; 8] =
    ["dataset", "classes", "n_epoch", "batch_size", "lrate", "ema", "n_sample", "save_dir"];

/// A configuration file: of a training run, or of a network alone.
#[derive(Clone, Debug, PartialEq)]
pub enum AnyConfig {
    /// Everything about a training run.
    Run(RunConfig),
    /// A network and its process.
    Model(Box<ModelConfig>),
}

/// The keys of the short form.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    net_type: Value,
    network: Value,
    #[serde(default)]
    model_type: Option<String>,
    #[serde(default)]
    diffusion: Option<Value>,
    #[serde(default)]
    normalisation: Option<ChannelStatistics>,
}

impl AnyConfig {
    /// Reads a YAML file, then sets single keys (`network.n_blocks=2`).
    ///
    /// # Errors
    /// One line that names the file, the key and what is wrong with it.
    pub fn read(path: &Path, overrides: &[Override]) -> Result<AnyConfig, ConfigError> {
        super::read_file(path, overrides, AnyConfig::from_value)
    }

    /// Reads YAML text; `origin` names it in errors. A text with a key that only a training run has (`dataset`,
    /// `n_epoch`, …) is that of a training run.
    ///
    /// # Errors
    /// Like [`AnyConfig::read`].
    pub fn parse(text: &str, origin: &str, overrides: &[Override]) -> Result<AnyConfig, ConfigError> {
        Origin::part(text, origin).read(overrides, AnyConfig::from_value)
    }

    fn from_value(value: Value) -> Result<AnyConfig, String> {
        let has = |key: &str| value.get(key).is_some();
        let is_short = has("net_type") && has("network") && !TRAINING_KEYS.into_iter().any(has);
        if is_short {
            return Ok(AnyConfig::Model(Box::new(ModelConfig::from_value(value)?)));
        }
        let run = if super::soda::is_soda(&value) {
            SodaRun::from_value(value)?.into()
        } else if super::classifier::is_classifier(&value) {
            ClassifierRun::from_value(value)?.into()
        } else {
            Config::from_value(value)?.into()
        };
        Ok(AnyConfig::Run(run))
    }

    /// The network and its process; of a SODA the decoder.
    pub fn model(&self) -> ModelConfig {
        match self {
            AnyConfig::Run(RunConfig::Diffusion(config)) => config.model(),
            AnyConfig::Run(RunConfig::Soda(config)) => config.decoder_model(),
            AnyConfig::Run(RunConfig::Classifier(config)) => config.model(),
            AnyConfig::Model(model) => (**model).clone(),
        }
    }

    /// The network that graphs of a kind are made of, and its process: of a SODA the encoder, or else the decoder.
    pub fn model_for(&self, kind: GraphKind) -> ModelConfig {
        match (self, kind) {
            (AnyConfig::Run(RunConfig::Soda(config)), GraphKind::Encoder) => config.encoder_model(),
            _ => self.model(),
        }
    }

    /// The same for images of another size.
    ///
    /// # Errors
    /// A sentence, for a network that is tied to its size or cannot have the new one.
    pub fn resized(&self, size: [usize; 2]) -> Result<AnyConfig, String> {
        let mut resized = self.clone();
        match &mut resized {
            AnyConfig::Run(RunConfig::Diffusion(config)) => {
                config.network = config.network.resized(size)?;
            }
            AnyConfig::Run(RunConfig::Soda(config)) => {
                let [channels, ..] = config.image_shape();
                let shape = [channels, size[0], size[1]];
                config.networks.encoder.image_shape = shape;
                config.networks.decoder.image_shape = shape;
                config.networks.check()?;
            }
            AnyConfig::Run(RunConfig::Classifier(config)) => {
                config.network = config.network.resized(size)?;
            }
            AnyConfig::Model(model) => model.architecture = model.architecture.resized(size)?,
        }
        Ok(resized)
    }

    /// The configuration of the diffusion model's training run, where it is one.
    pub fn training(&self) -> Option<&Config> {
        match self {
            AnyConfig::Run(run) => run.diffusion(),
            AnyConfig::Model(_) => None,
        }
    }

    /// The configuration as YAML that [`AnyConfig::parse`] reads back.
    pub fn to_yaml(&self) -> String {
        match self {
            AnyConfig::Run(run) => run.to_yaml(),
            AnyConfig::Model(model) => model.to_yaml(),
        }
    }
}

impl From<Config> for AnyConfig {
    fn from(config: Config) -> AnyConfig {
        AnyConfig::Run(config.into())
    }
}

impl From<SodaRun> for AnyConfig {
    fn from(config: SodaRun) -> AnyConfig {
        AnyConfig::Run(config.into())
    }
}

impl From<ClassifierRun> for AnyConfig {
    fn from(config: ClassifierRun) -> AnyConfig {
        AnyConfig::Run(config.into())
    }
}

impl From<ModelConfig> for AnyConfig {
    fn from(model: ModelConfig) -> AnyConfig {
        AnyConfig::Model(Box::new(model))
    }
}

impl Architecture {
    /// The values of `net_type` and `network`, unchecked.
    pub(super) fn from_values(net_type: Value, network: Value) -> Result<Architecture, String> {
        let tagged = [("net_type", net_type), ("network", network)];
        typed(Value::Mapping(tagged.map(|(key, value)| (Value::from(key), value)).into_iter().collect()), "")
    }
}

impl ModelConfig {
    /// A network of which nothing else is known.
    pub fn of(architecture: Architecture) -> ModelConfig {
        ModelConfig { architecture, process: None, normalisation: None }
    }

    fn from_value(value: Value) -> Result<ModelConfig, String> {
        let Raw { net_type, network, model_type, diffusion, normalisation } = typed(value, "")?;
        let architecture = Architecture::from_values(net_type, network)?;
        architecture.check().map_err(|message| format!("network: {message}"))?;
        let process = match (model_type.as_deref(), diffusion) {
            (None, None) => None,
            (Some(model_type), Some(diffusion)) => Some(ProcessConfig::from_value(model_type, diffusion)?),
            (Some(_), None) => return Err("model_type needs a 'diffusion' section".to_string()),
            (None, Some(_)) => return Err("diffusion needs 'model_type: DDPM' or 'EDM'".to_string()),
        };
        if let Some(statistics) = &normalisation {
            statistics.check()?;
        }
        Ok(ModelConfig { architecture, process, normalisation })
    }

    /// The configuration as YAML that [`AnyConfig::parse`] reads back.
    pub fn to_yaml(&self) -> String {
        // Only maps with string keys, numbers and lists: nothing that YAML cannot hold.
        serde_norway::to_string(self).unwrap_or_default()
    }
}

impl ChannelStatistics {
    /// Of CIFAR-10, CIFAR-100 and Tiny-ImageNet, as the published SODA configurations use them.
    pub fn published(data_set: &str) -> Option<ChannelStatistics> {
        let (mean, std) = match data_set {
            "cifar" | "cifar10" => ([0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.2010]),
            "cifar100" => ([0.5071, 0.4865, 0.4409], [0.2009, 0.1984, 0.2023]),
            "tiny" => ([0.4802, 0.4481, 0.3975], [0.2302, 0.2265, 0.2262]),
            _ => return None,
        };
        Some(ChannelStatistics { mean: mean.to_vec(), std: std.to_vec() })
    }

    /// Checks what the types cannot.
    ///
    /// # Errors
    /// A sentence that names the values.
    pub fn check(&self) -> Result<(), String> {
        let (means, stds) = (self.mean.len(), self.std.len());
        if means == 0 || means != stds {
            return Err(format!(
                "normalisation has {means} means and {stds} standard deviations; it needs one of each per channel"
            ));
        }
        if let Some(mean) = self.mean.iter().find(|mean| !mean.is_finite()) {
            return Err(format!("normalisation.mean has {mean}; it must be a number"));
        }
        match self.std.iter().find(|std| !(std.is_finite() && **std > 0.0)) {
            Some(std) => Err(format!("normalisation.std has {std}; it must be above 0")),
            None => Ok(()),
        }
    }
}
