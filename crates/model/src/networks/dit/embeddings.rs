//! What the blocks of a DiT start from: positions of the tokens, the timestep, the label.

use super::DitConfig;
use crate::graph::{Graph, GraphError, Init, Path, Value};
use crate::networks::sinusoids::Sinusoids;
use crate::tensor::{DType, Tensor};

type Built = Result<Value, GraphError>;

/// Length of the sinusoids of the timestep.
const FREQUENCY_EMBEDDING: usize = 256;

/// Standard deviation of the new weights of the embeddings of timestep and label.
pub(super) const EMBEDDING_STD: f64 = 0.02;

/// The fixed position of each token, `[1, grid * grid, width]`, tokens in row-major order, computed in float64.
///
/// The first half of a token's vector is of its column, the second half of its row. Half a vector is the sines and
/// then the cosines of `position * 10000^(-k / (width / 4))`, `k = 0 .. width / 4`.
pub fn position_table(grid: usize, width: usize) -> Tensor {
    let count = width / 4;
    let angle = |position: usize, k: usize| position as f64 * 10_000f64.powf(-(k as f64) / count as f64);
    let mut values = Vec::with_capacity(grid * grid * width);
    for row in 0..grid {
        for column in 0..grid {
            for position in [column, row] {
                values.extend((0..count).map(|k| angle(position, k).sin() as f32));
                values.extend((0..count).map(|k| angle(position, k).cos() as f32));
            }
        }
    }
    Tensor::f32(&[1, grid * grid, 4 * count], values)
}

/// The position table as a value of the graph: the checkpoint's buffer `pos_embed`, or the formula.
pub(super) fn positions(g: &mut Graph, p: &Path, config: &DitConfig) -> Built {
    let (grid, width) = (config.grid(), config.hidden_size);
    if config.stored_positions {
        let formula = position_table(grid, width).as_f32().unwrap_or_default().into();
        g.buffer(&p.at("pos_embed"), &[1, grid * grid, width], Init::Values(formula))
    } else {
        g.constant(position_table(grid, width))
    }
}

/// Cosines and sines of `t [B]` (integers or floats), through two linear layers: `[B, hidden_size]`.
pub(super) fn embed_timestep(g: &mut Graph, p: &Path, config: &DitConfig, t: Value) -> Built {
    let t = if g.node(t).dtype == DType::F32 { t } else { g.cast(t, DType::F32)? };
    let sinusoids = Sinusoids { width: FREQUENCY_EMBEDDING, shift: 0.0, cosines_first: true }.of(g, t)?;
    let hidden = g.linear(&p.at("mlp").at(0), sinusoids, config.hidden_size, true)?;
    let hidden = g.silu(hidden)?;
    g.linear(&p.at("mlp").at(2), hidden, config.hidden_size, true)
}

/// The rows of the label table at `label [B]`, `[B, hidden_size]`; without labels its last row, `[1, hidden_size]`: that for
/// no label, or the only one.
pub(super) fn embed_label(g: &mut Graph, p: &Path, config: &DitConfig, label: Option<Value>) -> Built {
    let shape = [config.labels(), config.hidden_size];
    let init = Init::Normal { std: EMBEDDING_STD };
    let table = g.parameter(&p.at("embedding_table").at("weight"), &shape, init)?;
    match label {
        Some(label) => g.gather(table, label),
        None if config.null_label || config.num_classes == 1 => g.slice(table, 0, config.labels() - 1, 1),
        None => {
            let message = format!(
                "this DiT knows {} classes and none for 'no label' (null_label is false): it computes nothing without a \
                 label; take it as an input of --graph network, with --label",
                config.num_classes
            );
            Err(GraphError::Shape { path: p.to_string(), message })
        }
    }
}
