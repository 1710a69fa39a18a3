//! The encoder of Stable Diffusion's autoencoder (`sd-vae-ft-mse`, diffusers' `AutoencoderKL`): images to the
//! latents that DiT works on.
//!
//! Source: latent diffusion (arXiv 2112.10752), under diffusers' parameter names.

use serde::{Deserialize, Serialize};

use super::network::{HeadsGiven, LatentEncoder, Network, PublishedProcess, Role};
use super::recognition::{Given, Names, RecogniseError, Shapes};
use super::registry::Family;
use super::sides;
use crate::graph::{Conv, Graph, GraphError, GraphKind, Path, QkvLayout, Shape, Value};
use crate::tensor::DType;

type Built = Result<Value, GraphError>;

const VAE: &str = "the encoder of a latent autoencoder";

/// Side of the images that Stable Diffusion's latents are made of for DiT.
const VAE_SIDE: usize = 256;

const EPS: f64 = 1e-6;

/// Limits far above any encoder: beyond them its numbers could not even be counted.
const LARGEST_SIDE: usize = 4096;
const LARGEST_WIDTH: usize = 1 << 16;
const MOST_BLOCKS: usize = 1000;

/// Limits that the published code sets to the logarithm of the posterior's variance.
const LOG_VARIANCE: [f64; 2] = [-30.0, 20.0];

/// Layers under the name in older files, among them the published `sd-vae-ft-mse`, and their name here. Weights and
/// shapes are the same.
pub const VAE_ENCODER_OLDER_NAMES: [(&str, &str); 4] = [
    ("encoder.mid_block.attentions.0.query", "encoder.mid_block.attentions.0.to_q"),
    ("encoder.mid_block.attentions.0.key", "encoder.mid_block.attentions.0.to_k"),
    ("encoder.mid_block.attentions.0.value", "encoder.mid_block.attentions.0.to_v"),
    ("encoder.mid_block.attentions.0.proj_attn", "encoder.mid_block.attentions.0.to_out.0"),
];

/// The name of a layer in files of CompVis (`vae-ft-mse-840000`), of its name here: `encoder.down_blocks.0.resnets.1.conv1`
/// is `encoder.down.0.block.1.conv1` there.
pub fn vae_encoder_compvis_name(layer: &str) -> String {
    [
        ("down_blocks.", "down."),
        (".resnets.", ".block."),
        (".downsamplers.0.", ".downsample."),
        ("conv_shortcut", "nin_shortcut"),
        ("mid_block.attentions.0.group_norm", "mid.attn_1.norm"),
        ("mid_block.attentions.0.to_out.0", "mid.attn_1.proj_out"),
        ("mid_block.attentions.0.to_", "mid.attn_1."),
        ("mid_block.block.0.", "mid.block_1."),
        ("mid_block.block.1.", "mid.block_2."),
        ("conv_norm_out", "norm_out"),
    ]
    .iter()
    .fold(layer.to_string(), |name, (here, there)| name.replace(here, there))
}

/// The shape of the encoder. Keys that diffusers has are named as there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VaeEncoderConfig {
    /// `[H, W]` of the images; each halves as often as there are levels after the first.
    pub image_size: [usize; 2],
    /// Channels of the images.
    pub in_channels: usize,
    /// Channels of the latents.
    pub latent_channels: usize,
    /// Channels of each resolution, finest first.
    pub block_out_channels: Vec<usize>,
    /// Residual blocks per resolution.
    pub layers_per_block: usize,
    /// Groups of the group normalisations.
    pub norm_num_groups: usize,
    /// Whether a 1x1 convolution follows the encoder.
    #[serde(default = "VaeEncoderConfig::default_use_quant_conv")]
    #[serde(skip_serializing_if = "VaeEncoderConfig::is_default_use_quant_conv")]
    pub use_quant_conv: bool,
    /// Multiplies a sample of the posterior, so that latents have a variance of about 1.
    pub scaling_factor: f64,
}

