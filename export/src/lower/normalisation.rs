//! Normalisation over groups of channels, and division by root mean squares.

use ddae_model::graph::{Node, Op, Shape, Value};
use ddae_model::tensor::Tensor;
use ddae_onnx::messages::AttributeProto;

use super::{Lowered, Lowering};

impl Lowering<'_, '_> {
    pub(super) fn group_norm(&mut self, value: Value, node: &Node, x: &str) -> Lowered<()> {
        let [weight, bias] = match node.inputs[1..] {
            [weight, bias] => [weight, bias],
            _ => {
                let normal = self.normalised_groups(value, x)?;
                let to_image = self.shape(&node.shape)?;
                return self.result(value, "Reshape", &[&normal, &to_image], vec![]);
            }
        };
        // Scale and shift in one operation: a batch norm of mean 0 and variance 1.
        let normal = self.normalised(value, x)?;
        let channels = node.shape.size(1).unwrap_or(0);
        let (mean, variance) = (self.filled(0.0, channels)?, self.filled(1.0, channels)?);
        let [weight, bias] = [self.operand(weight)?, self.operand(bias)?];
        let exact = vec![AttributeProto::float("epsilon", 0.0)];
        let inputs = [normal.as_str(), &weight, &bias, &mean, &variance];
        self.result(value, "BatchNormalization", &inputs, exact)
    }

    /// A vector of one value.
    pub(super) fn filled(&mut self, value: f32, length: usize) -> Lowered<String> {
        self.shared(format!("{value:?}x{length}"), || Tensor::f32(&[length], vec![value; length]))
    }

    /// The group norm `norm` of `x` without its scale and shift.
    pub(super) fn normalised(&mut self, norm: Value, x: &str) -> Lowered<String> {
        let node = self.graph.node(norm);
        let x = self.normalised_groups(norm, x)?;
        let to_image = self.shape(&node.shape)?;
        self.part(norm, "ungrouped", "Reshape", &[&x, &to_image], vec![], &node.shape)
    }

    /// The same as groups `[B, groups, elements]`. InstanceNormalization over the groups' elements is several times
    /// faster than the GroupNormalization operator, which the runtime has no kernel for.
    fn normalised_groups(&mut self, norm: Value, x: &str) -> Lowered<String> {
        let node = self.graph.node(norm);
        let Op::GroupNorm { groups, eps } = node.op else { return Ok(x.to_string()) };
        let elements = node.shape.with(0, 1).per_sample() / groups;
        let grouped = Shape::of(vec![node.shape.dims()[0], groups.into(), elements.into()]);
        let to_groups = self.integers(&[0, groups as i64, -1])?;
        let (ones, zeros) = (self.filled(1.0, groups)?, self.filled(0.0, groups)?);
        let x = self.part(norm, "grouped", "Reshape", &[x, &to_groups], vec![], &grouped)?;
        let eps = vec![AttributeProto::float("epsilon", eps)];
        self.part(norm, "normalised", "InstanceNormalization", &[&x, &ones, &zeros], eps, &grouped)
    }

    /// The root along an axis of `x`, which stays as one of size 1: with the division by it, what runtimes know as an RMS
    /// norm.
    pub(super) fn root(
        &mut self,
        value: Value,
        prefix: &str,
        x: &str,
        shape: &Shape,
        root: Root,
    ) -> Lowered<String> {
        let dtype = self.graph.node(value).dtype;
        let (two, eps) = (self.scalar(dtype, 2.0)?, self.scalar(dtype, root.eps)?);
        let axes = self.integers(&[root.axis as i64])?;
        let reduced = shape.with(root.axis, 1);
        let keep = vec![AttributeProto::int("keepdims", 1)];
        let mut part = |name: &str, op: &str, inputs: &[&str], attributes, shape: &Shape| {
            self.part(value, &format!("{prefix}{name}"), op, inputs, attributes, shape)
        };
        let x = part("squares", "Pow", &[x, &two], vec![], shape)?;
        let x = part("reduced", root.reduce, &[&x, &axes], keep, &reduced)?;
        let x = part("above_0", "Add", &[&x, &eps], vec![], &reduced)?;
        part("root", "Sqrt", &[&x], vec![], &reduced)
    }
}

/// `sqrt(reduce(x^2) + eps)`.
pub(super) struct Root {
    /// `ReduceMean` or `ReduceSum`.
    pub reduce: &'static str,
    pub axis: usize,
    /// Added inside the root.
    pub eps: f64,
}
