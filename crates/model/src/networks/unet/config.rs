//! The sizes and conventions of a UNet, and what they may be.

use serde::{Deserialize, Serialize};

use crate::networks::resolutions::{LARGEST_WIDTH, Resolutions};

/// The `network` section of a configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UNetConfig {
    /// `[C, H, W]` of the images.
    pub image_shape: [usize; 3],
    /// Channels at the finest resolution; a multiple of `conventions.norm_groups`, 32 as published.
    pub n_channels: usize,
    /// Channels of each resolution, finest first, in multiples of `n_channels`.
    pub ch_mults: Vec<usize>,
    /// Whether the blocks of each resolution have attention.
    pub is_attn: Vec<bool>,
    /// Channels of one attention head; one head over all channels when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attn_channels_per_head: Option<usize>,
    /// Dropout probability in residual blocks, in training.
    pub dropout: f64,
    /// Residual blocks per resolution on the way down; one more on the way up.
    pub n_blocks: usize,
    /// Resample in residual blocks (DDPM++) rather than in convolutions (DDPM).
    pub use_res_for_updown: bool,
    /// Length of the augmentation label; 0 for none.
    #[serde(default)]
    pub augment_dim: usize,
    /// Length of the latent that modulates every residual block (SODA's decoder); 0 for none.
    #[serde(default, skip_serializing_if = "UNetConfig::is_zero")]
    pub z_channels: usize,
    /// Equal parts that the latent is cut into, each guiding its own resolutions, the first the coarsest (SODA's layer
    /// modulation, arXiv 2311.17901); 1, as in the published code, for the whole latent everywhere.
    #[serde(default = "UNetConfig::one", skip_serializing_if = "UNetConfig::is_one")]
    pub z_parts: usize,
    /// Our addition: where other implementations compute something else.
    #[serde(default, skip_serializing_if = "Conventions::are_published")]
    pub conventions: Conventions,
}

/// Where implementations of this UNet differ. The default is the published DDAE code;
/// [`DiffusersConfig`](super::DiffusersConfig) gives those of diffusers' `UNet2DModel`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Conventions {
    /// Groups of the norms in blocks; a divisor of `n_channels`.
    pub norm_groups: usize,
    /// Groups of the norm before the last convolution; a divisor of `n_channels`.
    pub final_norm_groups: usize,
    /// Added to the variance in every norm.
    pub norm_eps: f64,
    /// The time embedding's `n = n_channels / 2` frequencies are `10000^(-k / (n - frequency_shift))`.
    pub frequency_shift: f64,
    /// The time embedding is `[cos, sin]` rather than `[sin, cos]`.
    pub cosines_first: bool,
    /// The convolutions that halve the image see zeros at the bottom and right only, rather than all around.
    pub downsample_pads_end: bool,
    /// The rows of attention's `projection` are all queries, then all keys, then all values, rather than each head's
    /// queries, keys and values together. The same for a single head.
    pub queries_first: bool,
}

impl Default for Conventions {
    fn default() -> Conventions {
        Conventions {
            norm_groups: 32,
            final_norm_groups: 8,
            norm_eps: 1e-5,
            frequency_shift: 1.0,
            cosines_first: false,
            downsample_pads_end: false,
            queries_first: false,
        }
    }
}

impl Conventions {
    fn are_published(&self) -> bool {
        *self == Conventions::default()
    }

    fn check(&self, n_channels: usize) -> Result<(), String> {
        let groups = [("norm_groups", self.norm_groups), ("final_norm_groups", self.final_norm_groups)];
        for (key, groups) in groups {
            if groups == 0 {
                return Err(format!("conventions.{key} is 0; it must be at least 1"));
            }
            if n_channels == 0 || !n_channels.is_multiple_of(groups) {
                return Err(format!(
                    "n_channels is {n_channels}; it must be a multiple of {groups} (GroupNorm has {groups} groups)"
                ));
            }
        }
        if !(self.norm_eps.is_finite() && self.norm_eps > 0.0) {
            return Err(format!("conventions.norm_eps is {}; it must be above 0", self.norm_eps));
        }
        let (shift, frequencies) = (self.frequency_shift, n_channels / 2);
        if !(0.0..frequencies as f64).contains(&shift) {
            return Err(format!(
                "conventions.frequency_shift is {shift}; it must be at least 0 and below the {frequencies} frequencies of n_channels {n_channels}"
            ));
        }
        Ok(())
    }
}

impl UNetConfig {
    /// The published DDPM UNet: 32x32 images, 35.7 M parameters.
    pub fn ddpm() -> UNetConfig {
        UNetConfig {
            image_shape: [3, 32, 32],
            n_channels: 128,
            ch_mults: vec![1, 2, 2, 2],
            is_attn: vec![false, true, false, false],
            attn_channels_per_head: None,
            dropout: 0.1,
            n_blocks: 2,
            use_res_for_updown: false,
            augment_dim: 0,
            z_channels: 0,
            z_parts: 1,
            conventions: Conventions::default(),
        }
    }

    /// The published DDPM++ UNet: 32x32 images, 56.5 M parameters.
    pub fn ddpmpp() -> UNetConfig {
        UNetConfig {
            ch_mults: vec![2, 2, 2],
            is_attn: vec![false, true, false],
            n_blocks: 4,
            use_res_for_updown: true,
            ..UNetConfig::ddpm()
        }
    }

    fn is_zero(n: &usize) -> bool {
        *n == 0
    }

    fn one() -> usize {
        1
    }

    fn is_one(n: &usize) -> bool {
        *n == 1
    }

    pub(in crate::networks) fn resolutions(&self) -> Resolutions<'_> {
        Resolutions {
            image_shape: self.image_shape,
            n_channels: self.n_channels,
            ch_mults: &self.ch_mults,
            is_attn: &self.is_attn,
            attn_channels_per_head: self.attn_channels_per_head,
            dropout: self.dropout,
            n_blocks: self.n_blocks,
            fewest_blocks: 1,
        }
    }

    /// Channels of each resolution, finest first.
    pub(super) fn widths(&self) -> Vec<usize> {
        self.resolutions().widths()
    }

    /// Which part of the latent guides a resolution (0 is the finest): part 0 the coarsest ones.
    pub(super) fn z_part(&self, level: usize) -> usize {
        let levels = self.ch_mults.len();
        (levels - 1 - level) * self.z_parts / levels
    }

    /// Checks what the types cannot: ranges and the lengths of lists.
    ///
    /// # Errors
    /// A sentence that names the key and the values.
    pub fn check(&self) -> Result<(), String> {
        self.conventions.check(self.n_channels)?;
        if !self.n_channels.is_multiple_of(2) {
            return Err(format!("n_channels is {}; it must be even (sines and cosines)", self.n_channels));
        }
        if self.augment_dim > LARGEST_WIDTH {
            return Err(format!("augment_dim is {}; it must be at most {LARGEST_WIDTH}", self.augment_dim));
        }
        self.resolutions().check()?;
        self.check_latent()
    }

    fn check_latent(&self) -> Result<(), String> {
        let (channels, parts, levels) = (self.z_channels, self.z_parts, self.ch_mults.len());
        if channels > LARGEST_WIDTH {
            return Err(format!("z_channels is {channels}; it must be at most {LARGEST_WIDTH}"));
        }
        if !(1..=levels).contains(&parts) {
            return Err(format!("z_parts is {parts}; it must be 1 to {levels}, the number of resolutions"));
        }
        if parts > 1 && (channels == 0 || channels % parts != 0) {
            return Err(format!("z_channels is {channels}, which does not split into z_parts: {parts}"));
        }
        Ok(())
    }
}
