//! Normalisation over groups of channels.

use ddae_model::graph::{Node, Op, Shape, Value};
use ddae_model::tensor::Tensor;

use super::{Lowered, Lowering};
use ddae_onnx::messages::AttributeProto;

impl Lowering<'_, '_> {
    /// Scale and shift in one operation: a batch norm of mean 0 and variance 1.
    pub(super) fn group_norm(&mut self, value: Value, node: &Node, x: &str) -> Lowered<()> {
        let normal = self.normalised(value, x)?;
        let channels = node.shape.size(1).unwrap_or(0);
        let (mean, variance) = (self.filled(0.0, channels)?, self.filled(1.0, channels)?);
        let [weight, bias] = [self.operand(node.inputs[1])?, self.operand(node.inputs[2])?];
        let exact = vec![AttributeProto::float("epsilon", 0.0)];
        let inputs = [normal.as_str(), &weight, &bias, &mean, &variance];
        self.result(value, "BatchNormalization", &inputs, exact)
    }

    /// A vector of one value.
    pub(super) fn filled(&mut self, value: f32, length: usize) -> Lowered<String> {
        self.shared(format!("{value:?}x{length}"), || Tensor::f32(&[length], vec![value; length]))
    }

    /// The group norm `norm` of `x` without its scale and shift. InstanceNormalization over the groups' elements is
    /// several times faster than the GroupNormalization operator, which the runtime has no kernel for.
    pub(super) fn normalised(&mut self, norm: Value, x: &str) -> Lowered<String> {
        let node = self.graph.node(norm);
        let Op::GroupNorm { groups, eps } = node.op else { return Ok(x.to_string()) };
        let elements = node.shape.with(0, 1).per_sample() / groups;
        let grouped = Shape::of(vec![node.shape.dims()[0], groups.into(), elements.into()]);
        let to_groups = self.integers(&[0, groups as i64, -1])?;
        let (ones, zeros) = (self.filled(1.0, groups)?, self.filled(0.0, groups)?);
        let x = self.part(norm, "grouped", "Reshape", &[x, &to_groups], vec![], &grouped)?;
        let eps = vec![AttributeProto::float("epsilon", eps)];
        let x =
            self.part(norm, "normalised", "InstanceNormalization", &[&x, &ones, &zeros], eps, &grouped)?;
        let to_image = self.shape(&node.shape)?;
        self.part(norm, "ungrouped", "Reshape", &[&x, &to_image], vec![], &node.shape)
    }
}
