//! Counting parameters, floating-point operations and bytes.

use std::collections::HashSet;

use super::{Graph, Node, Op, Value};
use crate::tensor::DType;

impl Graph {
    /// Number of trained values; those of buffers are none.
    pub fn parameter_count(&self) -> usize {
        let trained = |node: &&Node| matches!(node.op, Op::Parameter { trained: true, .. });
        self.nodes.iter().filter(trained).map(|node| node.shape.per_sample()).sum()
    }

    /// Floating-point operations per sample of the convolutions, linear layers and attentions, a multiply-add
    /// counted as two. The rest (norms, activations, additions) is a few percent of a UNet and not counted.
    pub fn flops(&self) -> u64 {
        self.nodes
            .iter()
            .map(|node| {
                let outputs = node.shape.per_sample() as u64;
                match node.op {
                    Op::Conv2d { .. } | Op::Linear => {
                        let weight = self.shape(node.inputs[1]);
                        let products = weight.per_sample() / weight.size(0).unwrap_or(1).max(1);
                        outputs.saturating_mul(2 * products as u64)
                    }
                    Op::Attention { .. } => {
                        outputs.saturating_mul(4 * node.shape.size(1).unwrap_or(1) as u64)
                    }
                    _ => 0,
                }
            })
            .fold(0, u64::saturating_add)
    }

    /// Bytes of all stored values, parameters and buffers, in their own types.
    pub fn stored_bytes(&self) -> u64 {
        self.parameters().map(|(_, node)| bytes(node, 1)).fold(0, u64::saturating_add)
    }

    /// Bytes that a run on `batch` samples has in memory at least at a time, beside the stored values: results that are
    /// still to be used, and the scores of an attention, all heads' at once, as ONNX Runtime computes them.
    pub fn peak_bytes(&self, batch: usize) -> u64 {
        let roots = self.roots();
        let mut last_use: Vec<usize> = (0..self.nodes.len()).collect();
        for (at, node) in self.nodes.iter().enumerate() {
            node.inputs.iter().for_each(|input| last_use[roots[input.index()]] = at);
        }
        for (_, value) in &self.outputs {
            last_use[roots[value.index()]] = self.nodes.len();
        }
        let mut ending = vec![Vec::new(); self.nodes.len() + 1];
        for (value, &end) in last_use.iter().enumerate() {
            ending[end].push(value);
        }
        let size = |at: usize| if roots[at] == at { result_bytes(&self.nodes[at], batch) } else { 0 };
        let (mut live, mut peak) = (0u64, 0u64);
        for (at, node) in self.nodes.iter().enumerate() {
            live = live.saturating_add(size(at));
            // What is used for the last time here may have become the result.
            for &value in ending[at].iter().filter(|&&value| value != at) {
                live = live.saturating_sub(size(value));
            }
            peak = peak.max(live.saturating_add(scores(node, batch)));
            if last_use[at] == at {
                live = live.saturating_sub(size(at));
            }
        }
        peak
    }

    /// Bytes that the backward pass needs of the forward pass at least: what convolutions and linear layers multiplied
    /// with their parameters, as float32.
    pub fn saved_bytes(&self, batch: usize) -> u64 {
        let roots = self.roots();
        let products = self.nodes.iter().filter(|node| matches!(node.op, Op::Conv2d { .. } | Op::Linear));
        let saved: HashSet<usize> = products.map(|node| roots[node.inputs[0].index()]).collect();
        saved.into_iter().map(|at| result_bytes(&self.nodes[at], batch)).fold(0, u64::saturating_add)
    }

    /// For each value the one whose numbers it is: itself, but for reshaped ones.
    fn roots(&self) -> Vec<usize> {
        let mut roots: Vec<usize> = Vec::with_capacity(self.nodes.len());
        for (at, node) in self.nodes.iter().enumerate() {
            let root = match (&node.op, node.inputs.first()) {
                (Op::Reshape, Some(input)) => roots[Value::index(*input)],
                _ => at,
            };
            roots.push(root);
        }
        roots
    }
}

/// Bytes of a result that a run makes; stored values and constants are there before.
fn result_bytes(node: &Node, batch: usize) -> u64 {
    match node.op {
        Op::Parameter { .. } | Op::Constant(_) | Op::WeightNorm { .. } => 0,
        _ => bytes(node, batch),
    }
}

fn bytes(node: &Node, batch: usize) -> u64 {
    let size = match node.dtype {
        DType::U8 => 1,
        DType::F32 => 4,
        DType::F64 | DType::I64 => 8,
    };
    let batch = if node.shape.has_batch() { batch as u64 } else { 1 };
    (node.shape.per_sample() as u64).saturating_mul(batch).saturating_mul(size)
}

/// Bytes of the scores of an attention: every token with every other.
fn scores(node: &Node, batch: usize) -> u64 {
    let Op::Attention { heads, .. } = node.op else { return 0 };
    let tokens = node.shape.size(1).unwrap_or(0) as u64;
    [tokens, heads as u64, batch as u64, 4].into_iter().fold(tokens, u64::saturating_mul)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Path, QkvLayout, Shape};

    #[test]
    fn results_count_while_they_are_used() {
        let mut g = Graph::new();
        let x = g.input("x", DType::F32, Shape::batch(&[3, 100])).expect("an input");
        let a = g.relu(x).expect("a result");
        let b = g.relu(a).expect("a result");
        let sum = g.add(x, b).expect("a result");
        g.output("y", sum);
        // At most x and one result: a may become b, and b the sum.
        assert_eq!(g.peak_bytes(2), 2 * 2 * 300 * 4);
        assert_eq!((g.stored_bytes(), g.saved_bytes(2)), (0, 0));
    }

    #[test]
    fn scores_of_attention_grow_with_the_square_of_its_tokens() {
        let mut g = Graph::new();
        let qkv = g.input("qkv", DType::F32, Shape::batch(&[1000, 3 * 8])).expect("an input");
        let y = g.attention(&Path::root(), qkv, 2, QkvLayout::HeadMajor).expect("a result");
        g.output("y", y);
        assert_eq!(g.peak_bytes(1), 1000 * 8 * 4 + 2 * 1000 * 1000 * 4);
    }
}
