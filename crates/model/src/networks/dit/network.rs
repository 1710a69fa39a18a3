//! The blocks of a DiT, conditioned by adaLN-zero: scales, shifts and gates computed from timestep and label.

use super::embeddings::{EMBEDDING_STD, embed_label, embed_timestep, positions};
use super::{DitConfig, Space};
use crate::graph::{Conv, Dim, Graph, GraphError, Init, Path, QkvLayout, Shape, Value};
use crate::networks::initialisation::xavier_uniform;
use crate::tensor::DType;

type Built = Result<Value, GraphError>;

const EPS: f64 = 1e-6;

/// Width of a block's hidden layer, in widths of a token.
const MLP_RATIO: usize = 4;

/// The whole network as a graph of kind `network`: inputs `x [B,C,S,S]`, `t [B]` (i64, the timestep's index, on
/// latents; f32 on images) and,
/// `with_label`, `label` i64 `[B]` (a class, or `num_classes` for none; without it, no sample has a label); output
/// `y [B, out_channels, S, S]`; taps `layer-0 …`.
///
/// # Errors
/// When the configuration cannot be built.
pub fn dit_graph(config: &DitConfig, with_label: bool) -> Result<Graph, GraphError> {
    let mut g = Graph::new();
    let size = config.input_size;
    let x = g.input("x", DType::F32, Shape::batch(&[config.in_channels, size, size]))?;
    // Published weights were trained on indices; what is trained here is told what its process tells every network.
    let t = match config.space {
        Space::Latent => DType::I64,
        Space::Image => DType::F32,
    };
    let t = g.input("t", t, Shape::batch(&[]))?;
    let label = if with_label { Some(g.input("label", DType::I64, Shape::batch(&[]))?) } else { None };
    let y = dit(&mut g, config, x, t, label)?;
    g.output("y", y);
    Ok(g)
}

/// Adds the network to a graph.
///
/// # Shapes
/// `x [B,C,S,S]`, `t` i64 or f32 `[B]` or `[1]` (the index of the timestep), `label` i64 `[B]`, or `None` for the row
/// of the label table that means "no label". The result is `[B, out_channels, S, S]`: the noise, then, with
/// `learn_sigma`, the variance's interpolation. Each block's output becomes a tap `layer-0 …`, `[B, tokens,
/// hidden_size]`; its feature is the mean over the tokens (axis 1).
///
/// New weights begin as in the published code: every block as the identity, the output as zeros.
///
/// # Errors
/// When the configuration or shapes do not fit, with the layer's path.
pub fn dit(g: &mut Graph, config: &DitConfig, x: Value, t: Value, label: Option<Value>) -> Built {
    config.check().map_err(|message| GraphError::Shape { path: "network".to_string(), message })?;
    let p = Path::root();
    let mut x = tokens(g, &p, config, x)?;

    let t = embed_timestep(g, &p.at("t_embedder"), config, t)?;
    let label = embed_label(g, &p.at("y_embedder"), config, label)?;
    let condition = g.add(t, label)?;
    // Every modulation applies SiLU to the condition first: once is enough.
    let condition = g.silu(condition)?;

    for layer in 0..config.depth {
        x = block(g, &p.at("blocks").at(layer), config, x, condition)?;
        g.tap(&format!("layer-{layer}"), x);
    }

    let p = p.at("final_layer");
    let [shift, scale] = modulation(g, &p, condition, config.hidden_size)?;
    let x = modulated_norm(g, x, shift, scale)?;
    let patch = config.patch_size * config.patch_size * config.out_channels();
    let x = g.linear(&p.at("linear"), x, patch, true)?;
    initialise(g, config)?;
    unpatchify(g, config, x)
}

/// The published initial weights (adaLN-zero).
fn initialise(g: &mut Graph, config: &DitConfig) -> Result<(), GraphError> {
    let (root, width, hidden) = (Path::root(), config.hidden_size, MLP_RATIO * config.hidden_size);
    let xavier = |fan_in, fan_out| xavier_uniform(fan_in, fan_out, 1.0);
    let mut layer = |p: &Path, weight: Init| {
        g.initialise(&p.at("weight"), weight)?;
        g.initialise(&p.at("bias"), Init::Zeros)
    };
    let patch = config.in_channels * config.patch_size * config.patch_size;
    layer(&root.at("x_embedder").at("proj"), xavier(patch, width))?;
    for i in [0, 2] {
        layer(&root.at("t_embedder").at("mlp").at(i), Init::Normal { std: EMBEDDING_STD })?;
    }
    for i in 0..config.depth {
        let p = root.at("blocks").at(i);
        layer(&p.at("attn").at("qkv"), xavier(width, 3 * width))?;
        layer(&p.at("attn").at("proj"), xavier(width, width))?;
        layer(&p.at("mlp").at("fc1"), xavier(width, hidden))?;
        layer(&p.at("mlp").at("fc2"), xavier(hidden, width))?;
        layer(&p.at("adaLN_modulation").at(1), Init::Zeros)?;
    }
    let p = root.at("final_layer");
    layer(&p.at("adaLN_modulation").at(1), Init::Zeros)?;
    layer(&p.at("linear"), Init::Zeros)
}

