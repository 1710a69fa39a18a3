//! What diffusers writes beside weights: `config.json` and `scheduler_config.json`.

use std::fs;
use std::path::{Path, PathBuf};

use ddae_model::config::{Betas, DdpmConfig, ProcessConfig, Timesteps};
use ddae_model::networks::{DiffusersConfig, VaeEncoderConfig};
use serde_json::Value;

use crate::ExportError;

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
        encoder.scaling_factor = number(path, &config, "scaling_factor", encoder.scaling_factor)?;
        encoder.norm_num_groups = whole_number(path, &config, "norm_num_groups", encoder.norm_num_groups)?;
        Ok(())
    }

    /// The process that the scheduler's configuration describes; none where there is no such file.
    ///
    /// # Errors
    /// When the schedule is not that of a DDPM which predicts noise.
    pub fn process(&self) -> Result<Option<ProcessConfig>, ExportError> {
        let Some(path) = &self.scheduler else { return Ok(None) };
        let scheduler = json(path)?;
        let wrong = |message: String| ExportError::unusable(path, message);
        let text = |key: &str, default: &'static str| match &scheduler[key] {
            Value::Null => default.to_string(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        for (key, default, wanted) in [
            ("beta_schedule", "linear", "linear"),
            ("prediction_type", "epsilon", "epsilon"),
            ("trained_betas", "null", "null"),
        ] {
            let found = text(key, default);
            if found != wanted {
                return Err(wrong(format!(
                    "{key} is {found}; only {wanted} is known here. To take the published DDPM, give --process ddpm"
                )));
            }
        }
        let n_t = whole_number(path, &scheduler, "num_train_timesteps", 1000)?;
        // diffusers' own defaults.
        let [first, last] = [("beta_start", 1e-4), ("beta_end", 0.02)]
            .map(|(key, default)| number(path, &scheduler, key, default));
        let betas = Betas::Linear([first?, last?]);
        let process = ProcessConfig::Ddpm(DdpmConfig { n_t, betas, timesteps: Timesteps::Index });
        process.check().map_err(wrong)?;
        Ok(Some(process))
    }
}

fn json(path: &Path) -> Result<Value, ExportError> {
    let wrong = |message: String| ExportError::unusable(path, message);
    let text = fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    let value: Value = serde_json::from_str(&text).map_err(|error| wrong(format!("not JSON: {error}")))?;
    if !value.is_object() {
        return Err(ExportError::unusable(
            path,
            "not a configuration of diffusers: it needs keys like \"_class_name\"",
        ));
    }
    Ok(value)
}

fn number(path: &Path, config: &Value, key: &str, default: f64) -> Result<f64, ExportError> {
    let found = &config[key];
    let number = if found.is_null() { Some(default) } else { found.as_f64() };
    number.ok_or_else(|| ExportError::unusable(path, format!("{key} is {found}; it must be a number")))
}

fn whole_number(path: &Path, config: &Value, key: &str, default: usize) -> Result<usize, ExportError> {
    let found = &config[key];
    let whole = || found.as_u64().and_then(|number| usize::try_from(number).ok());
    let number = if found.is_null() { Some(default) } else { whole() };
    number.ok_or_else(|| ExportError::unusable(path, format!("{key} is {found}; it must be a whole number")))
}
