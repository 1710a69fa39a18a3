//! What all UNets have: images, the widths of their resolutions, and where attention is.

/// Limits far above any network: beyond them its numbers could not even be counted.
const LARGEST_SIDE: usize = 4096;
pub(super) const LARGEST_WIDTH: usize = 1 << 16;
const MOST_BLOCKS: usize = 1000;

/// The keys of a UNet's configuration that say so.
pub(super) struct Resolutions<'a> {
    /// `[C, H, W]` of the images.
    pub image_shape: [usize; 3],
    /// Channels at the finest resolution.
    pub n_channels: usize,
    /// Channels of each resolution, finest first, in multiples of `n_channels`.
    pub ch_mults: &'a [usize],
    /// Whether the blocks of each resolution have attention; the middle of the network always has.
    pub is_attn: &'a [bool],
    /// Channels of one attention head; one head over all channels when absent.
    pub attn_channels_per_head: Option<usize>,
    /// Dropout probability.
    pub dropout: f64,
    /// Blocks per resolution.
    pub n_blocks: usize,
    /// The smallest number of blocks that there can be.
    pub fewest_blocks: usize,
}

impl Resolutions<'_> {
    /// Channels of each resolution, finest first.
    pub fn widths(&self) -> Vec<usize> {
        self.ch_mults.iter().map(|mult| mult.saturating_mul(self.n_channels)).collect()
    }

    /// Checks ranges and the lengths of lists.
    ///
    /// # Errors
    /// A sentence that names the key and the values.
    pub fn check(&self) -> Result<(), String> {
        let Resolutions { image_shape, n_channels, ch_mults, is_attn, n_blocks, fewest_blocks, .. } = *self;
        let [channels, height, width] = image_shape;
        if channels == 0 || height == 0 || width == 0 {
            return Err(format!("image_shape {image_shape:?} has a zero"));
        }
        if image_shape.iter().any(|&size| size > LARGEST_SIDE) {
            return Err(format!("image_shape is {image_shape:?}; each size must be at most {LARGEST_SIDE}"));
        }
        if ch_mults.is_empty() || ch_mults.contains(&0) {
            return Err(format!("ch_mults is {ch_mults:?}; it needs one number above 0 per resolution"));
        }
        let widths = self.widths();
        if n_channels == 0 {
            return Err("n_channels is 0; it must be at least 1".to_string());
        }
        if let Some(width) = widths.iter().find(|&&width| width > LARGEST_WIDTH) {
            return Err(format!(
                "n_channels {n_channels} times ch_mults {ch_mults:?} is {width} channels; it must be at most {LARGEST_WIDTH}"
            ));
        }
        if is_attn.len() != ch_mults.len() {
            let (attn, mults) = (is_attn.len(), ch_mults.len());
            return Err(format!("is_attn has {attn} entries and ch_mults {mults}; they must have as many"));
        }
        if !(fewest_blocks..=MOST_BLOCKS).contains(&n_blocks) {
            return Err(format!("n_blocks is {n_blocks}; it must be {fewest_blocks} to {MOST_BLOCKS}"));
        }
        let factor = 1usize.checked_shl(ch_mults.len() as u32 - 1).unwrap_or(0);
        if factor == 0 || height % factor != 0 || width % factor != 0 {
            let levels = ch_mults.len();
            return Err(format!(
                "{height}x{width} images cannot be halved {} times ({levels} ch_mults)",
                levels - 1
            ));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return Err(format!("dropout is {}; it must be in [0, 1)", self.dropout));
        }
        if let Some(per_head) = self.attn_channels_per_head {
            let attending = widths.iter().zip(is_attn).filter(|(_, attn)| **attn).map(|(width, _)| width);
            let wrong = attending.chain(widths.last()).find(|&&c| per_head == 0 || c % per_head != 0);
            if let Some(channels) = wrong {
                return Err(format!(
                    "attn_channels_per_head is {per_head}, which does not divide {channels} channels"
                ));
            }
        }
        Ok(())
    }

    /// The sizes in words.
    pub fn describe(&self) -> String {
        let [channels, height, width] = self.image_shape;
        let attending = self.is_attn.iter().enumerate().filter(|(_, is_attn)| **is_attn);
        let attending: Vec<String> =
            attending.map(|(level, _)| format!("{}x{}", height >> level, width >> level)).collect();
        let heads = match self.attn_channels_per_head {
            Some(n) => format!("heads of {n} channels"),
            None => "one head".to_string(),
        };
        let (n_channels, ch_mults, n_blocks) = (self.n_channels, self.ch_mults, self.n_blocks);
        let attention = match &*attending {
            [] => format!("attention in the middle with {heads}"),
            places => format!("attention at {} with {heads}", places.join(", ")),
        };
        format!(
            "{channels}x{height}x{width} images, n_channels {n_channels}, ch_mults {ch_mults:?}, n_blocks {n_blocks}, \
             {attention}"
        )
    }
}