impl VaeEncoderConfig {
    /// The published autoencoder for images of `height` x `width`, multiples of 8. DiT was trained on images of
    /// 256 and 512.
    pub fn sd_vae_ft_mse(height: usize, width: usize) -> VaeEncoderConfig {
        VaeEncoderConfig {
            image_size: [height, width],
            in_channels: 3,
            latent_channels: 4,
            block_out_channels: vec![128, 256, 512, 512],
            layers_per_block: 2,
            norm_num_groups: 32,
            use_quant_conv: true,
            scaling_factor: 0.18215,
        }
    }

    fn default_use_quant_conv() -> bool {
        true
    }

    // As serde wants it.
    #[allow(clippy::trivially_copy_pass_by_ref)]
    fn is_default_use_quant_conv(value: &bool) -> bool {
        *value
    }

    /// `[C, H, W]` of the latents.
    pub fn latent_shape(&self) -> [usize; 3] {
        let [height, width] = self.image_size;
        let factor = self.reduction().max(1);
        [self.latent_channels, height / factor, width / factor]
    }

    /// Pixels along one side of the image per pixel of the latent; 0 where no image could be so large.
    fn reduction(&self) -> usize {
        let halvings = self.block_out_channels.len().saturating_sub(1);
        u32::try_from(halvings).ok().and_then(|n| 1usize.checked_shl(n)).unwrap_or(0)
    }

    /// Checks what the types cannot.
    ///
    /// # Errors
    /// A sentence that names the key and the values.
    pub fn check(&self) -> Result<(), String> {
        let [height, width] = self.image_size;
        let counts = [
            ("image_size", height, LARGEST_SIDE),
            ("image_size", width, LARGEST_SIDE),
            ("in_channels", self.in_channels, LARGEST_WIDTH),
            ("latent_channels", self.latent_channels, LARGEST_WIDTH),
            ("layers_per_block", self.layers_per_block, MOST_BLOCKS),
            ("norm_num_groups", self.norm_num_groups, LARGEST_WIDTH),
        ];
        if let Some((key, count, most)) = counts.iter().find(|(_, count, most)| !(1..=*most).contains(count))
        {
            return Err(format!("{key} has {count}; it must be 1 to {most}"));
        }
        if self.block_out_channels.is_empty() {
            return Err("block_out_channels is empty; it needs one number per resolution".to_string());
        }
        if let Some(channels) = self.block_out_channels.iter().find(|c| **c > LARGEST_WIDTH) {
            return Err(format!("block_out_channels has {channels}; each must be at most {LARGEST_WIDTH}"));
        }
        let groups = self.norm_num_groups;
        if let Some(channels) = self.block_out_channels.iter().find(|c| **c == 0 || !c.is_multiple_of(groups))
        {
            return Err(format!(
                "block_out_channels has {channels}, which does not split into {groups} groups (norm_num_groups)"
            ));
        }
        let factor = self.reduction();
        if factor == 0 || !height.is_multiple_of(factor) || !width.is_multiple_of(factor) {
            let halvings = self.block_out_channels.len() - 1;
            return Err(format!(
                "{height}x{width} images cannot be halved {halvings} times: make both sides multiples of {factor}"
            ));
        }
        if !self.scaling_factor.is_finite() || self.scaling_factor == 0.0 {
            return Err(format!(
                "scaling_factor is {}; it must be a number other than 0",
                self.scaling_factor
            ));
        }
        Ok(())
    }
}

/// The encoder as files hold it.
pub(super) static FAMILY: Family = Family {
    name: "a latent encoder",
    kinds: &[GraphKind::Network, GraphKind::Latent],
    signature: ["encoder.conv_in.weight", "encoder.conv_out.weight"],
    // The other half of the autoencoder is no part of it.
    parts: &["encoder.", "quant_conv."],
    ignored: &[],
    heads: HeadsGiven::Nothing,
    process: PublishedProcess::None,
    recognise: |shapes, given| {
        let names = Names::of_vae(shapes);
        Ok((deduce(shapes, given, names)?.into(), names))
    },
};

