//! The sizes of a SongUNet, and what they may be.

use serde::{Deserialize, Serialize};

use crate::networks::resolutions::LARGEST_WIDTH;

/// Limits far above any network: beyond them its numbers could not even be counted.
const LARGEST_SIDE: usize = 4096;
const MOST_BLOCKS: usize = 1000;
const MOST_CLASSES: usize = 1 << 16;
/// Channels of a group of the norms, at least.
const LEAST_PER_GROUP: usize = 4;
/// Groups of the norms, at most.
const MOST_GROUPS: usize = 32;

/// The `network` section of a configuration. The keys and their defaults are the arguments of the published network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SongUNetConfig {
    /// Side of the square images. It is part of the parameters' names.
    pub img_resolution: usize,
    /// Channels of the images.
    pub img_channels: usize,
    /// Number of classes that it can be told; 0 for none.
    #[serde(default)]
    pub label_dim: usize,
    /// Length of the augmentation label; 0 for none.
    #[serde(default)]
    pub augment_dim: usize,
    /// Channels at the finest resolution, before they are multiplied; a multiple of 4.
    #[serde(default = "SongUNetConfig::default_model_channels")]
    pub model_channels: usize,
    /// Channels of each resolution, finest first, in multiples of `model_channels`.
    #[serde(default = "SongUNetConfig::default_channel_mult")]
    pub channel_mult: Vec<usize>,
    /// Width of the embedding, in multiples of `model_channels`.
    #[serde(default = "SongUNetConfig::default_channel_mult_emb")]
    pub channel_mult_emb: usize,
    /// Blocks of each resolution on the way down; one more on the way up.
    #[serde(default = "SongUNetConfig::default_num_blocks")]
    pub num_blocks: usize,
    /// The resolutions with attention, by the side of their images.
    #[serde(default = "SongUNetConfig::default_attn_resolutions")]
    pub attn_resolutions: Vec<usize>,
    /// Dropout probability in blocks, in training.
    #[serde(default = "SongUNetConfig::default_dropout")]
    pub dropout: f64,
    /// What the embedding of the noise level begins with.
    #[serde(default)]
    pub embedding_type: SongEmbedding,
    /// Width of that, in multiples of `model_channels`.
    #[serde(default = "SongUNetConfig::default_channel_mult_noise")]
    pub channel_mult_noise: usize,
    /// What the way down takes up of the images.
    #[serde(default)]
    pub encoder_type: SongEncoder,
    /// What blocks resample with.
    #[serde(default)]
    pub resample_filter: ResampleFilter,
}

/// What a noise level is embedded as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SongEmbedding {
    /// Sinusoids of fixed frequencies (DDPM++).
    #[default]
    Positional,
    /// Sinusoids of random frequencies (NCSN++), the buffer `map_noise.freqs`.
    Fourier,
}

/// What the way down takes up of the images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SongEncoder {
    /// The images at its beginning (DDPM++).
    #[default]
    Standard,
    /// Convolutions of them, smaller and smaller, at every resolution too (NCSN++).
    Residual,
}

/// What images are resampled with, along each axis, divided by its sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<f64>", into = "Vec<f64>")]
pub enum ResampleFilter {
    /// `[1, 1]`: means of 2x2 pixels, and pixels repeated.
    #[default]
    Box,
    /// `[1, 3, 3, 1]`: the same, smoothed with `[1, 2, 1]`.
    Smooth,
}

impl ResampleFilter {
    /// The filter.
    pub fn taps(self) -> &'static [f64] {
        match self {
            ResampleFilter::Box => &[1.0, 1.0],
            ResampleFilter::Smooth => &[1.0, 3.0, 3.0, 1.0],
        }
    }

    /// The products of its taps along both axes, adding up to 1: the buffer `resample_filter [1, 1, n, n]`.
    pub(super) fn table(self) -> Vec<f32> {
        let taps = self.taps();
        let sum = taps.iter().sum::<f64>();
        taps.iter().flat_map(|a| taps.iter().map(move |b| (a * b / (sum * sum)) as f32)).collect()
    }
}

impl TryFrom<Vec<f64>> for ResampleFilter {
    type Error = String;

    fn try_from(taps: Vec<f64>) -> Result<ResampleFilter, String> {
        let known = [ResampleFilter::Box, ResampleFilter::Smooth];
        known
            .into_iter()
            .find(|filter| filter.taps() == taps)
            .ok_or_else(|| format!("the filter {taps:?} is not known here; [1, 1] and [1, 3, 3, 1] are"))
    }
}

impl From<ResampleFilter> for Vec<f64> {
    fn from(filter: ResampleFilter) -> Vec<f64> {
        filter.taps().to_vec()
    }
}

impl SongUNetConfig {
    /// The published DDPM++ network for CIFAR-10 (`vp`): 55.7 M parameters.
    pub fn ddpmpp() -> SongUNetConfig {
        SongUNetConfig {
            img_resolution: 32,
            img_channels: 3,
            label_dim: 0,
            augment_dim: 9,
            model_channels: 128,
            channel_mult: vec![2, 2, 2],
            channel_mult_emb: 4,
            num_blocks: 4,
            attn_resolutions: vec![16],
            dropout: 0.13,
            embedding_type: SongEmbedding::Positional,
            channel_mult_noise: 1,
            encoder_type: SongEncoder::Standard,
            resample_filter: ResampleFilter::Box,
        }
    }

