//! The configuration of a classifier of noised images: a noise-conditional network, or a denoiser that is fine-tuned.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_norway::Value;

use super::{
    Config, ConfigError, ModelConfig, Origin, Override, ProcessConfig, TrainingConfig, read_file, typed,
};
use crate::networks::Architecture;

/// The keys that it has beside those of every training run.
const KEYS: [&str; 9] =
    ["dataset", "classes", "model_type", "diffusion", "net_type", "network", "crop", "flip", "layer_decay"];

/// The networks that are trained so.
const NETWORKS: [&str; 2] = ["WideResNet", FINE_TUNED];
const FINE_TUNED: &str = "FineTuned";

/// The most classes: a loss looks classes up in a table of their square.
const MOST_CLASSES: usize = 4096;

/// A whole configuration of a classifier of noised images.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassifierRun {
    /// Data set: `cifar`, `cifar100`, `tiny`, or one that the `data` crate adds.
    pub dataset: String,
    /// Number of classes.
    pub classes: usize,
    /// The process that noises images: a DDPM (variance preserving) or an EDM (variance exploding).
    #[serde(flatten)]
    pub process: ProcessConfig,
    /// The network: `WideResNet`, or `FineTuned`.
    #[serde(flatten)]
    pub network: Architecture,
    /// Zeros on every side of which random crops are taken; 0 for no crop.
    pub crop: usize,
    /// Mirror half of the images.
    pub flip: bool,
    /// What the learning rate of each block of a fine-tuned denoiser is in multiples of that of the block after it
    /// ([`crate::networks::BlockDepths`]); 1 for one rate.
    #[serde(skip_serializing_if = "is_one")]
    pub layer_decay: f64,
    /// Everything else about the training run.
    #[serde(flatten)]
    pub training: TrainingConfig,
}

fn is_one(value: &f64) -> bool {
    *value == 1.0
}

/// The keys as the file has them: `diffusion` is read once `model_type` is known.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    dataset: String,
    classes: usize,
    model_type: String,
    diffusion: Value,
    net_type: Value,
    network: Value,
    #[serde(default)]
    crop: usize,
    #[serde(default)]
    flip: bool,
    #[serde(default = "Raw::one_rate")]
    layer_decay: f64,
}

impl Raw {
    fn one_rate() -> f64 {
        1.0
    }
}

/// Whether a configuration is of a classifier.
pub(super) fn is_classifier(value: &Value) -> bool {
    value.get("net_type").and_then(Value::as_str).is_some_and(|name| NETWORKS.contains(&name))
}

/// The command that trains a network of this kind.
pub(super) fn command(value: &Value) -> &'static str {
    match value.get("net_type").and_then(Value::as_str) {
        Some(FINE_TUNED) => "ddae-train finetune",
        _ => "ddae-train classifier",
    }
}

impl ClassifierRun {
    /// Reads a YAML file, then sets single keys (`network.channel_multiplier=2`).
    ///
    /// # Errors
    /// One line that names the file, the key and what is wrong with it.
    pub fn read_with(path: &Path, overrides: &[Override]) -> Result<ClassifierRun, ConfigError> {
        read_file(path, overrides, ClassifierRun::from_value)
    }

    /// The same for a denoiser that is fine-tuned: what the file does not say of it (`network.denoiser`, `model_type` and
    /// `diffusion`) is as in `donor`, the configuration that the denoiser was trained with.
    ///
    /// Its dropout may be another.
    ///
    /// # Errors
    /// Like [`ClassifierRun::read_with`].
    pub fn read_fine_tuning(
        path: &Path,
        overrides: &[Override],
        donor: Option<&Config>,
    ) -> Result<ClassifierRun, ConfigError> {
        read_file(path, overrides, |value| {
            check_is_fine_tuning(&value)?;
            let Some(donor) = donor else { return ClassifierRun::from_value(whole(value)?) };
            let run = ClassifierRun::from_value(completed(value, &donor.network, &donor.process)?)?;
            check_donor(&run, donor)?;
            Ok(run)
        })
    }

    /// The same for a run that goes on: what the file does not say of the denoiser is as in the configuration that the run has kept.
    /// `kept` finds it, given the file's `save_dir`.
    ///
    /// # Errors
    /// Like [`ClassifierRun::read_with`], and those of `kept`.
    pub fn read_tuned(
        path: &Path,
        overrides: &[Override],
        kept: impl Fn(Option<&str>) -> Result<Option<ClassifierRun>, String>,
    ) -> Result<ClassifierRun, ConfigError> {
        read_file(path, overrides, |value| {
            check_is_fine_tuning(&value)?;
            let kept = match is_whole(&value) {
                true => None,
                false => kept(value.get("save_dir").and_then(Value::as_str))?,
            };
            let value = match kept.as_ref().and_then(|run| Some((run, run.network.fine_tuned()?))) {
                Some((run, tuned)) => completed(value, &tuned.denoiser, &run.process)?,
                None => whole(value)?,
            };
            ClassifierRun::from_value(value)
        })
    }

