//! The published sizes of DiT and their limits.

use serde::{Deserialize, Serialize};

/// Limits far above any network: beyond them its numbers could not even be counted.
const LARGEST_SIDE: usize = 4096;
const LARGEST_WIDTH: usize = 1 << 16;
const MOST_BLOCKS: usize = 1000;
const MOST_CLASSES: usize = 1 << 20;
/// Numbers in the table of positions, which a graph may hold: 1 GB.
const LARGEST_TABLE: usize = 1 << 28;

/// The four published widths and depths (arXiv 2212.09748, table 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DitSize {
    /// 12 blocks of width 384, 6 heads.
    S,
    /// 12 blocks of width 768, 12 heads.
    B,
    /// 24 blocks of width 1024, 16 heads.
    L,
    /// 28 blocks of width 1152, 16 heads.
    XL,
}

/// The shape of a DiT. The keys are the arguments of the published network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DitConfig {
    /// Side of the square latents (32 for images of 256, 64 for images of 512) or images.
    pub input_size: usize,
    /// Side of the square of latent pixels that makes one token.
    pub patch_size: usize,
    /// Channels of the latents.
    #[serde(default = "DitConfig::default_in_channels")]
    pub in_channels: usize,
    /// Width of a token.
    pub hidden_size: usize,
    /// Number of blocks.
    pub depth: usize,
    /// Attention heads per block.
    pub num_heads: usize,
    /// Number of classes; the label table has one row more, for "no label", unless `null_label` is false.
    #[serde(default = "DitConfig::default_num_classes")]
    pub num_classes: usize,
    /// Our addition, for weights that were trained without dropping labels: whether there is a row for "no label".
    #[serde(
        default = "DitConfig::default_null_label",
        skip_serializing_if = "DitConfig::is_default_null_label"
    )]
    pub null_label: bool,
    /// Whether the output holds the variance's interpolation after the noise, doubling its channels.
    #[serde(default = "DitConfig::default_learn_sigma")]
    pub learn_sigma: bool,
    /// Whether the position table comes from the checkpoint (`pos_embed`) rather than from its formula. Published
    /// checkpoints hold the formula's values; a file without the tensor needs `false`.
    #[serde(default)]
    pub stored_positions: bool,
    /// Our addition: whether it works on latents, as published, or on images themselves.
    #[serde(default, skip_serializing_if = "Space::is_latent")]
    pub space: Space,
}

/// What a DiT works on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Space {
    /// Latents of an autoencoder.
    #[default]
    Latent,
    /// Images.
    Image,
}

impl Space {
    fn is_latent(&self) -> bool {
        *self == Space::Latent
    }
}

impl DitConfig {
    fn default_in_channels() -> usize {
        4
    }

    fn default_num_classes() -> usize {
        1000
    }

    fn default_null_label() -> bool {
        true
    }

    // As serde wants it.
    #[allow(clippy::trivially_copy_pass_by_ref)]
    fn is_default_null_label(value: &bool) -> bool {
        *value
    }

    /// Rows of the label table.
    pub fn labels(&self) -> usize {
        self.num_classes + usize::from(self.null_label)
    }

    fn default_learn_sigma() -> bool {
        true
    }

    /// A published network: `DitConfig::new(DitSize::XL, 2, 32)` is DiT-XL/2 at 256 x 256. It has 4 latent channels,
    /// 1000 classes, the variance among its outputs, and computes its position table.
    pub fn new(size: DitSize, patch_size: usize, input_size: usize) -> DitConfig {
        let (depth, hidden_size, num_heads) = match size {
            DitSize::S => (12, 384, 6),
            DitSize::B => (12, 768, 12),
            DitSize::L => (24, 1024, 16),
            DitSize::XL => (28, 1152, 16),
        };
        DitConfig {
            input_size,
            patch_size,
            in_channels: DitConfig::default_in_channels(),
            hidden_size,
            depth,
            num_heads,
            num_classes: DitConfig::default_num_classes(),
            null_label: true,
            learn_sigma: DitConfig::default_learn_sigma(),
            stored_positions: false,
            space: Space::Latent,
        }
    }

    /// Tokens along one side of the latents.
    pub fn grid(&self) -> usize {
        self.input_size / self.patch_size
    }

    /// Channels of the output.
    pub fn out_channels(&self) -> usize {
        if self.learn_sigma { 2 * self.in_channels } else { self.in_channels }
    }

    /// Checks what the types cannot.
    ///
    /// # Errors
    /// A sentence that names the key and the values.
    pub fn check(&self) -> Result<(), String> {
        let DitConfig { input_size, patch_size, hidden_size, num_heads, .. } = *self;
        let counts = [
            ("input_size", input_size, LARGEST_SIDE),
            ("patch_size", patch_size, LARGEST_SIDE),
            ("in_channels", self.in_channels, LARGEST_WIDTH),
            ("hidden_size", hidden_size, LARGEST_WIDTH),
            ("depth", self.depth, MOST_BLOCKS),
            ("num_heads", num_heads, LARGEST_WIDTH),
            ("num_classes", self.num_classes, MOST_CLASSES),
        ];
        if let Some((key, count, most)) = counts.iter().find(|(_, count, most)| !(1..=*most).contains(count))
        {
            return Err(format!("{key} is {count}; it must be 1 to {most}"));
        }
        if !input_size.is_multiple_of(patch_size) {
            return Err(format!(
                "input_size is {input_size}; it must be a multiple of patch_size, {patch_size}"
            ));
        }
        let tokens = self.grid() * self.grid();
        if tokens * hidden_size > LARGEST_TABLE {
            return Err(format!(
                "input_size {input_size} in patches of {patch_size} is {tokens} tokens of hidden_size {hidden_size}; \
                 together they must be at most {LARGEST_TABLE} numbers"
            ));
        }
        if !hidden_size.is_multiple_of(4) {
            return Err(format!(
                "hidden_size is {hidden_size}; it must be a multiple of 4 (sine and cosine of two axes)"
            ));
        }
        if !hidden_size.is_multiple_of(num_heads) {
            return Err(format!(
                "hidden_size is {hidden_size}; it must be a multiple of num_heads, {num_heads}"
            ));
        }
        Ok(())
    }
}
