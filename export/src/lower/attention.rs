//! Softmax attention.
//!
//! Between the pixels of a picture the tokens stay where the picture has them, along the last axis: the linear layers
//! are 1x1 convolutions, nothing is transposed in memory (the runtime's MatMul takes transposed operands), and the
//! norm's scale and shift and the scores' `d^(-1/2)` are folded into the projection.

use std::borrow::Cow;

use ddae_model::graph::{Node, Op, QkvLayout, Shape, Value};
use ddae_model::tensor::Tensor;

use super::plan::PixelAttention;
use super::{Lowered, Lowering};
use crate::onnx::messages::AttributeProto;

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
        };
        let packed = Shape::of(vec![batch, tokens.into(), packed[0].into(), packed[1].into(), d.into()]);
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

    /// Attention between the pixels of a picture `[B,C,H,W]`, from the norm to the output layer.
    pub(super) fn pixel_attention(&mut self, value: Value, plan: &PixelAttention) -> Lowered<()> {
        let graph = self.graph;
        let picture = graph.shape(plan.input);
        let [projection, output] = [plan.projection, plan.output];
        let batch = picture.dims()[0];
        let size = |axis| picture.size(axis).unwrap_or(0);
        let pixels = size(2) * size(3);
        let packed = graph.shape(projection).size(2).unwrap_or(0);
        let d = packed / (3 * plan.heads);

        let mut x = self.operand(plan.input)?;
        if let Some(norm) = plan.norm {
            x = self.normalised(norm, &x)?;
        }
        let (weight, bias) = self.folded_projection(plan, d)?;
        let shape = picture.with(1, packed);
        let x = self.pixel_linear(projection, "packed", &x, weight, Some(bias), &shape)?;

        let per_head = |rows: usize| Shape::of(vec![batch, rows.into(), d.into(), pixels.into()]);
        let target = self.shape(&per_head(3 * plan.heads))?;
        let heads =
            self.part(projection, "heads", "Reshape", &[&x, &target], vec![], &per_head(3 * plan.heads))?;
        let attributes = vec![AttributeProto::int("axis", 1), AttributeProto::int("num_outputs", 3)];
        let qkv =
            self.parts(projection, &["q", "k", "v"], "Split", &[&heads], attributes, &per_head(plan.heads))?;
        let swap = || vec![AttributeProto::ints("perm", [0, 1, 3, 2])];
        let scores = per_head(plan.heads).with(2, pixels);
        let turned = Shape::of([0, 1, 3, 2].map(|axis| per_head(plan.heads).dims()[axis]).to_vec());
        let q = self.part(projection, "q/turned", "Transpose", &[&qkv[0]], swap(), &turned)?;
        let x = self.part(projection, "scores", "MatMul", &[&q, &qkv[1]], vec![], &scores)?;
        let axis = vec![AttributeProto::int("axis", -1)];
        let x = self.part(projection, "softmax", "Softmax", &[&x], axis, &scores)?;
        let x = self.part(projection, "softmax/turned", "Transpose", &[&x], swap(), &scores)?;
        let mixed =
            self.part(projection, "mixed", "MatMul", &[&qkv[2], &x], vec![], &per_head(plan.heads))?;
        let shape = picture.with(1, plan.heads * d);
        let target = self.shape(&shape)?;
        let x = self.part(projection, "picture", "Reshape", &[&mixed, &target], vec![], &shape)?;

        let layer = graph.node(output);
        let weight = self.known(layer.inputs[1])?;
        let [rows, columns] = [weight.shape()[0], weight.shape()[1]];
        let weight = Tensor::f32(&[rows, columns, 1, 1], self.known_f32(layer.inputs[1])?.to_vec());
        let weight = self.initializer(&format!("{}/weight", layer.name), Cow::Owned(weight))?;
        let bias = layer.inputs.get(2).map(|&bias| self.operand(bias)).transpose()?;
        let inputs: Vec<&str> = [x.as_str(), &weight].into_iter().chain(bias.as_deref()).collect();
        self.result(value, "Conv", &inputs, vec![AttributeProto::ints("kernel_shape", [1, 1])])
    }

    fn pixel_linear(
        &mut self,
        layer: Value,
        part: &str,
        x: &str,
        weight: Tensor,
        bias: Option<Tensor>,
        shape: &Shape,
    ) -> Lowered<String> {
        let name = &self.graph.node(layer).name;
        let weight = self.initializer(&format!("{name}/weight"), Cow::Owned(weight))?;
        let bias =
            bias.map(|bias| self.initializer(&format!("{name}/bias"), Cow::Owned(bias))).transpose()?;
        let inputs: Vec<&str> = [x, &weight].into_iter().chain(bias.as_deref()).collect();
        self.part(layer, part, "Conv", &inputs, vec![AttributeProto::ints("kernel_shape", [1, 1])], shape)
    }

    /// The projection `[3 * heads * d, C, 1, 1]` with rows in the order `[3, heads, d]`, taking the norm's result
    /// before scale and shift, its queries scaled by `d^(-1/2)`; and its bias.
    fn folded_projection(&self, plan: &PixelAttention, d: usize) -> Lowered<(Tensor, Tensor)> {
        let graph = self.graph;
        let layer = graph.node(plan.projection);
        let weight = self.known_f32(layer.inputs[1])?;
        let channels = self.known(layer.inputs[1])?.shape()[1];
        let bias = layer.inputs.get(2).map(|&bias| self.known_f32(bias)).transpose()?;
        let norm = match plan.norm.map(|norm| graph.node(norm)) {
            Some(Node { op: Op::GroupNorm { .. }, inputs, .. }) => {
                Some((self.known_f32(inputs[1])?, self.known_f32(inputs[2])?))
            }
            _ => None,
        };
        let rows = 3 * plan.heads * d;
        let (mut folded, mut shifts) = (Vec::with_capacity(rows * channels), Vec::with_capacity(rows));
        for target in 0..rows {
            let (which, head, i) = (target / (plan.heads * d), target / d % plan.heads, target % d);
            let source = match plan.layout {
                QkvLayout::HeadMajor => (3 * head + which) * d + i,
                QkvLayout::QkvMajor => target,
            };
            let scale = if which == 0 { 1.0 / (d as f64).sqrt() } else { 1.0 };
            let mut shift = bias.map_or(0.0, |bias| f64::from(bias[source]));
            for (c, &w) in weight[source * channels..][..channels].iter().enumerate() {
                let (gain, offset) = norm.map_or((1.0, 0.0), |(w, b)| (f64::from(w[c]), f64::from(b[c])));
                folded.push((scale * gain * f64::from(w)) as f32);
                shift += f64::from(w) * offset;
            }
            shifts.push((scale * shift) as f32);
        }
        Ok((Tensor::f32(&[rows, channels, 1, 1], folded), Tensor::f32(&[rows], shifts)))
    }
}
