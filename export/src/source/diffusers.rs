//! What diffusers writes beside weights: `config.json` and `scheduler_config.json`.

use std::fs;
use std::path::{Path, PathBuf};

use ddae_model::config::ProcessConfig;
use ddae_model::networks::{DiffusersConfig, VaeEncoderConfig};
use serde_json::Value;

use super::scheduler::{self, number, whole_number};
use crate::ExportError;

/// What diffusers' `EMAModel` adds to the configuration of the network whose average it is.
const OF_AVERAGE: [&str; 7] =
    ["decay", "min_decay", "optimization_step", "update_after_step", "use_ema_warmup", "inv_gamma", "power"];

/// What other autoencoders of diffusers have otherwise: key, and the one value (JSON) that is known here.
const AUTOENCODER: [(&str, &str); 5] = [
    ("act_fn", "\"silu\""),
    ("shift_factor", "null"),
    ("latents_mean", "null"),
    ("latents_std", "null"),
    ("mid_block_add_attention", "true"),
];

/// The configuration files of a diffusers model.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct DiffusersFolder {
    config: Option<PathBuf>,
    scheduler: Option<PathBuf>,
}

impl DiffusersFolder {
    /// Looks for `config.json` in the folder of the weights, and the scheduler's there or in the pipeline around it.
    pub fn find(folder: &Path) -> DiffusersFolder {
        let existing =
            |names: &[&str]| names.iter().map(|name| folder.join(name)).find(|path| path.is_file());
        DiffusersFolder {
            config: existing(&["config.json"]),
            scheduler: existing(&["scheduler_config.json", "../scheduler/scheduler_config.json"]),
        }
    }

    /// Whether there is a configuration of the network.
    pub fn has_config(&self) -> bool {
        self.config.is_some()
    }

    /// The class that the configuration is of.
    pub fn class(&self) -> Option<String> {
        let config = json(self.config.as_ref()?).ok()?;
        config["_class_name"].as_str().map(str::to_string)
    }

    /// Whether the configuration says that the weights are a moving average (diffusers' `EMAModel`).
    pub fn is_average(&self) -> bool {
        let config = self.config.as_ref().and_then(|path| json(path).ok());
        config.is_some_and(|config| OF_AVERAGE.iter().filter(|key| config.get(key).is_some()).count() > 1)
    }

    /// The configuration of a `UNet2DModel`, with images of the given size where one is given.
    ///
    /// # Errors
    /// When it is of another class than those known, or cannot be read as one of a `UNet2DModel`.
    pub fn unet(&self, image_size: Option<[usize; 2]>) -> Result<Option<DiffusersConfig>, ExportError> {
        let Some(path) = &self.config else { return Ok(None) };
        let mut config = json(path)?;
        let wrong = |message: String| ExportError::unusable(path, message);
        match config["_class_name"].as_str() {
            None | Some("UNet2DModel") => {}
            Some("AutoencoderKL") => return Ok(None),
            Some(other) => {
                return Err(wrong(format!(
                    "it is of a {other}; UNet2DModel and AutoencoderKL are known here"
                )));
            }
        }
        if let Some(keys) = config.as_object_mut() {
            keys.retain(|key, _| !OF_AVERAGE.contains(&key.as_str()));
        }
        if let (Some(size), Some(keys)) = (image_size, config.as_object_mut()) {
            keys.insert("sample_size".to_string(), Value::from(size.to_vec()));
        }
        serde_json::from_value(config).map(Some).map_err(|error| wrong(error.to_string()))
    }

    /// Takes from an autoencoder's configuration what its weights do not tell: groups of the norms, and what latents are
    /// multiplied by.
    ///
    /// # Errors
    /// When the configuration cannot be read, or is of an autoencoder that computes something else.
    pub fn adapt_autoencoder(&self, encoder: &mut VaeEncoderConfig) -> Result<(), ExportError> {
        let Some(path) = &self.config else { return Ok(()) };
        let config = json(path)?;
        let wrong = |message: String| ExportError::unusable(path, message);
        for (key, known) in AUTOENCODER {
            let found = config[key].to_string();
            if found != "null" && found != known {
                return Err(wrong(format!("{key} is {found}; only {known} is supported")));
            }
        }
        let blocks = config["down_block_types"].as_array().into_iter().flatten();
        if let Some(other) = blocks.into_iter().find(|block| block.as_str() != Some("DownEncoderBlock2D")) {
            let message = format!("down_block_types has {other}; only \"DownEncoderBlock2D\" is supported");
            return Err(wrong(message));
        }
        encoder.scaling_factor = number(&config, "scaling_factor", encoder.scaling_factor).map_err(wrong)?;
        encoder.norm_num_groups =
            whole_number(&config, "norm_num_groups", encoder.norm_num_groups).map_err(wrong)?;
        Ok(())
    }

    /// The process that the scheduler's configuration describes; none where there is no such file.
    ///
    /// # Errors
    /// When the scheduler, or something that it says, is not known.
    pub fn process(&self) -> Result<Option<ProcessConfig>, ExportError> {
        let Some(path) = &self.scheduler else { return Ok(None) };
        let message = |problem: String| format!("{problem}. To take the published DDPM, give --process ddpm");
        scheduler::process(&json(path)?)
            .map(Some)
            .map_err(|problem| ExportError::unusable(path, message(problem)))
    }
}

fn json(path: &Path) -> Result<Value, ExportError> {
    let wrong = |message: String| ExportError::unusable(path, message);
    let text = fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    // Some editors begin a file with a mark of its encoding.
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let value: Value = serde_json::from_str(text).map_err(|error| wrong(format!("not JSON: {error}")))?;
    if !value.is_object() {
        return Err(ExportError::unusable(
            path,
            "not a configuration of diffusers: it needs keys like \"_class_name\"",
        ));
    }
    Ok(value)
}
