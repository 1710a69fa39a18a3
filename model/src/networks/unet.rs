//! The UNet of DDPM and EDM (`net_type: UNet`), in all its published variants.
//!
//! Sources: DDAE (arXiv 2303.09769) and its configurations; DDPM (arXiv 2006.11239) for the plain variant,
//! DDPM++ (arXiv 2011.13456) for the one with residual resampling.

use serde::{Deserialize, Serialize};

use crate::graph::{Conv, Dim, Graph, GraphError, Path, QkvLayout, Shape, Value};
use crate::tensor::{DType, Tensor};

type Built = Result<Value, GraphError>;

/// The `network` section of a configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UNetConfig {
    /// `[C, H, W]` of the pictures.
    pub image_shape: [usize; 3],
    /// Channels at the finest resolution; a multiple of 32.
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
}

/// Limits far above any network: beyond them its numbers could not even be counted.
const LARGEST_SIDE: usize = 4096;
const LARGEST_WIDTH: usize = 1 << 16;
const MOST_BLOCKS: usize = 1000;

impl UNetConfig {
    /// Checks what the types cannot: ranges and the lengths of lists.
    ///
    /// # Errors
    /// A sentence that names the key and the values.
    pub fn check(&self) -> Result<(), String> {
        let [channels, height, width] = self.image_shape;
        if channels == 0 || height == 0 || width == 0 {
            return Err(format!("image_shape {:?} has a zero", self.image_shape));
        }
        if self.image_shape.iter().any(|&size| size > LARGEST_SIDE) {
            let shape = self.image_shape;
            return Err(format!("image_shape is {shape:?}; each size must be at most {LARGEST_SIDE}"));
        }
        if self.n_channels == 0 || !self.n_channels.is_multiple_of(32) {
            return Err(format!(
                "n_channels is {}; it must be a multiple of 32 (GroupNorm has 32 groups)",
                self.n_channels
            ));
        }
        if self.ch_mults.is_empty() || self.ch_mults.contains(&0) {
            return Err(format!(
                "ch_mults is {:?}; it needs one number above 0 per resolution",
                self.ch_mults
            ));
        }
        let widths: Vec<usize> = self.ch_mults.iter().map(|m| m.saturating_mul(self.n_channels)).collect();
        if let Some(width) = widths.iter().find(|&&width| width > LARGEST_WIDTH) {
            let (channels, mults) = (self.n_channels, &self.ch_mults);
            return Err(format!(
                "n_channels {channels} times ch_mults {mults:?} is {width} channels; it must be at most {LARGEST_WIDTH}"
            ));
        }
        if self.augment_dim > LARGEST_WIDTH {
            return Err(format!("augment_dim is {}; it must be at most {LARGEST_WIDTH}", self.augment_dim));
        }
        if self.is_attn.len() != self.ch_mults.len() {
            let (attn, mults) = (self.is_attn.len(), self.ch_mults.len());
            return Err(format!("is_attn has {attn} entries and ch_mults {mults}; they must have as many"));
        }
        if !(1..=MOST_BLOCKS).contains(&self.n_blocks) {
            return Err(format!("n_blocks is {}; it must be 1 to {MOST_BLOCKS}", self.n_blocks));
        }
        let factor = 1usize.checked_shl(self.ch_mults.len() as u32 - 1).unwrap_or(0);
        if factor == 0 || height % factor != 0 || width % factor != 0 {
            let levels = self.ch_mults.len();
            return Err(format!(
                "{height}x{width} pictures cannot be halved {} times ({levels} ch_mults)",
                levels - 1
            ));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return Err(format!("dropout is {}; it must be in [0, 1)", self.dropout));
        }
        if let Some(per_head) = self.attn_channels_per_head {
            // The middle has attention always.
            let attending =
                widths.iter().zip(&self.is_attn).filter(|(_, attn)| **attn).map(|(width, _)| width);
            let wrong = attending.chain(widths.last()).find(|&&c| per_head == 0 || c % per_head != 0);
            if let Some(channels) = wrong {
                return Err(format!(
                    "attn_channels_per_head is {per_head}, which does not divide {channels} channels"
                ));
            }
        }
        Ok(())
    }
}

