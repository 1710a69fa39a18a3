//! Counting parameters and floating-point operations.

use super::{Graph, Op};

impl Graph {
    /// Number of trained values.
    pub fn parameter_count(&self) -> usize {
        self.parameters().map(|(_, node)| node.shape.per_sample()).sum()
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
                        2 * outputs * weight.per_sample() as u64 / weight.size(0).unwrap_or(1) as u64
                    }
                    Op::Attention { .. } => 4 * outputs * node.shape.size(1).unwrap_or(1) as u64,
                    _ => 0,
                }
            })
            .sum()
    }
}
