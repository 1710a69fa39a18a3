//! The configuration of a diffusion model.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_norway::Value;

use super::{
    ConfigError, EdmConfig, ModelConfig, Origin, Override, Preconditioner, ProcessConfig, TrainingConfig,
    read_file, typed,
};
use crate::networks::{Architecture, Denoiser};

/// The keys that it has beside those of every training run.
const KEYS: [&str; 8] =
    ["dataset", "classes", "model_type", "diffusion", "net_type", "network", "flip", "linear"];

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
    /// The network: any that denoises images, as `net_type` and `network`.
    #[serde(flatten)]
    pub network: Architecture,
    /// Mirror half of the images.
    pub flip: bool,
    /// Everything else about the training run.
    #[serde(flatten)]
    pub training: TrainingConfig,
    /// The published linear probe of this model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub linear: Option<LinearConfig>,
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
    net_type: Value,
    diffusion: Value,
    network: Value,
    #[serde(default)]
    flip: bool,
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
        read_file(path, overrides, Config::from_value)
    }

    /// Reads YAML text; `origin` names it in errors.
    ///
    /// # Errors
    /// Like [`Config::read`].
    pub fn parse(text: &str, origin: &str, overrides: &[Override]) -> Result<Config, ConfigError> {
        Origin::part(text, origin).read(overrides, Config::from_value)
    }

    pub(super) fn from_value(value: Value) -> Result<Config, String> {
        if super::soda::is_soda(&value) {
            let message = "the configuration of a SODA (it has an encoder): `ddae-train soda` trains it";
            return Err(message.to_string());
        }
        if super::classifier::is_classifier(&value) {
            let command = super::classifier::command(&value);
            return Err(format!("the configuration of a classifier: `{command}` trains it"));
        }
        let says_norm = value.get("grad_clip_norm").is_some();
        let (mut training, rest) = TrainingConfig::split(value, &KEYS)?;
        let raw: Raw = typed(rest, "")?;
        let process = ProcessConfig::from_value(&raw.model_type, raw.diffusion)?;
        let network = Architecture::from_values(raw.net_type, raw.network)?;
        if let (false, Ok(network)) = (says_norm, network.denoiser()) {
            training.grad_clip_norm = network.grad_clip_norm();
        }
        let config = Config {
            dataset: raw.dataset,
            classes: raw.classes,
            process,
            network,
            flip: raw.flip,
            training,
            linear: raw.linear,
        };
        config.check()?;
        Ok(config)
    }

    /// The part that graphs are made of.
    pub fn model(&self) -> ModelConfig {
        let (architecture, process) = (self.network.clone(), Some(self.process.clone()));
        ModelConfig { architecture, process, normalisation: None }
    }

    /// `[C, H, W]` of the images.
    pub fn image_shape(&self) -> [usize; 3] {
        // Every denoiser has one.
        self.network.image_shape().unwrap_or_default()
    }

    /// Length of the augmentation label that the network takes; 0 for none.
    pub fn augment_dim(&self) -> usize {
        self.network.denoiser().map_or(0, Denoiser::augment_dim)
    }

    /// The configuration as YAML that [`Config::parse`] reads back.
    pub fn to_yaml(&self) -> String {
        // Only maps with string keys, numbers and lists: nothing that YAML cannot hold.
        serde_norway::to_string(self).unwrap_or_default()
    }

    fn check(&self) -> Result<(), String> {
        let of_network = |message: String| format!("network: {message}");
        self.network.check().map_err(of_network)?;
        let network = self.network.denoiser().map_err(|message| format!("net_type: {message}"))?;
        if network.guidance().is_some() {
            let name = self.network.name();
            return Err(format!(
                "net_type: {name} is trained with its encoder: give both, as `encoder` and `decoder`"
            ));
        }
        if let Some(reason) = network.untrainable() {
            return Err(of_network(reason));
        }
        if self.classes == 0 {
            return Err("classes is 0; it must be at least 1".to_string());
        }
        self.training.check()?;
        if let ProcessConfig::Edm(edm) = &self.process
            && edm.augment_prob > 0.0
            && network.augment_dim() != 9
        {
            let (name, dim) = (self.network.name(), network.augment_dim());
            return Err(match self.network {
                Architecture::UNet(_) | Architecture::SongUNet(_) => {
                    format!("diffusion.augment_prob needs network.augment_dim: 9, which is {dim}")
                }
                _ => format!("diffusion.augment_prob: {name} takes no augmentation label; set it to 0"),
            });
        }
        if let ProcessConfig::Edm(EdmConfig { preconditioning, .. }) = self.process
            && preconditioning != Preconditioner::Edm
        {
            let name = preconditioning.name();
            return Err(format!(
                "diffusion.preconditioning: {name} is for weights from elsewhere, its loss is not known here; training takes edm"
            ));
        }
        let told = network.classes();
        if told > 0 && told != self.classes {
            return Err(format!(
                "network.label_dim is {told} and classes {}; they must be the same, or label_dim 0 for a network that is not \
                 told the class",
                self.classes
            ));
        }
        Ok(())
    }
}
