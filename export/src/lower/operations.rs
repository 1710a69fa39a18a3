//! Every operation by itself.

use ddae_model::graph::{Node, Op, Value, Window};
use ddae_model::tensor::{DType, Tensor};
use ddae_onnx::initializer::Initializer;
use ddae_onnx::messages::{AttributeProto, element_type};

use super::convolution::conv_attributes;
use super::normalisation::Root;
use super::{Lowered, Lowering};

impl Lowering<'_, '_> {
    pub(super) fn node(&mut self, value: Value, node: &Node) -> Lowered<()> {
        // Inputs are declared, and constants are added when they are used.
        let Some(&first) = node.inputs.first() else { return Ok(()) };
        let x = self.operand(first)?;
        match &node.op {
            // Convolutions are written with what is joined with them.
            Op::Input | Op::Parameter { .. } | Op::Constant(_) | Op::Conv2d { .. } => Ok(()),
            Op::Dropout { .. } => {
                self.names[value.index()] = Some(x);
                Ok(())
            }
            Op::Relu | Op::Sqrt | Op::Exp | Op::Sin | Op::Cos => {
                self.result(value, node.op.name(), &[&x], vec![])
            }
            Op::Add | Op::Sub | Op::Mul | Op::Div => {
                let other = self.operand(node.inputs[1])?;
                self.result(value, node.op.name(), &[&x, &other], vec![])
            }
            Op::Affine { factor, shift } => self.affine(value, node, &x, *factor, *shift),
            Op::Silu => {
                // The runtime makes one operation of these two.
                let gate = self.part(value, "sigmoid", "Sigmoid", &[&x], vec![], &node.shape)?;
                self.result(value, "Mul", &[&x, &gate], vec![])
            }
            Op::GeluTanh => {
                let approximate = vec![AttributeProto::text("approximate", "tanh")];
                self.result(value, "Gelu", &[&x], approximate)
            }
            Op::Clamp { min, max } => {
                let (min, max) = (self.scalar(node.dtype, *min)?, self.scalar(node.dtype, *max)?);
                self.result(value, "Clip", &[&x, &min, &max], vec![])
            }
            Op::Cast(dtype) => {
                let to = AttributeProto::int("to", element_type(*dtype).into());
                self.result(value, "Cast", &[&x], vec![to])
            }
            Op::Linear => self.linear(value, node, &x),
            Op::Gather => {
                let index = self.operand(node.inputs[1])?;
                self.result(value, "Gather", &[&x, &index], vec![AttributeProto::int("axis", 0)])
            }
            Op::Reshape => {
                let shape = self.shape(&node.shape)?;
                self.result(value, "Reshape", &[&x, &shape], vec![])
            }
            Op::Transpose { axes } => {
                let perm = AttributeProto::ints("perm", axes.iter().copied());
                self.result(value, "Transpose", &[&x], vec![perm])
            }
            Op::Concat { axis } => {
                let parts = self.operands(&node.inputs)?;
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
            Op::UpsampleNearest { factor } => self.upsample(value, &x, *factor),
            Op::ResizeBilinear { height, width } => self.resize(value, &x, [*height, *width]),
            Op::MaxPool(window) => self.result(value, "MaxPool", &[&x], window_attributes(*window)),
            Op::AvgPool { window, count_include_pad } => {
                let mut attributes = window_attributes(*window);
                attributes.push(AttributeProto::int("count_include_pad", i64::from(*count_include_pad)));
                self.result(value, "AveragePool", &[&x], attributes)
            }
            Op::GroupNorm { .. } => self.group_norm(value, node, &x),
            Op::BatchNorm { eps, .. } => {
                // The runtime folds it into the convolution before it.
                let inputs = self.operands(&node.inputs)?;
                let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
                let eps = vec![AttributeProto::float("epsilon", *eps)];
                self.result(value, "BatchNormalization", &inputs, eps)
            }
            Op::LayerNorm { eps } => {
                let features = node.shape.size(node.shape.rank() - 1).unwrap_or(0);
                let ones = self.filled(1.0, features)?;
                let attributes =
                    vec![AttributeProto::int("axis", -1), AttributeProto::float("epsilon", *eps)];
                self.result(value, "LayerNormalization", &[&x, &ones], attributes)
            }
            Op::LogSoftmax => self.result(value, "LogSoftmax", &[&x], vec![AttributeProto::int("axis", -1)]),
            Op::RmsNorm { axis, eps } => {
                let root = Root { reduce: "ReduceMean", axis: *axis, eps: *eps };
                let divisor = self.root(value, "", &x, &node.shape, root)?;
                self.result(value, "Div", &[&x, &divisor], vec![])
            }
            // Its input is a parameter, so it was folded.
            Op::WeightNorm { .. } => Ok(()),
            Op::Attention { heads, layout } => self.token_attention(value, node, *heads, *layout),
        }
    }

    fn operands(&mut self, values: &[Value]) -> Lowered<Vec<String>> {
        values.iter().map(|&value| self.operand(value)).collect()
    }

    /// `factor * x + shift`, leaving out what does nothing.
    fn affine(&mut self, value: Value, node: &Node, x: &str, factor: f64, shift: f64) -> Lowered<()> {
        let factor = (factor != 1.0).then(|| self.scalar(node.dtype, factor)).transpose()?;
        let shift = (shift != 0.0).then(|| self.scalar(node.dtype, shift)).transpose()?;
        match (factor, shift) {
            (Some(factor), Some(shift)) => {
                let scaled = self.part(value, "scaled", "Mul", &[x, &factor], vec![], &node.shape)?;
                self.result(value, "Add", &[&scaled, &shift], vec![])
            }
            (Some(factor), None) => self.result(value, "Mul", &[x, &factor], vec![]),
            (None, Some(shift)) => self.result(value, "Add", &[x, &shift], vec![]),
            (None, None) => self.result(value, "Identity", &[x], vec![]),
        }
    }

    /// Gemm on `[B, I]`, else a product with the transposed weight.
    fn linear(&mut self, value: Value, node: &Node, x: &str) -> Lowered<()> {
        if node.shape.rank() == 2 {
            let weights = self.operands(&node.inputs[1..])?;
            let inputs: Vec<&str> = std::iter::once(x).chain(weights.iter().map(String::as_str)).collect();
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

    fn upsample(&mut self, value: Value, x: &str, factor: usize) -> Lowered<()> {
        let scale = factor as f32;
        let scales = || Tensor::f32(&[4], vec![1.0, 1.0, scale, scale]);
        let scales = self.shared(format!("scales({factor})"), scales)?;
        let attributes = vec![
            AttributeProto::text("mode", "nearest"),
            AttributeProto::text("nearest_mode", "floor"),
            AttributeProto::text("coordinate_transformation_mode", "asymmetric"),
        ];
        self.result(value, "Resize", &[x, "", &scales], attributes)
    }

    fn resize(&mut self, value: Value, x: &str, size: [usize; 2]) -> Lowered<()> {
        // Of two axes only, so that the batch stays free; and not by scales, which may be a pixel off when rounded.
        let sizes = self.integers(&size.map(|side| side as i64))?;
        let attributes = vec![
            AttributeProto::text("mode", "linear"),
            AttributeProto::text("coordinate_transformation_mode", "half_pixel"),
            AttributeProto::ints("axes", [2, 3]),
        ];
        self.result(value, "Resize", &[x, "", "", &sizes], attributes)
    }
}

fn window_attributes(window: Window) -> Vec<AttributeProto> {
    let Window { kernel, stride, padding } = window;
    conv_attributes([kernel; 2], stride, [padding; 4])
}
