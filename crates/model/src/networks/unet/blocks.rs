//! The blocks that the UNet is made of.

use super::{Built, Resample, UNetConfig};
use crate::graph::{Conv, Graph, Path, QkvLayout, Shape, Value};

/// Builds blocks that share the configuration and what guides them. `level` is a resolution, 0 the finest.
pub(super) struct Blocks<'a> {
    pub config: &'a UNetConfig,
    /// SiLU of the time embedding, `[B, 4 * n_channels]`.
    pub emb: Value,
    /// SiLU of each part of the latent, `[B, z_channels / z_parts]`; empty without a latent.
    pub latent: Vec<Value>,
}

impl Blocks<'_> {
    /// A residual block, then attention where the resolution has it.
    pub fn residual_attention(&self, g: &mut Graph, p: &Path, x: Value, level: usize) -> Built {
        let x = self.residual(g, &p.at("res"), x, level, Resample::None)?;
        if self.config.is_attn[level] { self.attention(g, &p.at("attn"), x) } else { Ok(x) }
    }

    pub fn residual(&self, g: &mut Graph, p: &Path, x: Value, level: usize, resample: Resample) -> Built {
        let channels = self.config.widths()[level];
        let h = self.norm(g, &p.at("norm1"), x)?;
        let h = g.silu(h)?;
        let h = resample.apply(g, h)?;
        let h = g.conv2d(&p.at("conv1"), h, Conv::same(channels, 3))?;
        let h = if self.latent.is_empty() {
            let emb = g.linear(&p.at("time_emb").at(1), self.emb, channels, true)?;
            let emb = g.per_image(emb)?;
            let h = g.add(h, emb)?;
            self.norm(g, &p.at("norm2"), h)?
        } else {
            let h = self.norm(g, &p.at("norm2"), h)?;
            self.modulate(g, p, h, level, channels)?
        };
        let h = g.silu(h)?;
        let h = g.dropout(h, self.config.dropout)?;
        let h = g.conv2d(&p.at("conv2").at(1), h, Conv::same(channels, 3))?;
        let mut shortcut = resample.apply(g, x)?;
        if g.shape(x).size(1) != Some(channels) {
            shortcut = g.conv2d(&p.at("shortcut"), shortcut, Conv::same(channels, 1))?;
        }
        g.add(h, shortcut)
    }

    /// `z_s (t_s h + t_b) + z_b`, scales and shifts of each channel from the time and from the latent's part.
    fn modulate(&self, g: &mut Graph, p: &Path, h: Value, level: usize, channels: usize) -> Built {
        let halves = |g: &mut Graph, name: &str, x: Value| {
            let both = g.linear(&p.at(name).at(1), x, 2 * channels, true)?;
            Ok::<_, crate::graph::GraphError>((
                g.slice(both, 1, 0, channels)?,
                g.slice(both, 1, channels, channels)?,
            ))
        };
        let (time_scale, time_shift) = halves(g, "time_emb", self.emb)?;
        let (z_scale, z_shift) = halves(g, "z_emb", self.latent[self.config.z_part(level)])?;
        // Both modulations as one: the images are read and written half as often.
        let scale = g.mul(time_scale, z_scale)?;
        let shift = g.mul(time_shift, z_scale)?;
        let shift = g.add(shift, z_shift)?;
        let (scale, shift) = (g.per_image(scale)?, g.per_image(shift)?);
        let h = g.mul(h, scale)?;
        g.add(h, shift)
    }

    /// Self-attention over the pixels.
    pub fn attention(&self, g: &mut Graph, p: &Path, x: Value) -> Built {
        let shape = g.shape(x).clone();
        let size = |axis| shape.size(axis).unwrap_or(0);
        let (channels, tokens) = (size(1), size(2) * size(3));
        let heads = channels / self.config.attn_channels_per_head.unwrap_or(channels);
        let layout =
            if self.config.conventions.queries_first { QkvLayout::QkvMajor } else { QkvLayout::HeadMajor };
        let batch = shape.dims()[0];
        let h = self.norm(g, &p.at("norm"), x)?;
        let h = g.reshape(h, Shape::of(vec![batch, channels.into(), tokens.into()]))?;
        let h = g.transpose(h, &[0, 2, 1])?;
        let h = g.linear(&p.at("projection"), h, 3 * channels, true)?;
        let h = g.attention(p, h, heads, layout)?;
        let h = g.linear(&p.at("output"), h, channels, true)?;
        let h = g.transpose(h, &[0, 2, 1])?;
        let h = g.reshape(h, shape)?;
        g.add(h, x)
    }

    fn norm(&self, g: &mut Graph, p: &Path, x: Value) -> Built {
        let conventions = &self.config.conventions;
        g.group_norm(p, x, conventions.norm_groups, conventions.norm_eps)
    }
}
