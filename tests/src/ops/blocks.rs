//! Whole blocks of the networks, which an interpreter may fuse.

use ddae_model::graph::{Conv, Graph, Path, QkvLayout, Shape, Value};
use ddae_model::tensor::{DType, Tensor};

use super::suite::{Built, Suite};
use super::windows::image;

/// Adds the cases of this family.
pub fn add(suite: &mut Suite) {
    for (channels, outputs) in [(8, 8), (8, 12), (32, 16)] {
        suite.add(
            format!("residual block {channels} to {outputs} channels with a time embedding"),
            |g, _| {
                let x = image(g, channels, 5, 4)?;
                let t = g.input("t", DType::F32, Shape::batch(&[]))?;
                let emb = time_embedding(g, t)?;
                residual(g, x, emb, outputs)
            },
        );
    }
    suite.add("residual block at a fixed timestep", |g, suite| {
        let x = image(g, 8, 4, 4)?;
        let timestep = g.constant(Tensor::i64(&[1], vec![11]))?;
        let table = suite.constant(g, &[20])?;
        let t = g.gather(table, timestep)?;
        let emb = time_embedding(g, t)?;
        residual(g, x, emb, 8)
    });
    for (heads, channels, height, width) in [(1, 8, 4, 4), (2, 16, 3, 5), (4, 32, 2, 2)] {
        suite.add(format!("attention block {heads} heads of {channels}x{height}x{width}"), |g, _| {
            let x = image(g, channels, height, width)?;
            attention(g, x, heads, true)
        });
    }
    suite.add("attention block without biases", |g, _| {
        let x = image(g, 8, 3, 3)?;
        attention(g, x, 2, false)
    });
    for (heads, channels, height, width) in [(1, 8, 4, 3), (2, 16, 3, 5)] {
        suite.add(
            format!("attention block of unit vectors {heads} heads of {channels}x{height}x{width}"),
            |g, _| {
                let x = image(g, channels, height, width)?;
                unit_attention(g, x, heads, false, false)
            },
        );
    }
    suite.add("attention block of unit vectors with norm and biases", |g, _| {
        let x = image(g, 8, 3, 3)?;
        unit_attention(g, x, 2, true, true)
    });
    suite.add("attention block of unit vectors with a norm", |g, _| {
        let x = image(g, 8, 3, 3)?;
        unit_attention(g, x, 2, true, false)
    });
    suite.add("attention block pooled", |g, _| {
        let x = image(g, 8, 3, 3)?;
        let x = attention(g, x, 2, true)?;
        g.pool(x)
    });
    suite.add("residual block with batch norms", |g, _| {
        let p = Path::root().at("layer1").at(0);
        let x = image(g, 8, 6, 5)?;
        let h = g.conv2d(&p.at("conv1"), x, Conv::same(12, 3).stride(2).without_bias())?;
        let h = g.batch_norm(&p.at("bn1"), h, 1e-5)?;
        let h = g.relu(h)?;
        let h = g.conv2d(&p.at("conv2"), h, Conv::same(12, 3).without_bias())?;
        let h = g.batch_norm(&p.at("bn2"), h, 1e-5)?;
        let shortcut = g.conv2d(&p.at("downsample").at(0), x, Conv::same(12, 1).stride(2).without_bias())?;
        let shortcut = g.batch_norm(&p.at("downsample").at(1), shortcut, 1e-5)?;
        let sum = g.add(h, shortcut)?;
        g.relu(sum)
    });
    suite.add("transformer block modulated for each sample", |g, _| {
        let x = g.input("x", DType::F32, Shape::batch(&[6, 16]))?;
        let c = g.input("c", DType::F32, Shape::batch(&[16]))?;
        transformer(g, x, c)
    });
    suite.add("skip connection joined and normalised", |g, _| {
        let x = image(g, 8, 4, 4)?;
        let small = g.conv2d(&Path::root().at("down"), x, Conv::same(8, 3).stride(2))?;
        let large = g.upsample_nearest(small, 2)?;
        let large = g.conv2d(&Path::root().at("up"), large, Conv::same(8, 3))?;
        let joined = g.concat(&[large, x], 1)?;
        let h = g.group_norm(&Path::root().at("norm"), joined, 8, 1e-5)?;
        let h = g.silu(h)?;
        g.conv2d(&Path::root().at("conv"), h, Conv::same(4, 3))
    });
    suite.add("residual resampling", |g, _| {
        let x = image(g, 8, 4, 6)?;
        let h = g.group_norm(&Path::root().at("norm"), x, 8, 1e-5)?;
        let h = g.silu(h)?;
        let h = g.avg_pool(h, 2)?;
        let h = g.conv2d(&Path::root().at("conv"), h, Conv::same(8, 3))?;
        let shortcut = g.avg_pool(x, 2)?;
        let h = g.add(h, shortcut)?;
        let large = g.upsample_nearest(h, 2)?;
        g.add(large, x)
    });
}