impl Network for VaeEncoderConfig {
    fn family(&self) -> &'static Family {
        &FAMILY
    }

    fn describe(&self) -> String {
        let [height, width] = self.image_size;
        let (image, latent) = (sides([self.in_channels, height, width]), sides(self.latent_shape()));
        format!("latent encoder: {image} images to {latent} latents, scaled by {}", self.scaling_factor)
    }

    fn check(&self) -> Result<(), String> {
        VaeEncoderConfig::check(self)
    }

    fn image_shape(&self) -> Option<[usize; 3]> {
        let [height, width] = self.image_size;
        Some([self.in_channels, height, width])
    }

    fn resize(&mut self, size: [usize; 2]) -> Result<(), String> {
        self.image_size = size;
        Ok(())
    }

    fn graph(&self, _with_label: bool) -> Result<Graph, GraphError> {
        vae_encoder_graph(self)
    }

    fn role(&self) -> Role<'_> {
        Role::LatentEncoder(self)
    }
}

impl LatentEncoder for VaeEncoderConfig {
    fn sample(&self, g: &mut Graph, x: Value, noise: Value) -> Built {
        let moments = vae_encoder(g, self, x)?;
        posterior_sample(g, self, moments, noise)
    }

    fn latent_shape(&self) -> [usize; 3] {
        VaeEncoderConfig::latent_shape(self)
    }
}

/// The encoder as a graph of kind `network`: input `x [B,C,H,W]` in [-1, 1]; output `moments`, the means and then the
/// logarithms of the variances of the latent, `[B, 2 * latent_channels, H/8, W/8]`.
///
/// # Errors
/// When the configuration cannot be built.
pub fn vae_encoder_graph(config: &VaeEncoderConfig) -> Result<Graph, GraphError> {
    let mut g = Graph::new();
    let [height, width] = config.image_size;
    let x = g.input("x", DType::F32, Shape::batch(&[config.in_channels, height, width]))?;
    let moments = vae_encoder(&mut g, config, x)?;
    g.output("moments", moments);
    Ok(g)
}

/// `scaling_factor * (mean + exp(log_variance / 2) * noise)`.
///
/// # Shapes
/// `moments [B, 2 * latent_channels, H, W]`, `noise` and result `[B, latent_channels, H, W]`.
///
/// # Errors
/// When shapes do not fit.
pub fn posterior_sample(g: &mut Graph, config: &VaeEncoderConfig, moments: Value, noise: Value) -> Built {
    let channels = config.latent_channels;
    let mean = g.slice(moments, 1, 0, channels)?;
    let log_variance = g.slice(moments, 1, channels, channels)?;
    let [least, most] = LOG_VARIANCE;
    let log_variance = g.clamp(log_variance, least, most)?;
    let log_deviation = g.affine(log_variance, 0.5, 0.0)?;
    let deviation = g.exp(log_deviation)?;
    let spread = g.mul(deviation, noise)?;
    let sample = g.add(mean, spread)?;
    g.affine(sample, config.scaling_factor, 0.0)
}

/// Adds the encoder to a graph.
///
/// # Shapes
/// `x [B,C,H,W]` in [-1, 1]; the result, means and then logarithms of variances, is
/// `[B, 2 * latent_channels, H/8, W/8]` (for 4 resolutions).
///
/// # Errors
/// When the configuration or shapes do not fit, with the layer's path.
pub fn vae_encoder(g: &mut Graph, config: &VaeEncoderConfig, x: Value) -> Built {
    config.check().map_err(|message| GraphError::Shape { path: "network".to_string(), message })?;
    let p = Path::root();
    let encoder = p.at("encoder");
    let groups = config.norm_num_groups;
    let (coarsest, widths) = (config.block_out_channels.len() - 1, &config.block_out_channels);

    let mut x = g.conv2d(&encoder.at("conv_in"), x, Conv::same(widths[0], 3))?;
    for (level, &width) in widths.iter().enumerate() {
        let path = encoder.at("down_blocks").at(level);
        for layer in 0..config.layers_per_block {
            x = residual(g, &path.at("resnets").at(layer), x, width, groups)?;
        }
        if level != coarsest {
            // The published network pads the right and the bottom only.
            let halve = Conv::same(width, 3).stride(2).padding([0, 0, 1, 1]);
            x = g.conv2d(&path.at("downsamplers").at(0).at("conv"), x, halve)?;
        }
    }

    let middle = encoder.at("mid_block");
    x = residual(g, &middle.at("resnets").at(0), x, widths[coarsest], groups)?;
    x = attention(g, &middle.at("attentions").at(0), x, groups)?;
    x = residual(g, &middle.at("resnets").at(1), x, widths[coarsest], groups)?;

    let x = g.group_norm(&encoder.at("conv_norm_out"), x, groups, EPS)?;
    let x = g.silu(x)?;
    let x = g.conv2d(&encoder.at("conv_out"), x, Conv::same(2 * config.latent_channels, 3))?;
    match config.use_quant_conv {
        true => g.conv2d(&p.at("quant_conv"), x, Conv::same(2 * config.latent_channels, 1)),
        false => Ok(x),
    }
}

