//! The layers that the three networks share.

use std::f64::consts::{PI, SQRT_2};

use super::Built;
use crate::graph::{Conv, Graph, Init, Path, QkvLayout, Shape, Value};

/// Added to the root mean square of a weight's rows.
const WEIGHT_EPS: f64 = 1e-4;
/// Added to the mean squares that vectors of channels are divided by.
const PIXEL_EPS: f64 = 1e-8;
/// Width of the Fourier features of the loss's uncertainty.
const UNCERTAINTY_WIDTH: usize = 256;

/// How convolutions and linear layers take their weights. None of them has a bias.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Weights {
    /// As they are, starting like PyTorch's.
    Free,
    /// Each row scaled to length 1 (forced weight normalisation), starting as standard normals.
    Normalised,
}

/// The magnitude of the Fourier features.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Magnitude {
    /// That of a cosine.
    Plain,
    /// A mean square of 1.
    Preserved,
}

impl Weights {
    fn of(self, g: &mut Graph, p: &Path, shape: &[usize]) -> Built {
        let length = 1.0 / (shape[1..].iter().product::<usize>() as f64).sqrt();
        let init = match self {
            Weights::Free => Init::Uniform { bound: length },
            Weights::Normalised => Init::Normal { std: 1.0 },
        };
        let weight = g.parameter(&p.at("weight"), shape, init)?;
        match self {
            Weights::Free => Ok(weight),
            Weights::Normalised => g.weight_norm(p, weight, WEIGHT_EPS, length),
        }
    }

    /// A `kernel` x `kernel` convolution that keeps the size of `x [B,C,H,W]`.
    pub fn conv(self, g: &mut Graph, p: &Path, x: Value, channels: usize, kernel: usize) -> Built {
        let weight = self.of(g, p, &[channels, size(g, x, 1), kernel, kernel])?;
        g.conv2d_with(p, x, weight, Conv::same(channels, kernel).without_bias())
    }

    /// A linear layer on `x [B, features]`.
    pub fn linear(self, g: &mut Graph, p: &Path, x: Value, features: usize) -> Built {
        let weight = self.of(g, p, &[features, size(g, x, 1)])?;
        g.linear_with(p, x, weight, None, features)
    }

    /// A 1x1 convolution on pixels as tokens, `x [B, N, C]`.
    fn pixel_linear(self, g: &mut Graph, p: &Path, x: Value, features: usize) -> Built {
        let channels = size(g, x, 2);
        let weight = self.of(g, p, &[features, channels, 1, 1])?;
        let weight = g.reshape(weight, Shape::fixed(&[features, channels]))?;
        g.linear_with(p, x, weight, None, features)
    }

    /// Self-attention between the pixels of `x [B,C,H,W]`, queries, keys and values with a root mean square of 1 in each
    /// head of `per_head` channels (one head without it); not added to `x` yet.
    pub fn cosine_attention(self, g: &mut Graph, p: &Path, x: Value, per_head: Option<usize>) -> Built {
        let shape = g.shape(x).clone();
        let (channels, pixels) = (size(g, x, 1), size(g, x, 2) * size(g, x, 3));
        let d = per_head.unwrap_or(channels);
        let tokens = |sizes: &[usize]| {
            let sizes = sizes.iter().map(|&size| size.into());
            Shape::of(std::iter::once(shape.dims()[0]).chain(sizes).collect())
        };
        let h = g.reshape(x, tokens(&[channels, pixels]))?;
        let h = g.transpose(h, &[0, 2, 1])?;
        let h = self.pixel_linear(g, &p.at("projection"), h, 3 * channels)?;
        // Each head's queries, keys and values are side by side.
        let h = g.reshape(h, tokens(&[pixels, 3 * channels / d, d]))?;
        let h = g.rms_norm(h, 3, PIXEL_EPS)?;
        let h = g.reshape(h, tokens(&[pixels, 3 * channels]))?;
        let h = g.attention(p, h, channels / d, QkvLayout::HeadMajor)?;
        let h = self.pixel_linear(g, &p.at("output"), h, channels)?;
        let h = g.transpose(h, &[0, 2, 1])?;
        g.reshape(h, shape)
    }

    /// What the loss is uncertain of at each noise level, `ln` of a variance `[B]`, from `c_noise [B]`: parameters
    /// `reweight_mlp.*`.
    pub fn uncertainty(self, g: &mut Graph, p: &Path, c_noise: Value, magnitude: Magnitude) -> Built {
        let p = p.at("reweight_mlp");
        let features = fourier(g, &p.at("fourier"), c_noise, UNCERTAINTY_WIDTH, magnitude)?;
        let u = self.linear(g, &p.at("linear"), features, 1)?;
        let batch = g.shape(u).dims()[0];
        g.reshape(u, Shape::of(vec![batch]))
    }
}

/// Cosines `[B, width]` of a scalar `[B]`: `cos(2 pi (c_noise frequencies + phases))`, the frequencies and phases fixed
/// draws that checkpoints hold.
pub(super) fn fourier(g: &mut Graph, p: &Path, c_noise: Value, width: usize, magnitude: Magnitude) -> Built {
    let frequencies = g.buffer(&p.at("frequencies"), &[width], Init::Normal { std: 1.0 })?;
    // In turns: [-1/2, 1/2) is what [0, 1) is.
    let phases = g.buffer(&p.at("phases"), &[width], Init::Uniform { bound: 0.5 })?;
    let batch = g.shape(c_noise).dims()[0];
    let c_noise = g.reshape(c_noise, Shape::of(vec![batch, 1.into()]))?;
    let turns = g.mul(c_noise, frequencies)?;
    let turns = g.add(turns, phases)?;
    let angles = g.affine(turns, 2.0 * PI, 0.0)?;
    let cosines = g.cos(angles)?;
    match magnitude {
        Magnitude::Plain => Ok(cosines),
        Magnitude::Preserved => g.affine(cosines, SQRT_2, 0.0),
    }
}

/// Each pixel's channels divided by the root of their mean square.
pub(super) fn pixel_norm(g: &mut Graph, x: Value) -> Built {
    g.rms_norm(x, 1, PIXEL_EPS)
}

/// A fixed size; 0 for what the operation that follows refuses.
pub(super) fn size(g: &Graph, x: Value, axis: usize) -> usize {
    g.shape(x).size(axis).unwrap_or(0)
}
