//! Quantisation in the graph: pairs of QuantizeLinear and DequantizeLinear around convolutions and products.
//!
//! Such pairs are standard operators, and any runtime computes what they say in float32. One that knows them joins a
//! pair on every operand and on the result with the operation between into one on integers; ONNX Runtime's CPU
//! provider makes `QLinearConv` and `MatMulIntegerToFloat` of them:
//!
//! - `Conv`: operand, weight (int8, by output channel), bias (int32) and result, which is that of a ReLU where one
//!   follows: cutting off what is negative costs integers nothing.
//! - `MatMul` with a weight: operand and weight (int8, by column). The result is float32.
//! - `Add` and ReLU at the end of a residual block, between integers: operands and result.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use ddae_model::tensor::{Data, Tensor};
use ddae_onnx::initializer::{Encoding, Initializer, Width};
use ddae_onnx::messages::{AttributeProto, NodeProto, data_type};
use ddae_onnx::write::Model;

use super::histogram::ValueRange;
use super::selection::Selection;
use crate::lower::LowerError;
use crate::rewriting::Rewriting;

/// The largest magnitude of a weight's integers. ONNX Runtime multiplies pairs of unsigned activations and signed
/// weights on processors without VNNI instructions into sums of 16 bits, which 2 * 255 * 127 exceeds: results would
/// depend on the processor. 2 * 255 * 64 does not, at the price of one bit.
const LARGEST_WEIGHT: f32 = 64.0;

/// Integers of a bias stay below this, far from the limit of 32 bits to which the products are added.
const LARGEST_BIAS: f32 = (1 << 28) as f32;

/// Quantises the selected operations. `ranges` holds those of [`Selection::activations`].
///
/// # Errors
/// When a range is missing, or a name that is needed is taken.
pub fn quantize(
    model: &mut Model<'_>,
    selection: &Selection,
    ranges: &HashMap<String, ValueRange>,
) -> Result<(), LowerError> {
    let constants = model.initializers.iter().enumerate();
    let constants = constants.map(|(i, constant)| (constant.name.clone(), i)).collect();
    let (rewriting, old) = Rewriting::begin(model);
    let mut quantizing = Quantizing { rewriting, ranges, constants, results: HashSet::new() };
    for (position, mut node) in old.into_iter().enumerate() {
        if selection.products.contains(&position) {
            quantizing.product(&mut node)?;
        } else if selection.sums.contains(&position) {
            for input in &mut node.input {
                *input = quantizing.activation(&input.clone())?;
            }
        }
        let is_result = node.output.first().is_some_and(|name| selection.results.contains(name));
        if is_result { quantizing.result(node)? } else { quantizing.rewriting.nodes.push(node) }
    }
    quantizing.rewriting.finish();
    let used: HashSet<&str> = model.nodes.iter().flat_map(|node| &node.input).map(String::as_str).collect();
    model.initializers.retain(|constant| used.contains(constant.name.as_str()));
    Ok(())
}

struct Quantizing<'m, 'w> {
    rewriting: Rewriting<'m, 'w>,
    ranges: &'m HashMap<String, ValueRange>,
    /// Positions of the constants by name.
    constants: HashMap<String, usize>,
    /// Activations that are quantised where they are computed.
    results: HashSet<String>,
}

impl Quantizing<'_, '_> {
    /// Makes the operands of a product integers.
    fn product(&mut self, node: &mut NodeProto) -> Result<(), LowerError> {
        let x = node.input[0].clone();
        let (x_scale, _) = self.range(&x)?.scale_and_zero();
        node.input[0] = self.activation(&x)?;
        let axis = if node.op_type == "Conv" { 0 } else { 1 };
        let scales = self.weight_scales(node, axis, x_scale);
        node.input[1] = self.weight(&node.input[1].clone(), axis, &scales)?;
        if let Some(bias) = node.input.get(2).cloned() {
            let scales = scales.iter().map(|scale| scale * x_scale).collect();
            node.input[2] = self.bias(&bias, &format!("{}/bias", node.name), scales)?;
        }
        Ok(())
    }

    /// Adds an operation whose result is to be integers.
    fn result(&mut self, mut node: NodeProto) -> Result<(), LowerError> {
        let name = node.output[0].clone();
        let exact = self.rewriting.value(format!("{name}/exact"), &name, data_type::FLOAT)?;
        node.output[0] = exact.clone();
        self.rewriting.nodes.push(node);
        self.quantized_pair(&exact, &name, &name)?;
        self.results.insert(name);
        Ok(())
    }

    fn range(&self, activation: &str) -> Result<ValueRange, LowerError> {
        let missing = || LowerError::unsupported(activation, "has no calibrated range");
        self.ranges.get(activation).copied().ok_or_else(missing)
    }