/// Sinusoids of `t [N]` through two linear layers: `[N, 16]`.
fn time_embedding(g: &mut Graph, t: Value) -> Built {
    let frequencies = g.constant(Tensor::f32(&[1, 4], vec![1.0, 0.3, 0.1, 0.03]))?;
    let batch = g.shape(t).dims()[0];
    let t = g.reshape(t, Shape::of(vec![batch, 1.into()]))?;
    let angles = g.mul(t, frequencies)?;
    let (sin, cos) = (g.sin(angles)?, g.cos(angles)?);
    let emb = g.concat(&[sin, cos], 1)?;
    let emb = g.linear(&Path::root().at("lin1"), emb, 16, true)?;
    let emb = g.silu(emb)?;
    let emb = g.linear(&Path::root().at("lin2"), emb, 16, true)?;
    g.silu(emb)
}

/// Attention and a multi-layer perceptron on `x [B, N, 16]`, modulated by `c [B, 16]`.
fn transformer(g: &mut Graph, x: Value, c: Value) -> Built {
    let p = Path::root().at("blocks").at(0);
    let c = g.silu(c)?;
    let c = g.linear(&p.at("adaLN_modulation"), c, 4 * 16, true)?;
    let c = g.reshape(c, Shape::batch(&[1, 4 * 16]))?;
    let part = |g: &mut Graph, i: usize| g.slice(c, 2, i * 16, 16);
    let (scale1, gate1, scale2, gate2) = (part(g, 0)?, part(g, 1)?, part(g, 2)?, part(g, 3)?);
    let h = g.layer_norm(x, 1e-6)?;
    let h = g.mul(h, scale1)?;
    let h = g.linear(&p.at("qkv"), h, 48, true)?;
    let h = g.attention(&p, h, 4, QkvLayout::QkvMajor)?;
    let h = g.linear(&p.at("proj"), h, 16, true)?;
    let h = g.mul(h, gate1)?;
    let x = g.add(x, h)?;
    let h = g.layer_norm(x, 1e-6)?;
    let h = g.mul(h, scale2)?;
    let h = g.linear(&p.at("fc1"), h, 64, true)?;
    let h = g.gelu_tanh(h)?;
    let h = g.linear(&p.at("fc2"), h, 16, true)?;
    let h = g.mul(h, gate2)?;
    g.add(x, h)
}

fn residual(g: &mut Graph, x: Value, emb: Value, outputs: usize) -> Built {
    let p = Path::root().at("res");
    let h = g.group_norm(&p.at("norm1"), x, 8, 1e-5)?;
    let h = g.silu(h)?;
    let h = g.conv2d(&p.at("conv1"), h, Conv::same(outputs, 3))?;
    let emb = g.linear(&p.at("time_emb"), emb, outputs, true)?;
    let emb = g.per_image(emb)?;
    let h = g.add(h, emb)?;
    let h = g.group_norm(&p.at("norm2"), h, 4, 1e-5)?;
    let h = g.silu(h)?;
    let h = g.dropout(h, 0.1)?;
    let h = g.conv2d(&p.at("conv2"), h, Conv::same(outputs, 3))?;
    let shortcut = match g.shape(x).size(1) {
        Some(channels) if channels != outputs => g.conv2d(&p.at("shortcut"), x, Conv::same(outputs, 1))?,
        _ => x,
    };
    g.add(h, shortcut)
}

fn attention(g: &mut Graph, x: Value, heads: usize, bias: bool) -> Built {
    let p = Path::root().at("attn");
    let shape = g.shape(x).clone();
    let [channels, height, width] = [1, 2, 3].map(|axis| shape.size(axis).expect("an image"));
    let h = g.group_norm(&p.at("norm"), x, 4, 1e-5)?;
    let h = g.reshape(h, Shape::batch(&[channels, height * width]))?;
    let h = g.transpose(h, &[0, 2, 1])?;
    let h = g.linear(&p.at("projection"), h, 3 * channels, bias)?;
    let h = g.attention(&p, h, heads, QkvLayout::HeadMajor)?;
    let h = g.linear(&p.at("output"), h, channels, bias)?;
    let h = g.transpose(h, &[0, 2, 1])?;
    let h = g.reshape(h, shape)?;
    g.add(h, x)
}

/// Attention on queries, keys and values that have a root mean square of 1 in each head.
fn unit_attention(g: &mut Graph, x: Value, heads: usize, norm: bool, bias: bool) -> Built {
    let p = Path::root().at("attn");
    let shape = g.shape(x).clone();
    let [channels, height, width] = [1, 2, 3].map(|axis| shape.size(axis).expect("an image"));
    let pixels = height * width;
    let h = if norm { g.plain_group_norm(x, 4, 1e-5)? } else { x };
    let h = g.reshape(h, Shape::batch(&[channels, pixels]))?;
    let h = g.transpose(h, &[0, 2, 1])?;
    let h = g.linear(&p.at("projection"), h, 3 * channels, bias)?;
    let h = g.reshape(h, Shape::batch(&[pixels, 3 * heads, channels / heads]))?;
    let h = g.rms_norm(h, 3, 1e-3)?;
    let h = g.reshape(h, Shape::batch(&[pixels, 3 * channels]))?;
    let h = g.attention(&p, h, heads, QkvLayout::HeadMajor)?;
    let h = g.linear(&p.at("output"), h, channels, bias)?;
    let h = g.transpose(h, &[0, 2, 1])?;
    let h = g.reshape(h, shape)?;
    g.add(h, x)
}