/// Resampling inside a residual block, without weights.
#[derive(Clone, Copy, PartialEq)]
enum Resample {
    None,
    Up,
    Down,
}

impl Resample {
    fn apply(self, g: &mut Graph, x: Value) -> Built {
        match self {
            Resample::None => Ok(x),
            Resample::Up => g.upsample_nearest(x, 2),
            Resample::Down => g.avg_pool(x, 2),
        }
    }
}

const EPS: f64 = 1e-5;

/// The whole network as a graph of kind `network`: inputs `x [B,C,H,W]`, `t [B]` and, with an augmentation label,
/// `augment_label [B,9]`; output `y [B,C,H,W]`; taps `out_1 … out_N [B,C,H,W]`.
///
/// # Errors
/// When the configuration cannot be built.
pub fn unet_graph(config: &UNetConfig, with_label: bool) -> Result<Graph, GraphError> {
    let mut g = Graph::new();
    let x = g.input("x", DType::F32, Shape::batch(&config.image_shape))?;
    let t = g.input("t", DType::F32, Shape::batch(&[]))?;
    let label = match (with_label, config.augment_dim) {
        (true, n) if n > 0 => Some(g.input("augment_label", DType::F32, Shape::batch(&[n]))?),
        _ => None,
    };
    let y = unet(&mut g, config, x, t, label)?;
    g.output("y", y);
    Ok(g)
}

/// Adds the network to a graph.
///
/// # Shapes
/// `x [B,C,H,W]`, `t [B]` or `[1]` (the scalar that is embedded), `augment_label [B, augment_dim]`; the result has
/// `x`'s shape. The outputs of the up path's blocks become the taps `out_1 … out_N`, in order of execution.
///
/// # Errors
/// When shapes do not fit, with the layer's path.
pub fn unet(g: &mut Graph, config: &UNetConfig, x: Value, t: Value, augment_label: Option<Value>) -> Built {
    config.check().map_err(|message| GraphError::Shape { path: "network".to_string(), message })?;
    let p = Path::root();
    let block = Block { config, emb: time_embedding(g, &p.at("time_emb"), config, t, augment_label)? };
    let widths: Vec<usize> = config.ch_mults.iter().map(|m| m * config.n_channels).collect();
    let coarsest = widths.len() - 1;

    let mut x = g.conv2d(&p.at("image_proj"), x, Conv::same(config.n_channels, 3))?;
    let mut skips = vec![x];
    let mut module = 0;
    for (level, &width) in widths.iter().enumerate() {
        for _ in 0..config.n_blocks {
            x = block.residual_attention(g, &p.at("down").at(module), x, width, config.is_attn[level])?;
            skips.push(x);
            module += 1;
        }
        if level != coarsest {
            let path = p.at("down").at(module);
            x = if config.use_res_for_updown {
                block.residual(g, &path.at("op"), x, width, Resample::Down)?
            } else {
                g.conv2d(&path.at("conv"), x, Conv::same(width, 3).stride(2))?
            };
            skips.push(x);
            module += 1;
        }
    }

    let middle = p.at("middle");
    x = block.residual(g, &middle.at("res1"), x, widths[coarsest], Resample::None)?;
    x = block.attention(g, &middle.at("attn"), x)?;
    x = block.residual(g, &middle.at("res2"), x, widths[coarsest], Resample::None)?;

    let (mut module, mut layer) = (0, 0);
    for (level, &width) in widths.iter().enumerate().rev() {
        for _ in 0..=config.n_blocks {
            let parts: Vec<Value> = std::iter::once(x).chain(skips.pop()).collect();
            let joined = g.concat(&parts, 1)?;
            x = block.residual_attention(g, &p.at("up").at(module), joined, width, config.is_attn[level])?;
            layer += 1;
            g.tap(&format!("out_{layer}"), x);
            module += 1;
        }
        if level != 0 {
            let path = p.at("up").at(module);
            x = if config.use_res_for_updown {
                block.residual(g, &path.at("op"), x, width, Resample::Up)?
            } else {
                let large = g.upsample_nearest(x, 2)?;
                g.conv2d(&path.at("conv"), large, Conv::same(width, 3))?
            };
            module += 1;
        }
    }

    let x = g.group_norm(&p.at("norm"), x, 8, EPS)?;
    let x = g.silu(x)?;
    g.conv2d(&p.at("final"), x, Conv::same(config.image_shape[0], 3))
}

