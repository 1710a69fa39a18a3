//! The way through the resolutions, which all three networks take.

use super::layers::size;
use super::{Built, Edm2Config};
use crate::graph::{Graph, GraphError, Path, Value};
use crate::networks::resample::Resample;
use crate::tensor::Tensor;

/// Which half of the network a block belongs to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Half {
    Encoder,
    Decoder,
}

/// A residual block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    pub half: Half,
    /// Of its result.
    pub channels: usize,
    pub resample: Resample,
}

/// What the networks differ in. Values are images `[B,C,H,W]`; `emb [B, 4 * n_channels]`.
pub(super) trait Parts {
    /// The embedding of `c_noise [B]`.
    fn embedding(&self, g: &mut Graph, p: &Path, c_noise: Value) -> Built;
    /// A convolution without bias that keeps the size.
    fn conv(&self, g: &mut Graph, p: &Path, x: Value, channels: usize, kernel: usize) -> Built;
    /// A residual block.
    fn residual(&self, g: &mut Graph, p: &Path, x: Value, emb: Value, block: Block) -> Built;
    /// Attention, added to `x`.
    fn attention(&self, g: &mut Graph, p: &Path, x: Value) -> Built;
    /// The result of a whole block.
    fn limited(&self, g: &mut Graph, x: Value) -> Built;
    /// `x` and a skip connection as one.
    fn joined(&self, g: &mut Graph, x: Value, skip: Value) -> Built;
    /// The network's result, of so many channels.
    fn last(&self, g: &mut Graph, p: &Path, x: Value, channels: usize) -> Built;
}

/// Adds the network under the path `p`: images `x [B,C,H,W]`, `c_noise [B]` or `[1]`, a result like `x`, taps
/// `out_1 … out_N` after every block of the way up.
pub(super) fn network(
    g: &mut Graph,
    p: &Path,
    config: &Edm2Config,
    parts: &impl Parts,
    x: Value,
    c_noise: Value,
) -> Built {
    let [channels, ..] = config.image_shape;
    let widths = config.widths();
    let coarsest = widths.len() - 1;
    let emb = parts.embedding(g, &p.at("embedding"), c_noise)?;
    let block = |g: &mut Graph, p: &Path, x: Value, attends: bool, block: Block| {
        let x = parts.residual(g, &p.at("res"), x, emb, block)?;
        let x = if attends { parts.attention(g, &p.at("attn"), x)? } else { x };
        parts.limited(g, x)
    };

    let x = with_ones(g, x)?;
    let mut x = parts.conv(g, &p.at("image_proj"), x, config.n_channels, 3)?;
    let mut skips = vec![x];
    let mut module = 0;
    for (level, &channels) in widths.iter().enumerate() {
        let plain = (config.is_attn[level], Resample::None);
        let mut kinds = vec![plain; config.n_blocks - 1];
        kinds.extend((level != coarsest).then_some((false, Resample::Down)));
        for (attends, resample) in kinds {
            let encoder = Block { half: Half::Encoder, channels, resample };
            x = block(g, &p.at("down").at(module), x, attends, encoder)?;
            skips.push(x);
            module += 1;
        }
    }

    let middle = Block { half: Half::Encoder, channels: widths[coarsest], resample: Resample::None };
    x = block(g, &p.at("middle1"), x, true, middle)?;
    x = block(g, &p.at("middle2"), x, false, middle)?;

    let mut module = 0;
    for (level, &channels) in widths.iter().enumerate().rev() {
        let plain = (config.is_attn[level], Resample::None);
        let mut kinds = vec![plain; config.n_blocks];
        kinds.extend((level != 0).then_some((false, Resample::Up)));
        for (attends, resample) in kinds {
            if resample == Resample::None
                && let Some(skip) = skips.pop()
            {
                x = parts.joined(g, x, skip)?;
            }
            let decoder = Block { half: Half::Decoder, channels, resample };
            x = block(g, &p.at("up").at(module), x, attends, decoder)?;
            module += 1;
            g.tap(&format!("out_{module}"), x);
        }
    }
    parts.last(g, &p.at("final"), x, channels)
}

/// The images with a channel of ones, from which the first convolution learns what others have a bias for.
fn with_ones(g: &mut Graph, x: Value) -> Result<Value, GraphError> {
    let channels = size(g, x, 1);
    let padded = g.pad(x, 1, 0, 1)?;
    let mut one = vec![0.0; channels + 1];
    one[channels] = 1.0;
    let one = g.constant(Tensor::f32(&[1, channels + 1, 1, 1], one))?;
    g.add(padded, one)
}