    /// The published NCSN++ network for CIFAR-10 (`ve`): 56.4 M parameters.
    pub fn ncsnpp() -> SongUNetConfig {
        SongUNetConfig {
            embedding_type: SongEmbedding::Fourier,
            channel_mult_noise: 2,
            encoder_type: SongEncoder::Residual,
            resample_filter: ResampleFilter::Smooth,
            ..SongUNetConfig::ddpmpp()
        }
    }

    fn default_model_channels() -> usize {
        128
    }

    fn default_channel_mult() -> Vec<usize> {
        vec![1, 2, 2, 2]
    }

    pub(super) fn default_channel_mult_emb() -> usize {
        4
    }

    fn default_num_blocks() -> usize {
        4
    }

    fn default_attn_resolutions() -> Vec<usize> {
        vec![16]
    }

    fn default_dropout() -> f64 {
        0.1
    }

    fn default_channel_mult_noise() -> usize {
        1
    }

    /// The side of the images at a resolution, 0 the finest.
    pub(super) fn side(&self, level: usize) -> usize {
        self.img_resolution >> level
    }

    /// Whether a resolution has attention.
    pub(super) fn attends(&self, level: usize) -> bool {
        self.attn_resolutions.contains(&self.side(level))
    }

    /// Channels of a resolution.
    pub(super) fn width(&self, level: usize) -> usize {
        self.channel_mult[level].saturating_mul(self.model_channels)
    }

    /// Width of what the noise level, the class and the augmentation are embedded in first.
    pub(super) fn noise_width(&self) -> usize {
        self.channel_mult_noise.saturating_mul(self.model_channels)
    }

    /// Width of the embedding that blocks see.
    pub(super) fn embedding_width(&self) -> usize {
        self.channel_mult_emb.saturating_mul(self.model_channels)
    }

    /// Groups of the norm of so many channels.
    pub(super) fn groups(channels: usize) -> usize {
        (channels / LEAST_PER_GROUP).clamp(1, MOST_GROUPS)
    }

    /// Checks what the types cannot.
    ///
    /// # Errors
    /// A sentence that names the key and the values.
    pub fn check(&self) -> Result<(), String> {
        let counts = [
            ("img_resolution", self.img_resolution, 1, LARGEST_SIDE),
            ("img_channels", self.img_channels, 1, LARGEST_WIDTH),
            ("label_dim", self.label_dim, 0, MOST_CLASSES),
            ("augment_dim", self.augment_dim, 0, LARGEST_WIDTH),
            ("model_channels", self.model_channels, 1, LARGEST_WIDTH),
            ("channel_mult_emb", self.channel_mult_emb, 1, LARGEST_WIDTH),
            ("channel_mult_noise", self.channel_mult_noise, 1, LARGEST_WIDTH),
            ("num_blocks", self.num_blocks, 1, MOST_BLOCKS),
        ];
        let outside =
            |(_, count, least, most): &&(&str, usize, usize, usize)| !(*least..=*most).contains(count);
        if let Some((key, count, least, most)) = counts.iter().find(outside) {
            return Err(format!("{key} is {count}; it must be {least} to {most}"));
        }
        let (channels, mults) = (self.model_channels, &self.channel_mult);
        if !channels.is_multiple_of(LEAST_PER_GROUP) {
            return Err(format!(
                "model_channels is {channels}; it must be a multiple of {LEAST_PER_GROUP} (the channels of a group of \
                 GroupNorm)"
            ));
        }
        if mults.is_empty() || mults.contains(&0) {
            return Err(format!("channel_mult is {mults:?}; it needs one number above 0 per resolution"));
        }
        let widths = (0..mults.len()).map(|level| self.width(level));
        let widths = widths.chain([self.noise_width(), self.embedding_width()]);
        if let Some(width) = widths.into_iter().find(|&width| width > LARGEST_WIDTH) {
            return Err(format!(
                "model_channels {channels} is multiplied to {width} channels; it must be at most {LARGEST_WIDTH}"
            ));
        }
        let (side, halvings) = (self.img_resolution, mults.len() - 1);
        let factor = 1usize.checked_shl(halvings as u32).unwrap_or(0);
        if factor == 0 || !side.is_multiple_of(factor) {
            return Err(format!(
                "{side}x{side} images cannot be halved {halvings} times ({} numbers in channel_mult)",
                mults.len()
            ));
        }
        let sides: Vec<usize> = (0..mults.len()).map(|level| self.side(level)).collect();
        if let Some(other) = self.attn_resolutions.iter().find(|side| !sides.contains(side)) {
            return Err(format!("attn_resolutions has {other}; the network's resolutions are {sides:?}"));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return Err(format!("dropout is {}; it must be in [0, 1)", self.dropout));
        }
        Ok(())
    }
}
