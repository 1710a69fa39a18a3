//! Softmax attention.

use ndarray::{Array2, Array3, ArrayView3, s};

use super::Real;
use crate::graph::QkvLayout;

/// For each head, `softmax(q k^T / sqrt(d)) v`, of packed projections `qkv [B, N, heads * 3 * d]`: `[B, N, heads * d]`.
pub fn attention<F: Real>(qkv: ArrayView3<F>, heads: usize, layout: QkvLayout) -> Array3<F> {
    let (batch, tokens, packed) = qkv.dim();
    let d = packed / 3 / heads;
    let scale = F::rounded(1.0 / (d as f64).sqrt());
    let mut result = Array3::zeros((batch, tokens, heads * d));
    for sample in 0..batch {
        for head in 0..heads {
            // Part 0 are the queries, 1 the keys, 2 the values.
            let part = |part: usize| {
                let (start, length, step) = match layout {
                    QkvLayout::HeadMajor => ((head * 3 + part) * d, d, 1),
                    QkvLayout::QkvMajor => ((part * heads + head) * d, d, 1),
                    QkvLayout::ChannelMajor => (head * 3 * d + part, 3 * d - part, 3),
                };
                qkv.slice(s![sample, .., start..start + length; step])
            };
            let mut scores = part(0).dot(&part(1).t());
            scores.mapv_inplace(|score| score * scale);
            softmax(&mut scores);
            result.slice_mut(s![sample, .., head * d..(head + 1) * d]).assign(&scores.dot(&part(2)));
        }
    }
    result
}

/// Each row as probabilities. The largest score is subtracted first, so that no exponential overflows.
fn softmax<F: Real>(scores: &mut Array2<F>) {
    for mut row in scores.rows_mut() {
        let largest = row.fold(F::neg_infinity(), |a, &b| a.max(b));
        row.mapv_inplace(|score| (score - largest).exp());
        let sum = row.sum();
        row.mapv_inplace(|weight| weight / sum);
    }
}
