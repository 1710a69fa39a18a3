//! The configuration of a SODA: an encoder, and a diffusion model that its latent guides.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_norway::Value;

use super::{
    Betas, ChannelStatistics, ConfigError, DdpmConfig, ModelConfig, Origin, Override, ProcessConfig,
    Timesteps, TrainingConfig, read_file, typed,
};
use crate::networks::{Architecture, DecoderConfig, EncoderConfig, SodaConfig, UNetConfig};

/// The keys that it has beside those of every training run.
const KEYS: [&str; 9] = [
    "dataset",
    "encoder",
    "decoder",
    "diffusion",
    "lrate_ratio",
    "save_per",
    "augment_target",
    "crop_area",
    "normalisation",
];

/// What the published configuration for Tiny-ImageNet says of the images, ...
const TINY_SAYS: [u64; 3] = [3, 32, 32];
/// ... and what the published code trains on, which never looks there.
const TINY_IS: [u64; 3] = [3, 64, 64];

/// A whole configuration of a SODA (arXiv 2311.17901).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SodaRun {
    /// Data set: `cifar10`, `cifar100`, `tiny`, or one that the `data` crate adds.
    pub dataset: String,
    /// Encoder and decoder, for images of the same shape.
    #[serde(flatten)]
    pub networks: SodaConfig,
    /// The diffusion process of the decoder.
    pub diffusion: SodaDiffusion,
    /// Learning rate of the encoder in multiples of the decoder's, which is `lrate`.
    pub lrate_ratio: f64,
    /// Epochs between evaluations, each with a checkpoint; 0 for one at the end.
    pub save_per: u64,
    /// How views differ from their image.
    #[serde(flatten)]
    pub augmentation: SodaAugmentation,
    /// Our addition: how images are normalised for the encoder. That of the published data sets is known; others' is
    /// measured when training starts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub normalisation: Option<ChannelStatistics>,
    /// Everything else about the training run.
    #[serde(flatten)]
    pub training: TrainingConfig,
}

/// Our additions to SODA's augmentation, which is otherwise fixed; the default is as published.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct SodaAugmentation {
    /// Whether targets are augmented as sources are, as published. Reconstructions are better and features worse without.
    pub augment_target: bool,
    /// Smallest and largest share of an image's area that is left by the random crops of sources and targets, in (0, 1].
    pub crop_area: [f64; 2],
}

impl Default for SodaAugmentation {
    fn default() -> Self {
        Self { augment_target: true, crop_area: [0.08, 1.0] }
    }
}

impl SodaAugmentation {
    fn check(self) -> Result<(), String> {
        let [smallest, largest] = self.crop_area;
        if smallest > 0.0 && smallest <= largest && largest <= 1.0 {
            return Ok(());
        }
        Err(format!(
            "crop_area is [{smallest}, {largest}]; give the smallest and the largest share of an image, above 0 and at \
             most 1, as [0.08, 1.0]"
        ))
    }
}

/// `diffusion` of a SODA: a DDPM's, with what the decoder does not see in training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SodaDiffusion {
    /// The variances of the noise.
    pub betas: Betas,
    /// Number of noise levels.
    #[serde(rename = "n_T")]
    pub n_t: usize,
    /// Probability that an image's latent is hidden, so that the decoder learns to do without.
    pub drop_prob: f64,
    /// What the paper has beside that (layer masking): probability that each part of a latent is hidden on its own.
    /// Needs `decoder.z_parts` of at least 2; 0 as published.
    #[serde(default, skip_serializing_if = "SodaDiffusion::is_zero")]
    pub layer_mask_prob: f64,
}

impl SodaDiffusion {
    fn is_zero(p: &f64) -> bool {
        *p == 0.0
    }

    /// The process, as every DDPM's.
    pub fn process(&self) -> DdpmConfig {
        DdpmConfig::of(self.n_t, self.betas, Timesteps::Fraction)
    }

    fn check(&self, decoder: &UNetConfig) -> Result<(), String> {
        ProcessConfig::Ddpm(self.process()).check()?;
        for (key, p) in [("drop_prob", self.drop_prob), ("layer_mask_prob", self.layer_mask_prob)] {
            if !(0.0..=1.0).contains(&p) {
                return Err(format!("{key} is {p}; it must be in [0, 1]"));
            }
        }
        if self.layer_mask_prob > 0.0 && decoder.z_parts < 2 {
            let p = self.layer_mask_prob;
            return Err(format!(
                "layer_mask_prob is {p}; it hides parts of the latent: set decoder.z_parts to 2 or more"
            ));
        }
        Ok(())
    }
}

/// The keys as the file has them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    dataset: String,
    encoder: EncoderConfig,
    decoder: UNetConfig,
    diffusion: SodaDiffusion,
    lrate_ratio: f64,
    save_per: u64,
    #[serde(default)]
    augment_target: Option<bool>,
    #[serde(default)]
    crop_area: Option<[f64; 2]>,
    #[serde(default)]
    normalisation: Option<ChannelStatistics>,
}

impl Raw {
    fn augmentation(&self) -> SodaAugmentation {
        let published = SodaAugmentation::default();
        SodaAugmentation {
            augment_target: self.augment_target.unwrap_or(published.augment_target),
            crop_area: self.crop_area.unwrap_or(published.crop_area),
        }
    }
}

