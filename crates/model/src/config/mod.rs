//! The published YAML configurations, read unchanged; unknown keys are errors.
//!
//! | module | holds |
//! | --- | --- |
//! | `diffusion`, `soda` | the configurations of training runs, by what is trained |
//! | `training` | the keys that all of them have |
//! | `process`, `betas` | diffusion processes |
//! | `model` | networks that were not trained here |
//! | `run` | one type for all training runs |
//! | `overrides` | single keys from the command line |
//! | `yaml` | the text itself, and how long and deep it may be |

mod betas;
mod diffusion;
mod model;
mod overrides;
mod process;
mod run;
mod soda;
mod training;
mod yaml;

use std::path::{Path, PathBuf};

use serde_norway::Value;

pub use betas::Betas;
pub use diffusion::{Config, LinearConfig};
pub use model::{AnyConfig, ChannelStatistics, ModelConfig};
pub use overrides::Override;
pub use process::{
    Clip, DdpmConfig, EdmConfig, Preconditioner, Prediction, ProcessConfig, Timesteps, VarianceType,
};
pub use run::RunConfig;
pub use soda::{SodaAugmentation, SodaDiffusion, SodaRun};
pub use training::{LrSchedule, Optim, OptimArgs, TrainingConfig};

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

/// A configuration file's text: of a file or a pipe, and no longer than a configuration can be.
fn read_text(path: &Path) -> Result<String, ConfigError> {
    let read = |source| ConfigError::Read { path: path.to_path_buf(), source };
    let text = ddae_base::read_bounded(path, yaml::MOST_BYTES).map_err(read)?;
    String::from_utf8(text).map_err(|_| ConfigError::Invalid {
        origin: path.display().to_string(),
        message: "not a text file; a YAML configuration is wanted here".to_string(),
    })
}

/// YAML text with single keys set; `origin` names it in errors.
fn overridden(text: &str, origin: &str, overrides: &[Override]) -> Result<Value, ConfigError> {
    let invalid = |message: String| ConfigError::Invalid { origin: origin.to_string(), message };
    let mut value = yaml::parse(text).map_err(&invalid)?;
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
