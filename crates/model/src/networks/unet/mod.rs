//! The UNet of DDPM and EDM (`net_type: UNet`), in all its published variants.
//!
//! Sources: DDAE (arXiv 2303.09769) and its configurations; DDPM (arXiv 2006.11239) for the plain variant,
//! DDPM++ (arXiv 2011.13456) for the one with residual resampling, SODA (arXiv 2311.17901) for the one that a latent
//! modulates, and diffusers' `UNet2DModel`, which differs in [`Conventions`] and names ([`diffusers`](DiffusersConfig)).

mod blocks;
mod config;
mod describe;
mod diffusers;
mod diffusers_recognise;
mod recognise;

pub use config::{Conventions, UNetConfig};
pub(super) use describe::describe;
pub use diffusers::{AttentionNames, DiffusersConfig, TensorSource, diffusers_sources};
pub use diffusers_recognise::DIFFUSERS;
pub(super) use recognise::{FAMILY, deduce};

use super::network::{Conditions, Denoiser, Latent, Network, Role};
use super::registry::Family;
use super::resample::Resample;
use super::sinusoids::Sinusoids;
use crate::graph::{Conv, Graph, GraphError, Path, Shape, Value};
use crate::tensor::DType;
use blocks::Blocks;

type Built = Result<Value, GraphError>;

impl Network for UNetConfig {
    fn family(&self) -> &'static Family {
        &FAMILY
    }

    fn describe(&self) -> String {
        describe("UNet", self)
    }

    fn check(&self) -> Result<(), String> {
        if self.z_channels > 0 {
            return Err("z_channels is for net_type: SodaDecoder".to_string());
        }
        UNetConfig::check(self)
    }

    fn image_shape(&self) -> Option<[usize; 3]> {
        Some(self.image_shape)
    }

    fn resize(&mut self, [height, width]: [usize; 2]) -> Result<(), String> {
        self.image_shape = [self.image_shape[0], height, width];
        Ok(())
    }

    fn graph(&self, with_label: bool) -> Result<Graph, GraphError> {
        unet_graph(self, with_label)
    }

    fn labels(&self) -> Vec<&'static str> {
        (self.augment_dim > 0).then_some("augment_label").into_iter().collect()
    }

    fn role(&self) -> Role<'_> {
        Role::Denoiser(self)
    }
}

impl Denoiser for UNetConfig {
    fn predict(&self, g: &mut Graph, x: Value, t: Value, conditions: Conditions) -> Built {
        Conditions { augment_label: None, ..conditions }.none("a UNet")?;
        unet(g, self, x, t, conditions.augment_label)
    }

    fn augment_dim(&self) -> usize {
        self.augment_dim
    }
}

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
/// When shapes do not fit, with the layer's path, or the configuration has `z_channels`: that is a SODA decoder
/// ([`decoder`](super::decoder)).
pub fn unet(g: &mut Graph, config: &UNetConfig, x: Value, t: Value, augment_label: Option<Value>) -> Built {
    guided(g, &Path::root(), config, x, t, Conditions { augment_label, ..Conditions::default() })
}