/// Whether a configuration has the keys that only a SODA has.
pub(super) fn is_soda(value: &Value) -> bool {
    value.get("encoder").is_some() && value.get("decoder").is_some()
}

impl SodaRun {
    /// Reads a YAML file, then sets single keys (`diffusion.drop_prob=0.2`).
    ///
    /// # Errors
    /// One line that names the file, the key and what is wrong with it.
    pub fn read_with(path: &Path, overrides: &[Override]) -> Result<SodaRun, ConfigError> {
        read_file(path, overrides, SodaRun::from_value)
    }

    /// Reads YAML text; `origin` names it in errors.
    ///
    /// # Errors
    /// Like [`SodaRun::read_with`].
    pub fn parse(text: &str, origin: &str, overrides: &[Override]) -> Result<SodaRun, ConfigError> {
        Origin::part(text, origin).read(overrides, SodaRun::from_value)
    }

    pub(super) fn from_value(mut value: Value) -> Result<SodaRun, String> {
        if super::classifier::is_classifier(&value) {
            let command = super::classifier::command(&value);
            return Err(format!("the configuration of a classifier: `{command}` trains it"));
        }
        if value.get("network").is_some() && !is_soda(&value) {
            let message =
                "the configuration of a DDPM or EDM (it has a network): `ddae-train diffusion` trains it";
            return Err(message.to_string());
        }
        share_shape(&mut value);
        let (training, rest) = TrainingConfig::split(value, &KEYS)?;
        let raw: Raw = typed(rest, "")?;
        let known = ChannelStatistics::published(&raw.dataset);
        let augmentation = raw.augmentation();
        let run = SodaRun {
            dataset: raw.dataset,
            networks: SodaConfig { encoder: raw.encoder, decoder: raw.decoder },
            diffusion: raw.diffusion,
            lrate_ratio: raw.lrate_ratio,
            save_per: raw.save_per,
            augmentation,
            normalisation: raw.normalisation.or(known),
            training,
        };
        run.check()?;
        Ok(run)
    }

    /// `[C, H, W]` of the images.
    pub fn image_shape(&self) -> [usize; 3] {
        self.networks.decoder.image_shape
    }

    /// The encoder, as graphs are made of it.
    pub fn encoder_model(&self) -> ModelConfig {
        let architecture = Architecture::SodaEncoder(self.networks.encoder.clone());
        ModelConfig { architecture, process: None, normalisation: self.normalisation.clone() }
    }

    /// The decoder with its process, as graphs are made of it.
    pub fn decoder_model(&self) -> ModelConfig {
        let architecture = Architecture::SodaDecoder(DecoderConfig(self.networks.decoder.clone()));
        let process = Some(ProcessConfig::Ddpm(self.diffusion.process()));
        ModelConfig { architecture, process, normalisation: None }
    }

    /// The configuration as YAML that [`SodaRun::parse`] reads back.
    pub fn to_yaml(&self) -> String {
        // Only maps with string keys, numbers and lists: nothing that YAML cannot hold.
        serde_norway::to_string(self).unwrap_or_default()
    }

    pub(super) fn check(&self) -> Result<(), String> {
        let SodaConfig { encoder, decoder } = &self.networks;
        self.networks.check()?;
        if encoder.image_shape != decoder.image_shape {
            let (ours, theirs) = (encoder.image_shape, decoder.image_shape);
            return Err(format!(
                "encoder.image_shape is {ours:?} and decoder.image_shape {theirs:?}; both see the same images"
            ));
        }
        self.diffusion.check(decoder).map_err(|message| format!("diffusion: {message}"))?;
        self.training.check()?;
        self.augmentation.check()?;
        if !(self.lrate_ratio.is_finite() && self.lrate_ratio > 0.0) {
            return Err(format!("lrate_ratio is {}; it must be above 0", self.lrate_ratio));
        }
        if let Some(statistics) = &self.normalisation {
            statistics.check()?;
            let (means, channels) = (statistics.mean.len(), decoder.image_shape[0]);
            if means != channels {
                return Err(format!(
                    "normalisation is for {means} channels and decoder.image_shape has {channels}; give one mean and \
                     standard deviation per channel"
                ));
            }
        }
        Ok(())
    }
}

/// Where the file tells one network the images' shape, the other has it from there.
fn share_shape(value: &mut Value) {
    let tiny = value.get("dataset").and_then(Value::as_str) == Some("tiny");
    let has_own = |part: &Value| part.get("image_shape").is_some();
    let (Some(encoder), Some(decoder)) = (value.get("encoder"), value.get("decoder")) else { return };
    if has_own(encoder) {
        return;
    }
    let Some(mut shape) = decoder.get("image_shape").cloned() else { return };
    let list = |shape: [u64; 3]| Value::Sequence(shape.into_iter().map(Value::from).collect());
    if tiny && shape == list(TINY_SAYS) {
        shape = list(TINY_IS);
    }
    for part in ["encoder", "decoder"] {
        if let Some(part) = value.get_mut(part).and_then(Value::as_mapping_mut) {
            part.insert("image_shape".into(), shape.clone());
        }
    }
}
