//! The published YAML configurations, read unchanged; unknown keys are errors.
//!
//! | module | holds |
//! | --- | --- |
//! | `diffusion`, `soda`, `classifier` | the configurations of training runs, by what is trained |
//! | `training` | the keys that all of them have |
//! | `process`, `betas` | diffusion processes |
//! | `model` | networks that were not trained here |
//! | `run` | one type for all training runs |
//! | `overrides` | single keys from the command line |
//! | `yaml` | the text itself, and how long and deep it may be |
//! | `words`, `place` | what is wrong with a value, and where it stands |

mod betas;
mod classifier;
mod diffusion;
mod model;
mod overrides;
mod place;
mod process;
mod run;
mod soda;
mod training;
mod words;
mod yaml;

use std::path::{Path, PathBuf};

use serde_norway::Value;

pub use betas::Betas;
pub use classifier::ClassifierRun;
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

/// Text that a configuration is read from.
#[derive(Clone, Copy, Debug)]
struct Origin<'a> {
    text: &'a str,
    /// What errors call it.
    name: &'a str,
    /// Whether its lines are those of a file that somebody can look at.
    is_file: bool,
}

impl<'a> Origin<'a> {
    /// Text that lies in something else.
    fn part(text: &'a str, name: &'a str) -> Origin<'a> {
        Origin { text, name, is_file: false }
    }

    /// What `read` makes of the text with single keys set.
    ///
    /// An error names the place in the file, or the `--set` that brought it.
    fn read<T>(
        self,
        overrides: &[Override],
        read: impl Fn(Value) -> Result<T, String>,
    ) -> Result<T, ConfigError> {
        let attempt = |overrides: &[Override]| overridden(self.text, overrides).and_then(&read);
        let message = match attempt(overrides) {
            Ok(read) => return Ok(read),
            Err(message) => message,
        };
        // The first with which it is said is to blame; that which is said without any is said of the text.
        let is_said = |count: &usize| attempt(&overrides[..*count]).is_err_and(|said| said == message);
        let blamed = (0..overrides.len()).find(is_said).unwrap_or(overrides.len());
        let (origin, message) = match blamed.checked_sub(1).and_then(|last| overrides.get(last)) {
            Some(change) => (change.to_string(), change.of_its_value(&message).to_string()),
            None => {
                let place = place::of_message(self.text, &message).filter(|_| self.is_file);
                let place = place.map_or(String::new(), |place| format!("{place}: "));
                (self.name.to_string(), place + &message)
            }
        };
        Err(ConfigError::Invalid { origin, message })
    }
}

/// What `read` makes of a configuration file with single keys set: of a file or a pipe, and no longer than a
/// configuration can be.
fn read_file<T>(
    path: &Path,
    overrides: &[Override],
    read: impl Fn(Value) -> Result<T, String>,
) -> Result<T, ConfigError> {
    let failed = |source| ConfigError::Read { path: path.to_path_buf(), source };
    let name = path.display().to_string();
    let text = ddae_base::read_bounded(path, yaml::MOST_BYTES).map_err(failed)?;
    let text = String::from_utf8(text).map_err(|_| ConfigError::Invalid {
        origin: name.clone(),
        message: "not a text file in UTF-8; a YAML configuration is wanted here".to_string(),
    })?;
    Origin { text: yaml::without_mark(&text), name: &name, is_file: true }.read(overrides, read)
}

/// YAML text with single keys set.
fn overridden(text: &str, overrides: &[Override]) -> Result<Value, String> {
    let mut value = yaml::parse(text)?;
    if !value.is_mapping() {
        return Err("not a configuration: it needs keys like 'dataset: cifar'".to_string());
    }
    overrides.iter().try_for_each(|change| change.apply(&mut value))?;
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
        let message = words::in_words(&e.inner().to_string());
        if path.is_empty() { message } else { format!("{path}: {message}") }
    })
}
