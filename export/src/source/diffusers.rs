//! What diffusers writes beside weights: `config.json` and `scheduler_config.json`.

use std::fs;
use std::path::{Path, PathBuf};

use ddae_model::config::ProcessConfig;
use ddae_model::networks::{DiffusersConfig, VaeEncoderConfig};
use serde_json::Value;

use super::scheduler::{self, Refusal, excerpt, flag, number, whole_number};
use crate::ExportError;

/// What diffusers' `EMAModel` adds to the configuration of the network whose average it is.
const OF_AVERAGE: [&str; 7] =
    ["decay", "min_decay", "optimization_step", "update_after_step", "use_ema_warmup", "inv_gamma", "power"];

/// What other autoencoders of diffusers have otherwise: key, and the one value (JSON) that is known here.
const AUTOENCODER: [(&str, &str); 6] = [
    ("double_z", "true"),
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
        match config["_class_name"].as_str() {
            None | Some("AutoencoderKL") => {}
            Some(other) => {
                let message =
                    format!("it is of a {}; the weights are those of an AutoencoderKL", excerpt(other));
                return Err(wrong(message));
            }
        }
        for (key, known) in AUTOENCODER {
            let found = config[key].to_string();
            // A shift of nothing is none.
            let is_nothing = known == "null" && config[key].as_f64() == Some(0.0);
            if found != "null" && found != known && !is_nothing {
                return Err(wrong(format!("{key} is {}; only {known} is supported", excerpt(&found))));
            }
        }
        // What diffusers has where the key is missing.
        let says = flag(&config, "use_quant_conv", true).map_err(wrong)?;
        if says != encoder.use_quant_conv {
            let has = if encoder.use_quant_conv { "have a quant_conv" } else { "have no quant_conv" };
            return Err(wrong(format!("use_quant_conv is {says}, and the weights beside it {has}")));
        }
        let channels = whole_number(&config, "latent_channels", encoder.latent_channels).map_err(wrong)?;
        if channels != encoder.latent_channels {
            let found = encoder.latent_channels;
            return Err(wrong(format!(
                "latent_channels is {channels}, and the weights beside it have {found}"
            )));
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
        scheduler::process(&json(path)?).map(Some).map_err(|Refusal { problem, is_detail }| {
            // What is known to be another process is not made right by an option.
            let advice = if is_detail { ". To take the published DDPM, give --process ddpm" } else { "" };
            ExportError::unusable(path, format!("{problem}{advice}"))
        })
    }

    /// What of the scheduler beside the weights is not taken where `given` is, in words; none where it says the same.
    pub fn other_than(&self, given: &ProcessConfig) -> Option<String> {
        let Ok(scheduler) = json(self.scheduler.as_ref()?) else {
            return Some("its scheduler_config.json, which cannot be read, is not taken".to_string());
        };
        match scheduler::process(&scheduler) {
            Ok(process) if process == *given => None,
            Ok(process) => {
                let keys = scheduler::differences(&process, given).join(", ");
                Some(format!("what its scheduler says is not taken: {keys}"))
            }
            Err(Refusal { problem, .. }) => {
                let problem = problem.split(';').next().unwrap_or_default();
                Some(format!("what its scheduler says is not taken: {problem}"))
            }
        }
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