    /// A scale for each output channel, such that neither weights nor bias leave their integers.
    fn weight_scales(&self, node: &NodeProto, axis: usize, x_scale: f32) -> Vec<f32> {
        let constant = |i: usize| {
            let position = node.input.get(i).and_then(|name| self.constants.get(name))?;
            self.rewriting.model.initializers.get(*position)
        };
        let largest = constant(1).map(|weight| weight.largest_along(axis)).unwrap_or_default();
        let bias = constant(2).and_then(Initializer::floats).unwrap_or_default();
        let scale = |(channel, largest): (usize, f32)| {
            let bias = bias.get(channel).map_or(0.0, |bias| bias.abs() / x_scale / LARGEST_BIAS);
            (largest / LARGEST_WEIGHT).max(bias).max(1e-10)
        };
        largest.into_iter().enumerate().map(scale).collect()
    }

    /// The name of an activation after it was quantised and dequantised.
    fn activation(&mut self, name: &str) -> Result<String, LowerError> {
        if self.results.contains(name) {
            return Ok(name.to_string());
        }
        let (result, is_first) = self.rewriting.once(name, "dequantized", data_type::FLOAT)?;
        if is_first {
            self.quantized_pair(name, name, &result)?;
        }
        Ok(result)
    }

    /// `from` to integers by the range of `name`, and back as `to`.
    fn quantized_pair(&mut self, from: &str, name: &str, to: &str) -> Result<(), LowerError> {
        let (scale, zero) = self.range(name)?.scale_and_zero();
        let scale = self.constant(format!("{name}/scale"), Tensor::f32(&[], vec![scale]))?;
        let zero = match Tensor::new(&[], Data::U8(vec![zero])) {
            Some(zero) => self.constant(format!("{name}/zero"), zero)?,
            None => unreachable!("one value for no axes"),
        };
        let quantized = self.rewriting.value(format!("{name}/quantized"), name, data_type::UINT8)?;
        self.push("QuantizeLinear", &[from, &scale, &zero], None, &quantized);
        self.push("DequantizeLinear", &[&quantized, &scale, &zero], None, to);
        Ok(())
    }

    /// Stores a weight as integers, and gives the name of its dequantised form.
    fn weight(&mut self, name: &str, axis: usize, scales: &[f32]) -> Result<String, LowerError> {
        let Some(&position) = self.constants.get(name) else { return Ok(name.to_string()) };
        let weight = &mut self.rewriting.model.initializers[position];
        weight.encode(Encoding::Integers { width: Width::I8, scales: scales.to_vec(), axis });
        self.channels(name, axis, scales, Width::I8)
    }

    /// A bias as integers under the name `new`; the float32 one may have other users.
    fn bias(&mut self, name: &str, new: &str, scales: Vec<f32>) -> Result<String, LowerError> {
        let Some(&position) = self.constants.get(name) else { return Ok(name.to_string()) };
        let mut bias = self.rewriting.model.initializers[position].clone();
        bias.name = format!("{new}/quantized");
        bias.encode(Encoding::Integers { width: Width::I32, scales: scales.clone(), axis: 0 });
        let bias = self.rewriting.constant(bias)?;
        self.channels(&bias, 0, &scales, Width::I32)
    }

    /// Dequantises a constant by channel.
    fn channels(
        &mut self,
        name: &str,
        axis: usize,
        scales: &[f32],
        width: Width,
    ) -> Result<String, LowerError> {
        let count = scales.len();
        let scale = self.constant(format!("{name}/scale"), Tensor::f32(&[count], scales.to_vec()))?;
        let zeros = Tensor::f32(&[count], vec![0.0; count]);
        let mut zeros = Initializer::new(format!("{name}/zero"), Cow::Owned(zeros));
        zeros.encode(Encoding::Integers { width, scales: vec![1.0], axis: 0 });
        let zeros = self.rewriting.constant(zeros)?;
        let result = self.rewriting.value(format!("{name}/dequantized"), name, data_type::FLOAT)?;
        let axis = AttributeProto::int("axis", axis as i64);
        self.push("DequantizeLinear", &[name, &scale, &zeros], Some(axis), &result);
        Ok(result)
    }

    fn constant(&mut self, name: String, tensor: Tensor) -> Result<String, LowerError> {
        self.rewriting.constant(Initializer::new(name, Cow::Owned(tensor)))
    }

    fn push(&mut self, operator: &str, inputs: &[&str], attribute: Option<AttributeProto>, output: &str) {
        let (name, attributes) = (format!("{output}/{operator}"), attribute.into_iter().collect());
        self.rewriting.nodes.push(NodeProto::new(operator, &name, inputs, attributes, &[output]));
    }
}
