//! The configuration of a training run, whatever is trained.

use serde::Serialize;

use super::{AnyConfig, ClassifierRun, Config, ConfigError, SodaRun, TrainingConfig};
use crate::networks::Architecture;

/// What a training checkpoint was made with.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum RunConfig {
    /// A diffusion model.
    Diffusion(Box<Config>),
    /// A SODA.
    Soda(Box<SodaRun>),
    /// A classifier of noised images.
    Classifier(Box<ClassifierRun>),
}

impl RunConfig {
    /// Reads YAML text; `origin` names it in errors.
    ///
    /// # Errors
    /// One line that names the key and what is wrong with it; also for the configuration of a network alone.
    pub fn parse(text: &str, origin: &str) -> Result<RunConfig, ConfigError> {
        match AnyConfig::parse(text, origin, &[])? {
            AnyConfig::Run(run) => Ok(run),
            AnyConfig::Model(_) => Err(ConfigError::Invalid {
                origin: origin.to_string(),
                message: "it is that of a network alone; a training run's is wanted here".to_string(),
            }),
        }
    }

    /// The data set.
    pub fn dataset(&self) -> &str {
        match self {
            RunConfig::Diffusion(config) => &config.dataset,
            RunConfig::Soda(config) => &config.dataset,
            RunConfig::Classifier(config) => &config.dataset,
        }
    }

    /// `[C, H, W]` of the images.
    pub fn image_shape(&self) -> [usize; 3] {
        match self {
            RunConfig::Diffusion(config) => config.image_shape(),
            RunConfig::Soda(config) => config.image_shape(),
            RunConfig::Classifier(config) => config.image_shape(),
        }
    }

    /// What all training runs have.
    pub fn training(&self) -> &TrainingConfig {
        match self {
            RunConfig::Diffusion(config) => &config.training,
            RunConfig::Soda(config) => &config.training,
            RunConfig::Classifier(config) => &config.training,
        }
    }

    /// That of a diffusion model, if it is one.
    pub fn diffusion(&self) -> Option<&Config> {
        match self {
            RunConfig::Diffusion(config) => Some(config),
            RunConfig::Soda(_) | RunConfig::Classifier(_) => None,
        }
    }

    /// That of a SODA, if it is one.
    pub fn soda(&self) -> Option<&SodaRun> {
        match self {
            RunConfig::Soda(config) => Some(config),
            RunConfig::Diffusion(_) | RunConfig::Classifier(_) => None,
        }
    }

    /// That of a classifier, if it is one.
    pub fn classifier(&self) -> Option<&ClassifierRun> {
        match self {
            RunConfig::Classifier(config) => Some(config),
            RunConfig::Diffusion(_) | RunConfig::Soda(_) => None,
        }
    }

    /// The one network that is trained; none of a SODA, which has two.
    pub fn network(&self) -> Option<&Architecture> {
        match self {
            RunConfig::Diffusion(config) => Some(&config.network),
            RunConfig::Classifier(config) => Some(&config.network),
            RunConfig::Soda(_) => None,
        }
    }

    /// The configuration as YAML that [`RunConfig::parse`] reads back.
    pub fn to_yaml(&self) -> String {
        match self {
            RunConfig::Diffusion(config) => config.to_yaml(),
            RunConfig::Soda(config) => config.to_yaml(),
            RunConfig::Classifier(config) => config.to_yaml(),
        }
    }
}

impl From<Config> for RunConfig {
    fn from(config: Config) -> RunConfig {
        RunConfig::Diffusion(Box::new(config))
    }
}

impl From<SodaRun> for RunConfig {
    fn from(config: SodaRun) -> RunConfig {
        RunConfig::Soda(Box::new(config))
    }
}

impl From<ClassifierRun> for RunConfig {
    fn from(config: ClassifierRun) -> RunConfig {
        RunConfig::Classifier(Box::new(config))
    }
}