    /// Reads YAML text; `origin` names it in errors.
    ///
    /// # Errors
    /// Like [`ClassifierRun::read_with`].
    pub fn parse(text: &str, origin: &str, overrides: &[Override]) -> Result<ClassifierRun, ConfigError> {
        Origin::part(text, origin).read(overrides, ClassifierRun::from_value)
    }

    pub(super) fn from_value(mut value: Value) -> Result<ClassifierRun, String> {
        if !is_classifier(&value) {
            let message = match super::soda::is_soda(&value) {
                true => {
                    "the configuration of a SODA (it has an encoder): `ddae-train soda` trains it".to_string()
                }
                false => {
                    let found = match value.get("net_type").and_then(Value::as_str) {
                        Some(name) => format!("net_type is {name}"),
                        None => "net_type is missing".to_string(),
                    };
                    format!(
                        "no configuration of a classifier: {found}, and must be {}; `ddae-train diffusion` trains denoisers",
                        NETWORKS.join(" or ")
                    )
                }
            };
            return Err(message);
        }
        share_classes(&mut value);
        // What every run has, and classifiers have no use for: samples, and an average unless one is asked for.
        set_if_missing(&mut value, "n_sample", Value::from(0));
        set_if_missing(&mut value, "ema", Value::from(0.0));
        // The published code does not clip.
        set_if_missing(&mut value, "grad_clip_norm", Value::from(f64::INFINITY));
        let (training, rest) = TrainingConfig::split(value, &KEYS)?;
        let raw: Raw = typed(rest, "")?;
        let run = ClassifierRun {
            dataset: raw.dataset,
            classes: raw.classes,
            process: ProcessConfig::from_value(&raw.model_type, raw.diffusion)?,
            network: Architecture::from_values(raw.net_type, raw.network)?,
            crop: raw.crop,
            flip: raw.flip,
            layer_decay: raw.layer_decay,
            training,
        };
        run.check()?;
        Ok(run)
    }

    /// The part that graphs are made of.
    pub fn model(&self) -> ModelConfig {
        let (architecture, process) = (self.network.clone(), Some(self.process.clone()));
        ModelConfig { architecture, process, normalisation: None }
    }

    /// `[C, H, W]` of the images.
    pub fn image_shape(&self) -> [usize; 3] {
        // Every classifier of images has one.
        self.network.image_shape().unwrap_or_default()
    }

    /// The configuration as YAML that [`ClassifierRun::parse`] reads back.
    pub fn to_yaml(&self) -> String {
        // Only maps with string keys, numbers and lists: nothing that YAML cannot hold.
        serde_norway::to_string(self).unwrap_or_default()
    }

    pub(super) fn check(&self) -> Result<(), String> {
        self.network.check().map_err(|message| format!("network: {message}"))?;
        let network = self.network.classifier().map_err(|message| format!("net_type: {message}"))?;
        if !(2..=MOST_CLASSES).contains(&self.classes) {
            return Err(format!("classes is {}; it must be 2 to {MOST_CLASSES}", self.classes));
        }
        if network.classes() != self.classes {
            return Err(format!(
                "network.classes is {} and classes {}; they must be the same",
                network.classes(),
                self.classes
            ));
        }
        if let Some(reason) = network.refuses(&self.process) {
            let section = if network.is_preconditioned() { "network" } else { "diffusion" };
            return Err(format!("{section}: {reason}"));
        }
        if let ProcessConfig::Edm(edm) = &self.process
            && edm.augment_prob > 0.0
        {
            return Err(format!(
                "diffusion.augment_prob is {}; images of classifiers are cropped and mirrored instead (crop, flip): set it to 0",
                edm.augment_prob
            ));
        }
        let [_, height, width] = self.image_shape();
        if self.crop > height.min(width) {
            return Err(format!("crop is {}; images of {height}x{width} can be padded by less", self.crop));
        }
        if !(self.layer_decay > 0.0 && self.layer_decay <= 1.0) {
            return Err(format!("layer_decay is {}; it must be above 0 and at most 1", self.layer_decay));
        }
        if self.layer_decay != 1.0 && self.network.fine_tuned().is_none() {
            return Err(format!(
                "layer_decay is {}; it is for fine-tuning, not for {}, which begins anew",
                self.layer_decay,
                self.network.name()
            ));
        }
        if self.training.n_sample > 0 {
            return Err(format!(
                "n_sample is {}; a classifier draws no images: leave it out",
                self.training.n_sample
            ));
        }
        self.training.check()
    }
}

