//! What else images go through.

use ddae_model::graph::{Node, Op, Shape, Value, Window};
use ddae_onnx::messages::{AttributeProto, element_type};
use ddae_onnx::operators::{AVERAGE_POOL, DOMAIN};

use super::{last, last_axis, sum, vector};
use crate::lower::normalisation::Root;
use crate::lower::{Lowered, Lowering};

impl Lowering<'_, '_> {
    /// Writes an operation on channels-last images; false where there is none such, or none of its operands is one.
    pub(super) fn operation_last(&mut self, value: Value, node: &Node) -> Lowered<bool> {
        let Some(&x) = node.inputs.first() else { return Ok(false) };
        let has_image = node.inputs.iter().any(|&input| self.image(input).is_some());
        if !has_image {
            return Ok(false);
        }
        let from = self.graph.shape(x).clone();
        match &node.op {
            Op::Dropout { .. } => {
                let image = self.last(x)?;
                self.keep_image(value, image.name, image.pending);
            }
            Op::Relu | Op::Sqrt | Op::Exp | Op::Sin | Op::Cos => {
                let x = self.settled(x)?;
                self.image_result(value, node.op.name(), &[&x], vec![], None)?;
            }
            Op::Silu => {
                let x = self.settled(x)?;
                let gate = self.part(value, "sigmoid", "Sigmoid", &[&x], vec![], &last(&node.shape))?;
                self.image_result(value, "Mul", &[&x, &gate], vec![], None)?;
            }
            Op::GeluTanh => {
                let x = self.settled(x)?;
                let approximate = vec![AttributeProto::text("approximate", "tanh")];
                self.image_result(value, "Gelu", &[&x], approximate, None)?;
            }
            Op::Add | Op::Sub | Op::Mul | Op::Div => return self.arithmetic_last(value, node),
            Op::Affine { factor, shift } => {
                let mut x = self.settled(x)?;
                if *factor != 1.0 {
                    let factor = self.scalar(node.dtype, *factor)?;
                    x = self.part(value, "scaled", "Mul", &[&x, &factor], vec![], &last(&node.shape))?;
                }
                if *shift != 0.0 {
                    let shift = self.scalar(node.dtype, *shift)?;
                    x = self.part(value, "shifted", "Add", &[&x, &shift], vec![], &last(&node.shape))?;
                }
                self.keep_image(value, x, None);
            }
            Op::Clamp { min, max } => {
                let x = self.settled(x)?;
                let (min, max) = (self.scalar(node.dtype, *min)?, self.scalar(node.dtype, *max)?);
                self.image_result(value, "Clip", &[&x, &min, &max], vec![], None)?;
            }
            Op::Cast(dtype) => {
                let x = self.settled(x)?;
                let to = AttributeProto::int("to", element_type(*dtype).into());
                self.image_result(value, "Cast", &[&x], vec![to], None)?;
            }
            Op::Concat { axis: 1 } => {
                let images = node.inputs.iter().map(|&x| self.last(x)).collect::<Lowered<Vec<_>>>()?;
                let names: Vec<&str> = images.iter().map(|image| image.name.as_str()).collect();
                let mut pending = Vec::new();
                for (image, &x) in images.iter().zip(&node.inputs) {
                    let channels = self.graph.shape(x).size(1).unwrap_or(0);
                    pending.extend(image.pending.clone().unwrap_or_else(|| vec![0.0; channels]));
                }
                let axis = vec![AttributeProto::int("axis", 3)];
                self.image_result(value, "Concat", &names, axis, Some(pending))?;
            }
            Op::Slice { axis, start, length } => {
                let image = self.last(x)?;
                let bounds = [*start, start + length, last_axis(*axis)].map(|n| self.integers(&[n as i64]));
                let [start_at, end, position] = bounds;
                let inputs = [image.name, start_at?, end?, position?];
                let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
                let pending = match axis {
                    1 => image.pending.map(|pending| pending[*start..start + length].to_vec()),
                    _ => image.pending,
                };
                self.image_result(value, "Slice", &inputs, vec![], pending)?;
            }
            Op::Pad { axis, before, after } => {
                let x = self.settled(x)?;
                let (mut first, mut second) = ([0; 4], [0; 4]);
                (first[last_axis(*axis)], second[last_axis(*axis)]) = (*before, *after);
                self.padded_last(value, &x, first, second)?;
            }
            Op::UpsampleNearest { factor: 2 } => self.doubled_last(value, x)?,
            Op::AvgPool { window: Window { kernel: 2, stride: 2, padding: 0 }, .. }
                if [2, 3].iter().all(|&axis| from.size(axis).is_some_and(|size| size.is_multiple_of(2))) =>
            {
                self.halved(value, x)?;
            }
            Op::Mean { axes } if *axes == [2, 3] => self.mean_last(value, node, x)?,
            Op::RmsNorm { axis: 1, eps } => {
                let x = self.settled(x)?;
                let root = Root { reduce: "ReduceMean", axis: 3, eps: *eps };
                let divisor = self.root(value, "", &x, &last(&node.shape), root)?;
                self.image_result(value, "Div", &[&x, &divisor], vec![], None)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Sums and products of images, or of an image and a number for each channel, image or both.
    fn arithmetic_last(&mut self, value: Value, node: &Node) -> Lowered<bool> {
        let (a, b) = (node.inputs[0], node.inputs[1]);
        let shapes = [a, b].map(|value| self.graph.shape(value));
        let is_scalar = |shape: &Shape| shape.per_sample() == 1 && !shape.has_batch();
        if shapes.iter().any(|shape| shape.rank() != 4 && !is_scalar(shape)) {
            return Ok(false);
        }
        if node.op == Op::Add && shapes[0] == shapes[1] {
            let images = [self.last(a)?, self.last(b)?];
            let pending = sum(&[&images[0], &images[1]]);
            self.image_result(value, "Add", &[&images[0].name, &images[1].name], vec![], pending)?;
            return Ok(true);
        }
        let mut names = Vec::new();
        for (value, shape) in [a, b].into_iter().zip(shapes.map(Shape::rank)) {
            names.push(if shape == 4 { self.settled(value)? } else { self.operand(value)? });
        }
        self.image_result(value, node.op.name(), &[&names[0], &names[1]], vec![], None)?;
        Ok(true)
    }

    /// The means of 2x2 pixels.
    fn halved(&mut self, value: Value, x: Value) -> Lowered<()> {
        let image = self.last(x)?;
        self.image_result(value, AVERAGE_POOL, &[&image.name], vec![], image.pending)?;
        self.of_domain(DOMAIN);
        Ok(())
    }

    /// The mean of each channel, `[B,C]`. The runtime reduces the last axes of a tensor several times as fast as others.
    fn mean_last(&mut self, value: Value, node: &Node, x: Value) -> Lowered<()> {
        let image = self.last(x)?;
        let shape = self.graph.shape(x).clone();
        let perm = vec![AttributeProto::ints("perm", [0, 3, 1, 2])];
        let turned = self.part(value, "turned", "Transpose", &[&image.name], perm, &shape)?;
        let axes = self.integers(&[2, 3])?;
        let drop = vec![AttributeProto::int("keepdims", 0)];
        let inputs = [turned.as_str(), &axes];
        match image.pending {
            None => self.result(value, "ReduceMean", &inputs, drop),
            Some(pending) => {
                let mean = self.part(value, "mean", "ReduceMean", &inputs, drop, &node.shape)?;
                let name = format!("{}/pending", node.name);
                let bias = self.initializer(&name, std::borrow::Cow::Owned(vector(&pending)))?;
                self.result(value, "Add", &[&mean, &bias], vec![])
            }
        }
    }
}