/// Patches of `x [B,C,S,S]` as tokens with their positions: `[B, tokens, hidden_size]`.
fn tokens(g: &mut Graph, p: &Path, config: &DitConfig, x: Value) -> Built {
    let patch = Conv::same(config.hidden_size, config.patch_size).stride(config.patch_size).padding([0; 4]);
    let x = g.conv2d(&p.at("x_embedder").at("proj"), x, patch)?;
    let batch = g.shape(x).dims()[0];
    let count = config.grid() * config.grid();
    let x = g.reshape(x, Shape::of(vec![batch, config.hidden_size.into(), count.into()]))?;
    let x = g.transpose(x, &[0, 2, 1])?;
    let positions = positions(g, p, config)?;
    g.add(x, positions)
}

/// Attention and a two-layer perceptron, each modulated before and gated after.
fn block(g: &mut Graph, p: &Path, config: &DitConfig, x: Value, condition: Value) -> Built {
    let width = config.hidden_size;
    let [shift_attention, scale_attention, gate_attention, shift_mlp, scale_mlp, gate_mlp] =
        modulation(g, p, condition, width)?;

    let h = modulated_norm(g, x, shift_attention, scale_attention)?;
    let attn = p.at("attn");
    let h = g.linear(&attn.at("qkv"), h, 3 * width, true)?;
    let h = g.attention(&attn, h, config.num_heads, QkvLayout::QkvMajor)?;
    let h = g.linear(&attn.at("proj"), h, width, true)?;
    let h = g.mul(gate_attention, h)?;
    let x = g.add(x, h)?;

    let h = modulated_norm(g, x, shift_mlp, scale_mlp)?;
    let mlp = p.at("mlp");
    let h = g.linear(&mlp.at("fc1"), h, MLP_RATIO * width, true)?;
    let h = g.gelu_tanh(h)?;
    let h = g.linear(&mlp.at("fc2"), h, width, true)?;
    let h = g.mul(gate_mlp, h)?;
    g.add(x, h)
}

/// `N` vectors computed from the condition `[B, width]`, each `[B, 1, width]`, the same for all tokens.
fn modulation<const N: usize>(
    g: &mut Graph,
    p: &Path,
    condition: Value,
    width: usize,
) -> Result<[Value; N], GraphError> {
    let all = g.linear(&p.at("adaLN_modulation").at(1), condition, N * width, true)?;
    let batch = g.shape(all).dims()[0];
    let all = g.reshape(all, Shape::of(vec![batch, Dim::Size(N), Dim::Size(width)]))?;
    let mut parts = [all; N];
    for (i, part) in parts.iter_mut().enumerate() {
        *part = g.slice(all, 1, i, 1)?;
    }
    Ok(parts)
}

/// `norm(x) * (1 + scale) + shift`.
fn modulated_norm(g: &mut Graph, x: Value, shift: Value, scale: Value) -> Built {
    let normalised = g.layer_norm(x, EPS)?;
    let factor = g.affine(scale, 1.0, 1.0)?;
    let scaled = g.mul(normalised, factor)?;
    g.add(scaled, shift)
}

/// Tokens `[B, grid * grid, patch * patch * C]` back as an image `[B, C, S, S]`.
fn unpatchify(g: &mut Graph, config: &DitConfig, x: Value) -> Built {
    let (grid, patch, channels) = (config.grid(), config.patch_size, config.out_channels());
    let batch = g.shape(x).dims()[0];
    let sizes = [grid, grid, patch, patch, channels].map(Dim::Size);
    let x = g.reshape(x, Shape::of(std::iter::once(batch).chain(sizes).collect()))?;
    let x = g.transpose(x, &[0, 5, 1, 3, 2, 4])?;
    let sizes = [channels, config.input_size, config.input_size].map(Dim::Size);
    g.reshape(x, Shape::of(std::iter::once(batch).chain(sizes).collect()))
}