/// The network under the path `p`.
pub(super) fn guided(
    g: &mut Graph,
    p: &Path,
    config: &UNetConfig,
    x: Value,
    t: Value,
    conditions: Conditions,
) -> Built {
    let wrong = |message: String| GraphError::Shape { path: "network".to_string(), message };
    UNetConfig::check(config).map_err(wrong)?;
    let latent = match (config.z_channels, conditions.latent) {
        (_, Some(latent)) => latent_parts(g, config, latent)?,
        (0, None) => Vec::new(),
        (n, None) => {
            return Err(wrong(format!("z_channels is {n}; only a SODA decoder is guided by a latent")));
        }
    };
    let emb = time_embedding(g, &p.at("time_emb"), config, t, conditions.augment_label)?;
    let blocks = Blocks { config, emb, latent };
    let widths = config.widths();
    let coarsest = widths.len() - 1;

    let mut x = g.conv2d(&p.at("image_proj"), x, Conv::same(config.n_channels, 3))?;
    let mut skips = vec![x];
    let mut module = 0;
    for (level, &width) in widths.iter().enumerate() {
        for _ in 0..config.n_blocks {
            x = blocks.residual_attention(g, &p.at("down").at(module), x, level)?;
            skips.push(x);
            module += 1;
        }
        if level != coarsest {
            let path = p.at("down").at(module);
            x = if config.use_res_for_updown {
                blocks.residual(g, &path.at("op"), x, level, Resample::Down)?
            } else {
                let padding = if config.conventions.downsample_pads_end { [0, 0, 1, 1] } else { [1; 4] };
                g.conv2d(&path.at("conv"), x, Conv::same(width, 3).stride(2).padding(padding))?
            };
            skips.push(x);
            module += 1;
        }
    }

    let middle = p.at("middle");
    x = blocks.residual(g, &middle.at("res1"), x, coarsest, Resample::None)?;
    x = blocks.attention(g, &middle.at("attn"), x)?;
    x = blocks.residual(g, &middle.at("res2"), x, coarsest, Resample::None)?;

    let (mut module, mut layer) = (0, 0);
    for (level, &width) in widths.iter().enumerate().rev() {
        for _ in 0..=config.n_blocks {
            let parts: Vec<Value> = std::iter::once(x).chain(skips.pop()).collect();
            let joined = g.concat(&parts, 1)?;
            x = blocks.residual_attention(g, &p.at("up").at(module), joined, level)?;
            layer += 1;
            g.tap(&format!("out_{layer}"), x);
            module += 1;
        }
        if level != 0 {
            let path = p.at("up").at(module);
            x = if config.use_res_for_updown {
                blocks.residual(g, &path.at("op"), x, level, Resample::Up)?
            } else {
                let large = g.upsample_nearest(x, 2)?;
                g.conv2d(&path.at("conv"), large, Conv::same(width, 3))?
            };
            module += 1;
        }
    }

    let Conventions { final_norm_groups, norm_eps, .. } = config.conventions;
    let x = g.group_norm(&p.at("norm"), x, final_norm_groups, norm_eps)?;
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
    let Conventions { frequency_shift: shift, cosines_first, .. } = config.conventions;
    let mut emb = Sinusoids { width: config.n_channels, shift, cosines_first }.of(g, t)?;
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

/// SiLU of each part of the latent, hidden where its mask is 1.
fn latent_parts(g: &mut Graph, config: &UNetConfig, latent: Latent) -> Result<Vec<Value>, GraphError> {
    let (parts, width) = (config.z_parts, config.z_channels / config.z_parts);
    let (z, mask) = (g.shape(latent.z).clone(), g.shape(latent.mask).clone());
    let mask_fits =
        if parts == 1 { mask.rank() == 1 } else { mask.rank() == 2 && mask.size(1) == Some(parts) };
    if z.rank() != 2 || z.size(1) != Some(config.z_channels) || !mask_fits {
        let wanted = if parts == 1 { "[B]".to_string() } else { format!("[B, {parts}]") };
        let message = format!("wants z [B, {}] and mask {wanted}, got {z} and {mask}", config.z_channels);
        return Err(GraphError::Shape { path: "latent".to_string(), message });
    }
    let shown = g.affine(latent.mask, -1.0, 1.0)?;
    let shown = g.reshape(shown, Shape::of(vec![mask.dims()[0], parts.into()]))?;
    (0..parts)
        .map(|i| {
            let (z, shown) = match parts {
                1 => (latent.z, shown),
                _ => (g.slice(latent.z, 1, i * width, width)?, g.slice(shown, 1, i, 1)?),
            };
            let part = g.mul(z, shown)?;
            g.silu(part)
        })
        .collect()
}