/// Refuses what is no configuration of fine-tuning.
fn check_is_fine_tuning(value: &Value) -> Result<(), String> {
    if value.get("net_type").and_then(Value::as_str) == Some(FINE_TUNED) {
        return Ok(());
    }
    Err(match is_classifier(value) {
        true => format!("no configuration of fine-tuning: `{}` trains this network", command(value)),
        false => "no configuration of fine-tuning: it needs net_type: FineTuned with network: {layer: NAME}"
            .to_string(),
    })
}

/// Whether a configuration of fine-tuning says itself what the denoiser is.
fn is_whole(value: &Value) -> bool {
    let says = |part: &Value, key: &str| part.get(key).is_some();
    let network = value.get("network");
    says(value, "model_type")
        && says(value, "diffusion")
        && network.and_then(|network| network.get("denoiser")).is_some_and(|of| says(of, "net_type"))
}

/// Refuses a configuration of fine-tuning that does not say what the denoiser is.
fn whole(value: Value) -> Result<Value, String> {
    let message = "the denoiser is not known: give a run or a checkpoint of ours with --init, or, of others, say \
                   network.denoiser, model_type and diffusion";
    if is_whole(&value) { Ok(value) } else { Err(message.to_string()) }
}

/// A configuration of fine-tuning with what it does not say of the denoiser and its process.
fn completed(mut value: Value, denoiser: &Architecture, process: &ProcessConfig) -> Result<Value, String> {
    let mut process = process.clone();
    if let ProcessConfig::Edm(edm) = &mut process {
        // How images were augmented is no part of the noise.
        edm.augment_prob = 0.0;
    }
    let process = as_value(&process)?;
    for (key, of_process) in process.as_mapping().into_iter().flatten() {
        if let Some(key) = key.as_str() {
            set_if_missing(&mut value, key, of_process.clone());
        }
    }
    let denoiser = as_value(denoiser)?;
    let Some(network) = value.get_mut("network") else { return Ok(value) };
    match network.get_mut("denoiser") {
        None => set_if_missing(network, "denoiser", denoiser),
        // Another network is refused as such, rather than mixed with this one.
        Some(given) if given.get("net_type").is_none_or(|name| Some(name) == denoiser.get("net_type")) => {
            complete(given, &denoiser);
        }
        Some(_) => {}
    }
    Ok(value)
}

/// Takes over from `known` what `given` does not say, key by key.
fn complete(given: &mut Value, known: &Value) {
    for (key, known) in known.as_mapping().into_iter().flatten() {
        match given.as_mapping_mut() {
            Some(given) => match given.get_mut(key) {
                Some(given) => complete(given, known),
                None => drop(given.insert(key.clone(), known.clone())),
            },
            None => return,
        }
    }
}

/// Refuses a denoiser or a process that is another than that of `donor`, whose weights a run begins with.
fn check_donor(run: &ClassifierRun, donor: &Config) -> Result<(), String> {
    let (mut ours, mut theirs) = (run.process.clone(), donor.process.clone());
    for process in [&mut ours, &mut theirs] {
        if let ProcessConfig::Edm(edm) = process {
            edm.augment_prob = 0.0;
        }
    }
    let other =
        |key: &str| Err(format!("{key} is not that of the checkpoint that --init names: leave it out"));
    let is_same = match run.network.fine_tuned() {
        Some(tuned) => without_dropout(&tuned.denoiser)? == without_dropout(&donor.network)?,
        None => false,
    };
    match (is_same, ours == theirs) {
        (false, _) => other("network.denoiser"),
        (_, false) => other("diffusion"),
        (true, true) => Ok(()),
    }
}

/// A network without its dropout, which is no part of its weights.
fn without_dropout(network: &Architecture) -> Result<Value, String> {
    let mut value = as_value(network)?;
    if let Some(network) = value.get_mut("network").and_then(Value::as_mapping_mut) {
        network.remove("dropout");
    }
    Ok(value)
}

fn as_value(part: &impl Serialize) -> Result<Value, String> {
    serde_norway::to_value(part).map_err(|error| error.to_string())
}

/// The network has its number of classes from the configuration where it does not say it.
fn share_classes(value: &mut Value) {
    let Some(classes) = value.get("classes").cloned() else { return };
    if let Some(network) = value.get_mut("network") {
        set_if_missing(network, "classes", classes);
    }
}

fn set_if_missing(value: &mut Value, key: &str, with: Value) {
    if let Some(mapping) = value.as_mapping_mut()
        && !mapping.contains_key(key)
    {
        mapping.insert(Value::from(key), with);
    }
}