/// Sinusoids of `t`, plus the projected augmentation label, through two linear layers: `[B, 4 * n_channels]`.
fn time_embedding(
    g: &mut Graph,
    p: &Path,
    config: &UNetConfig,
    t: Value,
    augment_label: Option<Value>,
) -> Built {
    let half = config.n_channels / 2;
    let step = 10_000f64.ln() / (half as f64 - 1.0);
    let frequencies = (0..half).map(|k| (-(k as f64) * step).exp() as f32).collect();
    let frequencies = g.constant(Tensor::f32(&[1, half], frequencies))?;
    let batch = g.shape(t).dims()[0];
    let t = g.reshape(t, Shape::of(vec![batch, Dim::Size(1)]))?;
    let angles = g.mul(t, frequencies)?;
    let (sin, cos) = (g.sin(angles)?, g.cos(angles)?);
    let mut emb = g.concat(&[sin, cos], 1)?;
    if let Some(label) = augment_label {
        let projected = g.linear(&p.at("aug_emb"), label, config.n_channels, false)?;
        emb = g.add(emb, projected)?;
    }
    let emb = g.linear(&p.at("lin1"), emb, 4 * config.n_channels, true)?;
    let emb = g.silu(emb)?;
    let emb = g.linear(&p.at("lin2"), emb, 4 * config.n_channels, true)?;
    // Every block applies SiLU to the embedding first: once is enough.
    g.silu(emb)
}

/// Builds blocks that share the configuration and the time embedding.
struct Block<'a> {
    config: &'a UNetConfig,
    emb: Value,
}

impl Block<'_> {
    fn residual_attention(
        &self,
        g: &mut Graph,
        p: &Path,
        x: Value,
        channels: usize,
        attention: bool,
    ) -> Built {
        let x = self.residual(g, &p.at("res"), x, channels, Resample::None)?;
        if attention { self.attention(g, &p.at("attn"), x) } else { Ok(x) }
    }

    fn residual(&self, g: &mut Graph, p: &Path, x: Value, channels: usize, resample: Resample) -> Built {
        let h = g.group_norm(&p.at("norm1"), x, 32, EPS)?;
        let h = g.silu(h)?;
        let h = resample.apply(g, h)?;
        let h = g.conv2d(&p.at("conv1"), h, Conv::same(channels, 3))?;
        let emb = g.linear(&p.at("time_emb").at(1), self.emb, channels, true)?;
        let emb = g.per_picture(emb)?;
        let h = g.add(h, emb)?;
        let h = g.group_norm(&p.at("norm2"), h, 32, EPS)?;
        let h = g.silu(h)?;
        let h = g.dropout(h, self.config.dropout)?;
        let h = g.conv2d(&p.at("conv2").at(1), h, Conv::same(channels, 3))?;
        let mut shortcut = resample.apply(g, x)?;
        if g.shape(x).size(1) != Some(channels) {
            shortcut = g.conv2d(&p.at("shortcut"), shortcut, Conv::same(channels, 1))?;
        }
        g.add(h, shortcut)
    }

    fn attention(&self, g: &mut Graph, p: &Path, x: Value) -> Built {
        let shape = g.shape(x).clone();
        let size = |axis| shape.size(axis).unwrap_or(0);
        let (channels, tokens) = (size(1), size(2) * size(3));
        let heads = channels / self.config.attn_channels_per_head.unwrap_or(channels);
        let batch = shape.dims()[0];
        let h = g.group_norm(&p.at("norm"), x, 32, EPS)?;
        let h = g.reshape(h, Shape::of(vec![batch, channels.into(), tokens.into()]))?;
        let h = g.transpose(h, &[0, 2, 1])?;
        let h = g.linear(&p.at("projection"), h, 3 * channels, true)?;
        let h = g.attention(p, h, heads, QkvLayout::HeadMajor)?;
        let h = g.linear(&p.at("output"), h, channels, true)?;
        let h = g.transpose(h, &[0, 2, 1])?;
        let h = g.reshape(h, shape)?;
        g.add(h, x)
    }
}
