//! Residual blocks, with attention and resampling in them.

use std::f64::consts::FRAC_1_SQRT_2;

use super::{Built, ResampleFilter, SongUNetConfig};
use crate::graph::{Conv, Graph, GraphError, Init, Path, QkvLayout, Shape, Value, Window};
use crate::networks::initialisation::xavier_uniform;
use crate::networks::resample::Resample;

/// Added to the variance in every norm.
const EPS: f64 = 1e-6;
/// What new weights of layers that end a block are multiplied by, so that it begins almost as the identity.
const LAST: f64 = 1e-5;

/// A residual block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    /// Of its result.
    pub channels: usize,
    pub resample: Resample,
    pub attention: bool,
}

impl Block {
    /// One that keeps the size of the image.
    pub fn of(channels: usize, attention: bool) -> Block {
        Block { channels, resample: Resample::None, attention }
    }

    /// One that keeps the channels.
    pub fn resampling(channels: usize, resample: Resample) -> Block {
        Block { channels, resample, attention: false }
    }
}

/// Builds blocks that share the configuration and the embedding.
pub(super) struct Blocks<'a> {
    pub config: &'a SongUNetConfig,
    /// `[B, channel_mult_emb * model_channels]`.
    pub emb: Value,
}

impl Blocks<'_> {
    /// The block `p` of `x [B,C,H,W]`.
    pub fn block(&self, g: &mut Graph, p: &Path, x: Value, block: Block) -> Built {
        let Block { channels, resample, attention } = block;
        let filter = self.config.resample_filter;
        let h = norm(g, &p.at("norm0"), x)?;
        let h = g.silu(h)?;
        let h = resampled(g, &p.at("conv0"), h, resample, filter)?;
        let h = conv(g, &p.at("conv0"), h, channels, 3, 1.0)?;
        let affine = linear(g, &p.at("affine"), self.emb, channels)?;
        let affine = g.per_image(affine)?;
        let h = g.add(h, affine)?;
        let h = norm(g, &p.at("norm1"), h)?;
        let h = g.silu(h)?;
        let h = g.dropout(h, self.config.dropout)?;
        let h = conv(g, &p.at("conv1"), h, channels, 3, LAST)?;
        let skip = if resample != Resample::None || g.shape(x).size(1) != Some(channels) {
            let skip = resampled(g, &p.at("skip"), x, resample, filter)?;
            conv(g, &p.at("skip"), skip, channels, 1, 1.0)?
        } else {
            x
        };
        let x = joined(g, h, skip)?;
        if attention { self.attention(g, p, x) } else { Ok(x) }
    }

    /// Attention between the pixels, one head, joined with `x [B,C,H,W]`.
    fn attention(&self, g: &mut Graph, p: &Path, x: Value) -> Built {
        let shape = g.shape(x).clone();
        let size = |axis| shape.size(axis).unwrap_or(0);
        let (channels, pixels) = (size(1), size(2) * size(3));
        let batch = shape.dims()[0];
        let h = norm(g, &p.at("norm2"), x)?;
        let h = g.reshape(h, Shape::of(vec![batch, channels.into(), pixels.into()]))?;
        let h = g.transpose(h, &[0, 2, 1])?;
        let h = pixel_linear(g, &p.at("qkv"), h, 3 * channels, 0.2f64.sqrt())?;
        let h = g.attention(p, h, 1, QkvLayout::ChannelMajor)?;
        let h = pixel_linear(g, &p.at("proj"), h, channels, LAST)?;
        let h = g.transpose(h, &[0, 2, 1])?;
        let h = g.reshape(h, shape)?;
        joined(g, h, x)
    }
}

/// `x` in the new size. The layer `p` has the filter among its tensors.
pub(super) fn resampled(
    g: &mut Graph,
    p: &Path,
    x: Value,
    resample: Resample,
    filter: ResampleFilter,
) -> Built {
    if resample == Resample::None {
        return Ok(x);
    }
    filter_buffer(g, p, filter)?;
    match (resample, filter) {
        (Resample::Up, ResampleFilter::Smooth) => {
            let x = resample.apply(g, x)?;
            smoothed(g, x, 1)
        }
        (Resample::Down, ResampleFilter::Smooth) => {
            let x = smoothed(g, x, 1)?;
            resample.apply(g, x)
        }
        _ => resample.apply(g, x),
    }
}

