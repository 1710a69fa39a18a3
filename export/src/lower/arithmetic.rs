//! Elementwise operations, linear layers and table look-ups.

use ddae_model::graph::{Node, Op, Value};

use super::{Lowered, Lowering};
use ddae_onnx::initializer::Initializer;
use ddae_onnx::messages::{AttributeProto, element_type};

impl Lowering<'_, '_> {
    pub(super) fn arithmetic(&mut self, value: Value, node: &Node) -> Lowered<()> {
        let x = self.operand(node.inputs[0])?;
        match &node.op {
            Op::Linear => self.linear(value, node, &x),
            Op::Gather => {
                let index = self.operand(node.inputs[1])?;
                self.result(value, "Gather", &[&x, &index], vec![AttributeProto::int("axis", 0)])
            }
            Op::GeluTanh => {
                let approximate = vec![AttributeProto::text("approximate", "tanh")];
                self.result(value, "Gelu", &[&x], approximate)
            }
            Op::Silu => {
                // The runtime makes one operation of these two.
                let gate = self.part(value, "sigmoid", "Sigmoid", &[&x], vec![], &node.shape)?;
                self.result(value, "Mul", &[&x, &gate], vec![])
            }
            Op::Add | Op::Sub | Op::Mul | Op::Div => {
                let other = self.operand(node.inputs[1])?;
                self.result(value, node.op.name(), &[&x, &other], vec![])
            }
            Op::Affine { factor, shift } => self.affine(value, node, x, *factor, *shift),
            Op::Clamp { min, max } => {
                let (min, max) = (self.scalar(node.dtype, *min)?, self.scalar(node.dtype, *max)?);
                self.result(value, "Clip", &[&x, &min, &max], vec![])
            }
            Op::Cast(dtype) => {
                let to = AttributeProto::int("to", element_type(*dtype).into());
                self.result(value, "Cast", &[&x], vec![to])
            }
            other => self.result(value, other.name(), &[&x], vec![]),
        }
    }

    /// `factor * x + shift`, leaving out what does nothing.
    fn affine(&mut self, value: Value, node: &Node, x: String, factor: f64, shift: f64) -> Lowered<()> {
        match (factor != 1.0, shift != 0.0) {
            (true, true) => {
                let factor = self.scalar(node.dtype, factor)?;
                let scaled = self.part(value, "scaled", "Mul", &[&x, &factor], vec![], &node.shape)?;
                let shift = self.scalar(node.dtype, shift)?;
                self.result(value, "Add", &[&scaled, &shift], vec![])
            }
            (true, false) => {
                let factor = self.scalar(node.dtype, factor)?;
                self.result(value, "Mul", &[&x, &factor], vec![])
            }
            (false, true) => {
                let shift = self.scalar(node.dtype, shift)?;
                self.result(value, "Add", &[&x, &shift], vec![])
            }
            (false, false) => self.result(value, "Identity", &[&x], vec![]),
        }
    }

    /// Gemm on `[B, I]`, else a product with the transposed weight.
    fn linear(&mut self, value: Value, node: &Node, x: &str) -> Lowered<()> {
        if node.shape.rank() == 2 {
            let weight = self.operand(node.inputs[1])?;
            let bias = node.inputs.get(2).map(|&bias| self.operand(bias)).transpose()?;
            let inputs: Vec<&str> = [x, &weight].into_iter().chain(bias.as_deref()).collect();
            return self.result(value, "Gemm", &inputs, vec![AttributeProto::int("transB", 1)]);
        }
        self.known_f32(node.inputs[1])?;
        let weight = self.known(node.inputs[1])?.clone();
        let weight = self.stored(Initializer::turned(format!("{}/weight", node.name), weight))?;
        match node.inputs.get(2) {
            None => self.result(value, "MatMul", &[x, &weight], vec![]),
            Some(&bias) => {
                let product = self.part(value, "product", "MatMul", &[x, &weight], vec![], &node.shape)?;
                let bias = self.operand(bias)?;
                self.result(value, "Add", &[&product, &bias], vec![])
            }
        }
    }
}
