//! The embedding and the way through the resolutions.

use std::f64::consts::PI;

use super::blocks::{Block, Blocks, aux_residual, conv, joined, linear, linear_without_bias, norm};
use super::{Built, SongEmbedding, SongEncoder, SongUNetConfig};
use crate::graph::{Dim, Graph, GraphError, Init, Path, Shape, Value};
use crate::networks::network::Conditions;
use crate::networks::resample::Resample;
use crate::networks::sinusoids::Sinusoids;
use crate::tensor::{DType, Tensor};

/// Standard deviation of new frequencies.
const FREQUENCY_STD: f64 = 16.0;
/// What new weights of the last layer are multiplied by.
const LAST: f64 = 1e-5;

/// The whole network as a graph of kind `network`: inputs `x [B,C,S,S]`, `t [B]`, and where they are wanted
/// `augment_label [B, augment_dim]` and `label` i64 `[B]` (a class, or `label_dim` for none); output `y`, like `x`; taps
/// `out_1 … out_N [B,C,H,W]`.
///
/// # Errors
/// When the configuration cannot be built, or takes no such label.
pub fn song_unet_graph(
    config: &SongUNetConfig,
    augment_label: bool,
    label: bool,
) -> Result<Graph, GraphError> {
    let mut g = Graph::new();
    let side = config.img_resolution;
    let x = g.input("x", DType::F32, Shape::batch(&[config.img_channels, side, side]))?;
    let t = g.input("t", DType::F32, Shape::batch(&[]))?;
    let augment_label = match augment_label {
        true => Some(g.input("augment_label", DType::F32, Shape::batch(&[config.augment_dim]))?),
        false => None,
    };
    let class = match label {
        true => Some(g.input("label", DType::I64, Shape::batch(&[]))?),
        false => None,
    };
    let y = song_unet(&mut g, config, x, t, Conditions { augment_label, class, latent: None })?;
    g.output("y", y);
    Ok(g)
}

/// Adds the network to a graph.
///
/// # Shapes
/// `x [B,C,S,S]`; `t [B]` or `[1]`, the scalar that is embedded; of the conditions `augment_label [B, augment_dim]` and
/// `class` i64 `[B]`. The result has `x`'s shape. The outputs of the decoder's numbered blocks become the taps `out_1 …
/// out_N`, in order of execution.
///
/// # Errors
/// When shapes do not fit, with the layer's path, or a condition is not one that the network takes.
pub fn song_unet(
    g: &mut Graph,
    config: &SongUNetConfig,
    x: Value,
    t: Value,
    conditions: Conditions,
) -> Built {
    config.check().map_err(wrong)?;
    let root = Path::root();
    let emb = embedding(g, &root, config, t, conditions)?;
    let blocks = Blocks { config, emb };
    let coarsest = config.channel_mult.len() - 1;

    let encoder = root.at("enc");
    let (mut aux, mut x, mut skips) = (x, x, Vec::new());
    for level in 0..=coarsest {
        let at = |layer: &str| encoder.at(name(config, level, layer));
        if level == 0 {
            x = conv(g, &at("conv"), x, config.model_channels, 3, 1.0)?;
        } else {
            let channels = channels(g, x);
            x = blocks.block(g, &at("down"), x, Block::resampling(channels, Resample::Down))?;
            if config.encoder_type == SongEncoder::Residual {
                aux = aux_residual(g, &at("aux_residual"), aux, channels, config.resample_filter)?;
                x = joined(g, x, aux)?;
                aux = x;
            }
        }
        skips.push(x);
        for i in 0..config.num_blocks {
            let block = Block::of(config.width(level), config.attends(level));
            x = blocks.block(g, &at(&format!("block{i}")), x, block)?;
            skips.push(x);
        }
    }

    let decoder = root.at("dec");
    let mut layer = 0;
    for level in (0..=coarsest).rev() {
        let at = |layer: &str| decoder.at(name(config, level, layer));
        let channels = channels(g, x);
        if level == coarsest {
            x = blocks.block(g, &at("in0"), x, Block::of(channels, true))?;
            x = blocks.block(g, &at("in1"), x, Block::of(channels, false))?;
        } else {
            x = blocks.block(g, &at("up"), x, Block::resampling(channels, Resample::Up))?;
        }
        for i in 0..=config.num_blocks {
            let parts: Vec<Value> = std::iter::once(x).chain(skips.pop()).collect();
            let both = g.concat(&parts, 1)?;
            let attends = i == config.num_blocks && config.attends(level);
            x = blocks.block(g, &at(&format!("block{i}")), both, Block::of(config.width(level), attends))?;
            layer += 1;
            g.tap(&format!("out_{layer}"), x);
        }
    }
    let at = |layer: &str| decoder.at(name(config, 0, layer));
    let x = norm(g, &at("aux_norm"), x)?;
    let x = g.silu(x)?;
    conv(g, &at("aux_conv"), x, config.img_channels, 3, LAST)
}

