//! Config C: EDM's UNet without biases, its attention on unit vectors, its blocks modulated by scales alone.

use serde::{Deserialize, Serialize};

use super::config::GROUPS;
use super::layers::{Magnitude, Weights, fourier, size};
use super::network::{Block, Parts, network};
use super::{Built, Edm2Config, wrong};
use crate::graph::{Graph, Path, Value};

/// Added to the variance in every norm.
const EPS: f64 = 1e-5;
/// Groups of the norm before the last convolution.
const LAST_GROUPS: usize = 8;
/// Largest magnitude in the result of a block with normalised weights.
const LIMIT: f64 = 256.0;

/// The configuration of `net_type: UNetC`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UNetCConfig(pub Edm2Config);

impl UNetCConfig {
    /// Checks what the types cannot.
    ///
    /// # Errors
    /// A sentence that names the key and the values.
    pub fn check(&self) -> Result<(), String> {
        self.0.check_groups()
    }
}

/// Adds the network to a graph, under the path `p`.
///
/// # Shapes
/// `x [B,C,H,W]`, `c_noise [B]` or `[1]`; the result has `x`'s shape. The results of the up path's blocks become the taps
/// `out_1 … out_N`, in order of execution.
///
/// # Errors
/// When shapes do not fit, with the layer's path.
pub fn unet_c(g: &mut Graph, p: &Path, config: &UNetCConfig, x: Value, c_noise: Value) -> Built {
    config.check().map_err(wrong)?;
    network(g, p, &config.0, &Normed { config: &config.0, weights: Weights::Free }, x, c_noise)
}

/// The uncertainty `u [B]` of config C's loss, from `c_noise [B]`; its parameters are `{p}.reweight_mlp.*`.
///
/// # Errors
/// When shapes do not fit.
pub fn uncertainty_c(g: &mut Graph, p: &Path, c_noise: Value) -> Built {
    Weights::Free.uncertainty(g, p, c_noise, Magnitude::Plain)
}

/// The parts of configs C and E, which differ in their weights alone.
pub(super) struct Normed<'a> {
    pub config: &'a Edm2Config,
    pub weights: Weights,
}

impl Parts for Normed<'_> {
    fn embedding(&self, g: &mut Graph, p: &Path, c_noise: Value) -> Built {
        let width = self.config.n_channels;
        let emb = fourier(g, &p.at("fourier"), c_noise, width, Magnitude::Plain)?;
        let emb = self.weights.linear(g, &p.at("linear1"), emb, 4 * width)?;
        let emb = g.silu(emb)?;
        let emb = self.weights.linear(g, &p.at("linear2"), emb, 4 * width)?;
        g.silu(emb)
    }

    fn conv(&self, g: &mut Graph, p: &Path, x: Value, channels: usize, kernel: usize) -> Built {
        self.weights.conv(g, p, x, channels, kernel)
    }

    fn residual(&self, g: &mut Graph, p: &Path, x: Value, emb: Value, block: Block) -> Built {
        let Block { channels, resample, .. } = block;
        // Known before the norm that it scales, so that an interpreter can do both at once.
        let scale = self.weights.linear(g, &p.at("linear"), emb, channels)?;
        let scale = g.affine(scale, 1.0, 1.0)?;
        let scale = g.per_image(scale)?;
        let h = g.plain_group_norm(x, GROUPS, EPS)?;
        let h = g.silu(h)?;
        let h = resample.apply(g, h)?;
        let h = self.conv(g, &p.at("conv1"), h, channels, 3)?;
        let h = g.plain_group_norm(h, GROUPS, EPS)?;
        let h = g.mul(h, scale)?;
        let h = g.silu(h)?;
        let h = g.dropout(h, self.config.dropout)?;
        let h = self.conv(g, &p.at("conv2").at(1), h, channels, 3)?;
        let mut shortcut = resample.apply(g, x)?;
        if size(g, x, 1) != channels {
            shortcut = self.conv(g, &p.at("shortcut"), shortcut, channels, 1)?;
        }
        g.add(shortcut, h)
    }

    fn attention(&self, g: &mut Graph, p: &Path, x: Value) -> Built {
        let h = self.weights.cosine_attention(g, p, x, self.config.attn_channels_per_head)?;
        g.add(x, h)
    }

    fn limited(&self, g: &mut Graph, x: Value) -> Built {
        match self.weights {
            Weights::Free => Ok(x),
            Weights::Normalised => g.clamp(x, -LIMIT, LIMIT),
        }
    }

    fn joined(&self, g: &mut Graph, x: Value, skip: Value) -> Built {
        g.concat(&[x, skip], 1)
    }

    fn last(&self, g: &mut Graph, p: &Path, x: Value, channels: usize) -> Built {
        let x = g.plain_group_norm(x, LAST_GROUPS, EPS)?;
        let x = g.silu(x)?;
        self.conv(g, &p.at(2), x, channels, 3)
    }
}