/// The auxiliary map `aux` at half the size: a convolution, then the filter, which sees beyond the image what the
/// convolution makes of it there.
pub(super) fn aux_residual(
    g: &mut Graph,
    p: &Path,
    aux: Value,
    channels: usize,
    filter: ResampleFilter,
) -> Built {
    filter_buffer(g, p, filter)?;
    let beyond = filter.taps().len() / 2 - 1;
    let padded = Conv::same(channels, 3).padding([1 + beyond; 4]);
    let x = initialised_conv(g, p, aux, padded, 1.0)?;
    let x = match filter {
        ResampleFilter::Box => x,
        ResampleFilter::Smooth => smoothed(g, x, 0)?,
    };
    Resample::Down.apply(g, x)
}

/// Published files hold the filter beside every layer that resamples. What is computed is the formula's.
fn filter_buffer(g: &mut Graph, p: &Path, filter: ResampleFilter) -> Result<(), GraphError> {
    let side = filter.taps().len();
    g.buffer(&p.at("resample_filter"), &[1, 1, side, side], Init::Values(filter.table().into()))?;
    Ok(())
}

/// Along both axes `[1, 2, 1] / 4`, which with the means of pairs is `[1, 3, 3, 1] / 8`: the means of pairs twice. With
/// `padding`, zeros around the image are part of it, and it keeps its size.
fn smoothed(g: &mut Graph, x: Value, padding: usize) -> Built {
    let pairs = Window { kernel: 2, stride: 1, padding };
    let x = g.avg_pool_window(x, pairs, true)?;
    g.avg_pool_window(x, Window { padding: 0, ..pairs }, true)
}

/// `(a + b) / sqrt(2)`.
pub(super) fn joined(g: &mut Graph, a: Value, b: Value) -> Built {
    let sum = g.add(a, b)?;
    g.affine(sum, FRAC_1_SQRT_2, 0.0)
}

/// Group normalisation with as many groups as the channels allow.
pub(super) fn norm(g: &mut Graph, p: &Path, x: Value) -> Built {
    let groups = SongUNetConfig::groups(g.shape(x).size(1).unwrap_or(0));
    g.group_norm(p, x, groups, EPS)
}

/// A convolution that keeps the size, its new weights multiplied by `gain`.
pub(super) fn conv(g: &mut Graph, p: &Path, x: Value, channels: usize, kernel: usize, gain: f64) -> Built {
    initialised_conv(g, p, x, Conv::same(channels, kernel), gain)
}

fn initialised_conv(g: &mut Graph, p: &Path, x: Value, conv: Conv, gain: f64) -> Built {
    let inputs = g.shape(x).size(1).unwrap_or(0);
    let y = g.conv2d(p, x, conv)?;
    let pixels: usize = conv.kernel.iter().product();
    g.initialise(&p.at("weight"), xavier_uniform(inputs * pixels, conv.channels * pixels, gain))?;
    g.initialise(&p.at("bias"), Init::Zeros)?;
    Ok(y)
}

/// A linear layer on `x [B, features]`.
pub(super) fn linear(g: &mut Graph, p: &Path, x: Value, features: usize) -> Built {
    let y = g.linear(p, x, features, true)?;
    initialise_linear(g, p, x, features)?;
    g.initialise(&p.at("bias"), Init::Zeros)?;
    Ok(y)
}

/// A linear layer without bias on `x [B, features]`.
pub(super) fn linear_without_bias(g: &mut Graph, p: &Path, x: Value, features: usize) -> Built {
    let y = g.linear(p, x, features, false)?;
    initialise_linear(g, p, x, features)?;
    Ok(y)
}

fn initialise_linear(g: &mut Graph, p: &Path, x: Value, features: usize) -> Result<(), GraphError> {
    let inputs = g.shape(x).size(1).unwrap_or(0);
    g.initialise(&p.at("weight"), xavier_uniform(inputs, features, 1.0))
}

/// A 1x1 convolution on pixels as tokens, `x [B, N, C]`.
fn pixel_linear(g: &mut Graph, p: &Path, x: Value, features: usize, gain: f64) -> Built {
    let channels = g.shape(x).size(2).unwrap_or(0);
    let init = xavier_uniform(channels, features, gain);
    let weight = g.parameter(&p.at("weight"), &[features, channels, 1, 1], init)?;
    let weight = g.reshape(weight, Shape::fixed(&[features, channels]))?;
    let bias = g.parameter(&p.at("bias"), &[features], Init::Zeros)?;
    g.linear_with(p, x, weight, Some(bias), features)
}