fn residual(g: &mut Graph, p: &Path, x: Value, channels: usize, groups: usize) -> Built {
    let h = g.group_norm(&p.at("norm1"), x, groups, EPS)?;
    let h = g.silu(h)?;
    let h = g.conv2d(&p.at("conv1"), h, Conv::same(channels, 3))?;
    let h = g.group_norm(&p.at("norm2"), h, groups, EPS)?;
    let h = g.silu(h)?;
    let h = g.conv2d(&p.at("conv2"), h, Conv::same(channels, 3))?;
    let shortcut = if g.shape(x).size(1) == Some(channels) {
        x
    } else {
        g.conv2d(&p.at("conv_shortcut"), x, Conv::same(channels, 1))?
    };
    g.add(h, shortcut)
}

/// Attention of one head over all pixels.
fn attention(g: &mut Graph, p: &Path, x: Value, groups: usize) -> Built {
    let shape = g.shape(x).clone();
    let size = |axis| shape.size(axis).unwrap_or(0);
    let (channels, pixels) = (size(1), size(2) * size(3));
    let h = g.group_norm(&p.at("group_norm"), x, groups, EPS)?;
    let h = g.reshape(h, Shape::of(vec![shape.dims()[0], channels.into(), pixels.into()]))?;
    let h = g.transpose(h, &[0, 2, 1])?;
    let mut parts = [h; 3];
    for (part, name) in parts.iter_mut().zip(["to_q", "to_k", "to_v"]) {
        *part = g.linear(&p.at(name), h, channels, true)?;
    }
    let qkv = g.concat(&parts, 2)?;
    let h = g.attention(p, qkv, 1, QkvLayout::QkvMajor)?;
    let h = g.linear(&p.at("to_out").at(0), h, channels, true)?;
    let h = g.transpose(h, &[0, 2, 1])?;
    let h = g.reshape(h, shape)?;
    g.add(h, x)
}

/// The sizes of an encoder, from its parameters.
fn deduce(shapes: &Shapes, given: &Given, names: Names) -> Result<VaeEncoderConfig, RecogniseError> {
    let odd = |problem: String| RecogniseError::Inconsistent { network: VAE, problem };
    let [_, in_channels, ..] = shapes.want::<4>(VAE, "encoder.conv_in.weight")?;
    let use_quant_conv = shapes.has("quant_conv.weight");
    let last = if use_quant_conv { "quant_conv.weight" } else { "encoder.conv_out.weight" };
    let [moments, ..] = shapes.want::<4>(VAE, last)?;
    let (down, resnets) = match names {
        Names::CompVisVae => ("encoder.down", "block"),
        _ => ("encoder.down_blocks", "resnets"),
    };
    let levels = shapes.count(down);
    if levels == 0 || !moments.is_multiple_of(2) {
        return Err(odd(format!("it has {levels} resolutions and {moments} moments")));
    }
    let block_out_channels = (0..levels)
        .map(|level| shapes.want::<4>(VAE, &format!("{down}.{level}.{resnets}.0.conv1.weight")))
        .map(|shape| shape.map(|[width, ..]| width))
        .collect::<Result<_, _>>()?;
    let published = VaeEncoderConfig::sd_vae_ft_mse(VAE_SIDE, VAE_SIDE);
    Ok(VaeEncoderConfig {
        image_size: given.image_size.unwrap_or(published.image_size),
        in_channels,
        latent_channels: moments / 2,
        block_out_channels,
        layers_per_block: shapes.count(&format!("{down}.0.{resnets}")),
        use_quant_conv,
        ..published
    })
}
