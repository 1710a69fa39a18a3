//! Config G: config E with layers that keep the magnitude of what passes through them, and no group norms.

use serde::{Deserialize, Serialize};

use super::layers::{Magnitude, Weights, fourier, pixel_norm, size};
use super::network::{Block, Half, Parts, network};
use super::{Built, Edm2Config, wrong};
use crate::graph::{Graph, Init, Path, Value};

/// The root mean square of the SiLU of a standard normal (arXiv 2312.02696, eq. 81).
const SILU_MAGNITUDE: f64 = 0.596;
/// The share of a block's or of attention's result in the sum with what it was computed from.
const RESIDUAL: f64 = 0.3;
/// Largest magnitude in the result of a block.
const LIMIT: f64 = 256.0;

/// The configuration of `net_type: UNetG`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UNetGConfig(pub Edm2Config);

impl UNetGConfig {
    /// Checks what the types cannot.
    ///
    /// # Errors
    /// A sentence that names the key and the values.
    pub fn check(&self) -> Result<(), String> {
        self.0.check()
    }
}

/// Adds the network to a graph, as [`unet_c`](super::unet_c) does.
///
/// # Errors
/// When shapes do not fit, with the layer's path.
pub fn unet_g(g: &mut Graph, p: &Path, config: &UNetGConfig, x: Value, c_noise: Value) -> Built {
    config.check().map_err(wrong)?;
    network(g, p, &config.0, &Preserving { config: &config.0 }, x, c_noise)
}

/// The uncertainty `u [B]` of config G's loss, from `c_noise [B]`; its parameters are `{p}.reweight_mlp.*`.
///
/// # Errors
/// When shapes do not fit.
pub fn uncertainty_g(g: &mut Graph, p: &Path, c_noise: Value) -> Built {
    Weights::Normalised.uncertainty(g, p, c_noise, Magnitude::Preserved)
}

struct Preserving<'a> {
    config: &'a Edm2Config,
}

impl Parts for Preserving<'_> {
    fn embedding(&self, g: &mut Graph, p: &Path, c_noise: Value) -> Built {
        let width = self.config.n_channels;
        let emb = fourier(g, &p.at("fourier"), c_noise, width, Magnitude::Preserved)?;
        let emb = Weights::Normalised.linear(g, &p.at("linear1"), emb, 4 * width)?;
        silu(g, emb)
    }

    fn conv(&self, g: &mut Graph, p: &Path, x: Value, channels: usize, kernel: usize) -> Built {
        Weights::Normalised.conv(g, p, x, channels, kernel)
    }

    fn residual(&self, g: &mut Graph, p: &Path, x: Value, emb: Value, block: Block) -> Built {
        let Block { half, channels, resample } = block;
        let scale = Weights::Normalised.linear(g, &p.at("linear"), emb, channels)?;
        let scale = gain(g, &p.at("gain"), scale, Init::Ones)?;
        let scale = g.affine(scale, 1.0, 1.0)?;
        let scale = g.per_image(scale)?;
        let x = resample.apply(g, x)?;
        let shortcut = |g: &mut Graph| match size(g, x, 1) == channels {
            true => Ok(x),
            false => self.conv(g, &p.at("shortcut"), x, channels, 1),
        };
        let (main, h) = match half {
            Half::Encoder => {
                let main = shortcut(g)?;
                let main = pixel_norm(g, main)?;
                (main, main)
            }
            Half::Decoder => (shortcut(g)?, x),
        };
        let h = silu(g, h)?;
        let h = self.conv(g, &p.at("conv1"), h, channels, 3)?;
        let h = g.mul(h, scale)?;
        let h = silu(g, h)?;
        let h = g.dropout(h, self.config.dropout)?;
        let h = self.conv(g, &p.at("conv2").at(1), h, channels, 3)?;
        sum(g, main, h)
    }

    fn attention(&self, g: &mut Graph, p: &Path, x: Value) -> Built {
        let per_head = self.config.attn_channels_per_head;
        let h = Weights::Normalised.cosine_attention(g, p, x, per_head)?;
        sum(g, x, h)
    }

    fn limited(&self, g: &mut Graph, x: Value) -> Built {
        g.clamp(x, -LIMIT, LIMIT)
    }

    /// Both halves with the same influence, however many channels they have (eq. 103).
    fn joined(&self, g: &mut Graph, x: Value, skip: Value) -> Built {
        let sizes = [x, skip].map(|part| size(g, part, 1) as f64);
        let whole = (sizes[0] + sizes[1]) / 2.0;
        let x = g.affine(x, (whole / sizes[0]).sqrt(), 0.0)?;
        let skip = g.affine(skip, (whole / sizes[1]).sqrt(), 0.0)?;
        g.concat(&[x, skip], 1)
    }

    fn last(&self, g: &mut Graph, p: &Path, x: Value, channels: usize) -> Built {
        let x = self.conv(g, &p.at(0), x, channels, 3)?;
        gain(g, &p.at(1), x, Init::Zeros)
    }
}

/// `x` times the parameter `{p}.g`.
fn gain(g: &mut Graph, p: &Path, x: Value, init: Init) -> Built {
    let gain = g.parameter(&p.at("g"), &[], init)?;
    g.mul(x, gain)
}

fn silu(g: &mut Graph, x: Value) -> Built {
    let x = g.silu(x)?;
    g.affine(x, 1.0 / SILU_MAGNITUDE, 0.0)
}

/// A weighted sum of the magnitude of its terms, where these are independent (eq. 88).
fn sum(g: &mut Graph, main: Value, residual: Value) -> Built {
    let length = (1.0 - RESIDUAL).hypot(RESIDUAL);
    let main = g.affine(main, (1.0 - RESIDUAL) / length, 0.0)?;
    let residual = g.affine(residual, RESIDUAL / length, 0.0)?;
    g.add(main, residual)
}
