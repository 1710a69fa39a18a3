//! Softmax attention over tokens, as it stands.

use ddae_model::graph::{Dim, Node, QkvLayout, Shape, Value};

use super::{Lowered, Lowering};
use ddae_onnx::messages::AttributeProto;

impl Lowering<'_, '_> {
    /// `qkv [B, N, 3 * heads * d]` to `[B, N, heads * d]`, as it stands.
    pub(super) fn token_attention(
        &mut self,
        value: Value,
        node: &Node,
        heads: usize,
        layout: QkvLayout,
    ) -> Lowered<()> {
        let qkv = self.operand(node.inputs[0])?;
        let batch = node.shape.dims()[0];
        let size = |axis| node.shape.size(axis).unwrap_or(0);
        let (tokens, d) = (size(1), size(2) / heads);
        let (packed, axis) = match layout {
            QkvLayout::HeadMajor => ([heads, 3, d], 3),
            QkvLayout::QkvMajor => ([3, heads, d], 2),
            QkvLayout::ChannelMajor => ([heads, d, 3], 4),
        };
        let packed = packed.map(Dim::Size);
        let packed = Shape::of([batch, tokens.into()].into_iter().chain(packed).collect());
        let target = self.shape(&packed)?;
        let x = self.part(value, "packed", "Reshape", &[&qkv, &target], vec![], &packed)?;
        let attributes =
            vec![AttributeProto::int("axis", axis as i64), AttributeProto::int("num_outputs", 3)];
        let split = self.parts(value, &["q", "k", "v"], "Split", &[&x], attributes, &packed.with(axis, 1))?;

        let per_token = Shape::of(vec![batch, tokens.into(), heads.into(), d.into()]);
        let target = self.shape(&per_token)?;
        let mut operands = Vec::new();
        for (part, axes) in [("q", [0, 2, 1, 3]), ("k", [0, 2, 3, 1]), ("v", [0, 2, 1, 3])] {
            let x = &split[operands.len()];
            let x =
                self.part(value, &format!("{part}/heads"), "Reshape", &[x, &target], vec![], &per_token)?;
            let turned = Shape::of(axes.iter().map(|&axis: &usize| per_token.dims()[axis]).collect());
            let perm = vec![AttributeProto::ints("perm", axes)];
            operands.push(self.part(value, &format!("{part}/turned"), "Transpose", &[&x], perm, &turned)?);
        }
        let turned = Shape::of([0, 2, 1, 3].map(|axis| per_token.dims()[axis]).to_vec());
        let scores = turned.with(3, tokens);
        let scale = self.scalar(node.dtype, 1.0 / (d as f64).sqrt())?;
        let q = self.part(value, "q/scaled", "Mul", &[&operands[0], &scale], vec![], &turned)?;
        let x = self.part(value, "scores", "MatMul", &[&q, &operands[1]], vec![], &scores)?;
        let x =
            self.part(value, "softmax", "Softmax", &[&x], vec![AttributeProto::int("axis", -1)], &scores)?;
        let x = self.part(value, "mixed", "MatMul", &[&x, &operands[2]], vec![], &turned)?;
        let perm = vec![AttributeProto::ints("perm", [0, 2, 1, 3])];
        let x = self.part(value, "back", "Transpose", &[&x], perm, &per_token)?;
        let target = self.shape(&node.shape)?;
        self.result(value, "Reshape", &[&x, &target], vec![])
    }
}