/// `32x32_block0`.
fn name(config: &SongUNetConfig, level: usize, layer: &str) -> String {
    let side = config.side(level);
    format!("{side}x{side}_{layer}")
}

fn channels(g: &Graph, x: Value) -> usize {
    g.shape(x).size(1).unwrap_or(0)
}

fn wrong(message: String) -> GraphError {
    GraphError::Shape { path: "network".to_string(), message }
}

/// Sinusoids of `t [B]`, plus the class and the augmentation, projected, through two linear layers: `[B, width]`.
fn embedding(g: &mut Graph, p: &Path, config: &SongUNetConfig, t: Value, conditions: Conditions) -> Built {
    let (noise, width) = (config.noise_width(), config.embedding_width());
    let Conditions { augment_label, class, latent } = conditions;
    if latent.is_some() {
        return Err(wrong("a SongUNet takes no latent".to_string()));
    }
    let mut emb = match config.embedding_type {
        SongEmbedding::Positional => Sinusoids { width: noise, shift: 1.0, cosines_first: false }.of(g, t)?,
        SongEmbedding::Fourier => fourier(g, &p.at("map_noise"), t, noise)?,
    };
    if config.label_dim > 0 {
        let class = one_hot(g, config.label_dim, class)?;
        let projected = linear(g, &p.at("map_label"), class, noise)?;
        emb = g.add(emb, projected)?;
    } else if class.is_some() {
        return Err(wrong("this SongUNet takes no class (label_dim is 0)".to_string()));
    }
    match (augment_label, config.augment_dim) {
        (Some(_), 0) => {
            return Err(wrong("this SongUNet takes no augmentation label (augment_dim is 0)".to_string()));
        }
        (Some(label), _) => {
            let projected = linear_without_bias(g, &p.at("map_augment"), label, noise)?;
            emb = g.add(emb, projected)?;
        }
        (None, _) => {}
    }
    let emb = linear(g, &p.at("map_layer0"), emb, width)?;
    let emb = g.silu(emb)?;
    let emb = linear(g, &p.at("map_layer1"), emb, width)?;
    g.silu(emb)
}

/// Sines and cosines of `2 pi f t`, the frequencies `f` fixed draws that checkpoints hold.
fn fourier(g: &mut Graph, p: &Path, t: Value, width: usize) -> Built {
    let freqs = g.buffer(&p.at("freqs"), &[width / 2], Init::Normal { std: FREQUENCY_STD })?;
    let freqs = g.affine(freqs, 2.0 * PI, 0.0)?;
    let batch = g.shape(t).dims()[0];
    let t = g.reshape(t, Shape::of(vec![batch, Dim::Size(1)]))?;
    let angles = g.mul(t, freqs)?;
    let (sin, cos) = (g.sin(angles)?, g.cos(angles)?);
    g.concat(&[sin, cos], 1)
}

/// The classes `class` i64 `[B]` as rows `[B, classes]` of zeros with `sqrt(classes)` at the class; zeros alone for the
/// class `classes`, which is none, and without classes (`[1, classes]`).
fn one_hot(g: &mut Graph, classes: usize, class: Option<Value>) -> Built {
    let Some(class) = class else {
        return g.constant(Tensor::f32(&[1, classes], vec![0.0; classes]));
    };
    let mut rows = vec![0.0; (classes + 1) * classes];
    for row in 0..classes {
        rows[row * classes + row] = (classes as f32).sqrt();
    }
    let rows = g.constant(Tensor::f32(&[classes + 1, classes], rows))?;
    g.gather(rows, class)
}
