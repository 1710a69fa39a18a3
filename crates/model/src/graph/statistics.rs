//! Counting parameters and floating-point operations.

use super::{Graph, Node, Op};

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
}
