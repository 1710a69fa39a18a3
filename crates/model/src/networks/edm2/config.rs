//! The sizes of an EDM2 network, and what they may be.

use serde::{Deserialize, Serialize};

use crate::networks::resolutions::Resolutions;

/// Groups of the norms in blocks; those before the last convolution are 8.
pub(super) const GROUPS: usize = 32;

/// The `network` section of a configuration, the same for all three networks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edm2Config {
    /// `[C, H, W]` of the images.
    pub image_shape: [usize; 3],
    /// Channels at the finest resolution; for configs C and E a multiple of 32.
    pub n_channels: usize,
    /// Channels of each resolution, finest first, in multiples of `n_channels`.
    pub ch_mults: Vec<usize>,
    /// Whether the blocks of each resolution, but those that resample, have attention.
    pub is_attn: Vec<bool>,
    /// Channels of one attention head; one head over all channels when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attn_channels_per_head: Option<usize>,
    /// Dropout probability in residual blocks, in training.
    pub dropout: f64,
    /// Blocks per resolution on the way up; on the way down one of them halves the image, at the coarsest there is one
    /// less. At least 2.
    pub n_blocks: usize,
}

impl Edm2Config {
    /// The published network for 32x32 images.
    pub fn published() -> Edm2Config {
        Edm2Config {
            image_shape: [3, 32, 32],
            n_channels: 128,
            ch_mults: vec![1, 2, 2, 2],
            is_attn: vec![false, true, false, false],
            attn_channels_per_head: None,
            dropout: 0.13,
            n_blocks: 3,
        }
    }

    /// The sizes in words.
    pub(in crate::networks) fn describe(&self) -> String {
        self.resolutions().describe()
    }

    pub(super) fn check(&self) -> Result<(), String> {
        self.resolutions().check()
    }

    /// What the group norms of configs C and E need besides.
    pub(super) fn check_groups(&self) -> Result<(), String> {
        let channels = self.n_channels;
        if !channels.is_multiple_of(GROUPS) {
            return Err(format!(
                "n_channels is {channels}; it must be a multiple of {GROUPS} (GroupNorm has {GROUPS} groups)"
            ));
        }
        self.check()
    }

    /// Channels of each resolution, finest first.
    pub(super) fn widths(&self) -> Vec<usize> {
        self.resolutions().widths()
    }

    fn resolutions(&self) -> Resolutions<'_> {
        Resolutions {
            image_shape: self.image_shape,
            n_channels: self.n_channels,
            ch_mults: &self.ch_mults,
            is_attn: &self.is_attn,
            attn_channels_per_head: self.attn_channels_per_head,
            dropout: self.dropout,
            n_blocks: self.n_blocks,
            fewest_blocks: 2,
        }
    }
}
