//! Operations that move elements, and means.

use ddae_model::graph::{Node, Op, Value};
use ddae_model::tensor::DType;

use super::{Lowered, Lowering};
use ddae_onnx::messages::AttributeProto;

impl Lowering<'_, '_> {
    pub(super) fn shaping(&mut self, value: Value, node: &Node) -> Lowered<()> {
        let x = self.operand(node.inputs[0])?;
        match &node.op {
            Op::Transpose { axes } => {
                let perm = AttributeProto::ints("perm", axes.iter().copied());
                self.result(value, "Transpose", &[&x], vec![perm])
            }
            Op::Concat { axis } => {
                let parts: Vec<String> =
                    node.inputs.iter().map(|&part| self.operand(part)).collect::<Lowered<_>>()?;
                let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
                self.result(value, "Concat", &parts, vec![AttributeProto::int("axis", *axis as i64)])
            }
            Op::Slice { axis, start, length } => {
                let start_at = self.integers(&[*start as i64])?;
                let end = self.integers(&[(start + length) as i64])?;
                let axis = self.integers(&[*axis as i64])?;
                self.result(value, "Slice", &[&x, &start_at, &end, &axis], vec![])
            }
            Op::Pad { axis, before, after } => {
                let mut pads = vec![0; 2 * node.shape.rank()];
                pads[*axis] = *before as i64;
                pads[node.shape.rank() + axis] = *after as i64;
                let pads = self.integers(&pads)?;
                self.result(value, "Pad", &[&x, &pads], vec![])
            }
            Op::Mean { axes } => self.mean(value, node, &x, axes),
            _ => {
                let shape = self.shape(&node.shape)?;
                self.result(value, "Reshape", &[&x, &shape], vec![])
            }
        }
    }

    fn mean(&mut self, value: Value, node: &Node, x: &str, axes: &[usize]) -> Lowered<()> {
        let from = self.graph.shape(node.inputs[0]);
        if axes == [2, 3] && from.rank() == 4 && node.dtype == DType::F32 {
            // Unlike ReduceMean this one works in the blocked layout that the runtime gives convolutions.
            let pooled = from.with(2, 1).with(3, 1);
            let pooled = self.part(value, "pooled", "GlobalAveragePool", &[x], vec![], &pooled)?;
            return self.result(value, "Flatten", &[&pooled], vec![AttributeProto::int("axis", 1)]);
        }
        let axes: Vec<i64> = axes.iter().map(|&axis| axis as i64).collect();
        let axes = self.integers(&axes)?;
        self.result(value, "ReduceMean", &[x, &axes], vec![AttributeProto::int("keepdims", 0)])
    }
}
