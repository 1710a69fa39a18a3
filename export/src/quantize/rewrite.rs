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
use ddae_onnx::messages::{AttributeProto, NodeProto, ValueInfoProto, data_type};
use ddae_onnx::write::Model;

use super::histogram::ValueRange;
use super::selection::Selection;
use crate::lower::LowerError;

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
    let mut rewriting = Rewriting::new(model, ranges);
    for (position, mut node) in std::mem::take(&mut rewriting.model.nodes).into_iter().enumerate() {
        if selection.products.contains(&position) {
            rewriting.product(&mut node)?;
        } else if selection.sums.contains(&position) {
            for input in &mut node.input {
                *input = rewriting.activation(&input.clone())?;
            }
        }
        let is_result = node.output.first().is_some_and(|name| selection.results.contains(name));
        if is_result { rewriting.result(node)? } else { rewriting.nodes.push(node) }
    }
    rewriting.finish();
    Ok(())
}

struct Rewriting<'m, 'w> {
    model: &'m mut Model<'w>,
    ranges: &'m HashMap<String, ValueRange>,
    nodes: Vec<NodeProto>,
    /// Positions of the constants by name.
    constants: HashMap<String, usize>,
    /// Declared values by name, for the shapes of new ones.
    values: HashMap<String, ValueInfoProto>,
    /// The dequantised forms of activations.
    dequantized: HashMap<String, String>,
    taken: HashSet<String>,
}

impl<'m, 'w> Rewriting<'m, 'w> {
    fn new(model: &'m mut Model<'w>, ranges: &'m HashMap<String, ValueRange>) -> Rewriting<'m, 'w> {
        let constants =
            model.initializers.iter().enumerate().map(|(i, constant)| (constant.name.clone(), i)).collect();
        let values: HashMap<String, ValueInfoProto> =
            model.declared().map(|value| (value.name.clone(), value.clone())).collect();
        let taken = values.keys().cloned().chain(model.initializers.iter().map(|i| i.name.clone())).collect();
        Rewriting { model, ranges, nodes: Vec::new(), constants, values, dequantized: HashMap::new(), taken }
    }

    /// Makes the operands of a product integers.
    fn product(&mut self, node: &mut NodeProto) -> Result<(), LowerError> {
        let x = node.input[0].clone();
        let (x_scale, _) = self.range(&x)?.scale_and_zero();
        node.input[0] = self.activation(&x)?;
        let is_conv = node.op_type == "Conv";
        let scales = self.weight_scales(node, is_conv, x_scale);
        node.input[1] = self.weight(&node.input[1].clone(), if is_conv { 0 } else { 1 }, &scales)?;
        if let Some(bias) = node.input.get(2).cloned() {
            let scales = scales.iter().map(|scale| scale * x_scale).collect();
            node.input[2] = self.bias(&bias, &format!("{}/bias", node.name), scales)?;
        }
        Ok(())
    }

    /// Adds an operation whose result is to be integers.
    fn result(&mut self, mut node: NodeProto) -> Result<(), LowerError> {
        let name = node.output[0].clone();
        let exact = self.claim(format!("{name}/exact"), &name, data_type::FLOAT)?;
        node.output[0] = exact.clone();
        self.nodes.push(node);
        self.quantized_pair(&exact, &name, &name)?;
        // A user of the result that is quantised as well takes it as it comes.
        self.dequantized.insert(name.clone(), name);
        Ok(())
    }

    fn range(&self, activation: &str) -> Result<ValueRange, LowerError> {
        let missing = || LowerError::unsupported(activation, "has no calibrated range");
        self.ranges.get(activation).copied().ok_or_else(missing)
    }

    /// A scale for each output channel, such that neither weights nor bias leave their integers.
    fn weight_scales(&self, node: &NodeProto, is_conv: bool, x_scale: f32) -> Vec<f32> {
        let constant = |i: usize| {
            let position = node.input.get(i).and_then(|name| self.constants.get(name))?;
            self.model.initializers.get(*position)
        };
        let axis = if is_conv { 0 } else { 1 };
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
        if let Some(known) = self.dequantized.get(name) {
            return Ok(known.clone());
        }
        let result = self.claim(format!("{name}/dequantized"), name, data_type::FLOAT)?;
        self.quantized_pair(name, name, &result)?;
        self.dequantized.insert(name.to_string(), result.clone());
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
        let quantized = self.claim(format!("{name}/quantized"), name, data_type::UINT8)?;
        self.push("QuantizeLinear", &[from, &scale, &zero], None, &quantized);
        self.push("DequantizeLinear", &[&quantized, &scale, &zero], None, to);
        Ok(())
    }

    /// Stores a weight as integers, and gives the name of its dequantised form.
    fn weight(&mut self, name: &str, axis: usize, scales: &[f32]) -> Result<String, LowerError> {
        let Some(&position) = self.constants.get(name) else { return Ok(name.to_string()) };
        let weight = &mut self.model.initializers[position];
        weight.encode(Encoding::Integers { width: Width::I8, scales: scales.to_vec(), axis });
        let declared = weight.value_info();
        self.values.insert(name.to_string(), declared);
        self.channels(name, axis, scales, Width::I8)
    }

    /// A bias as integers under the name `new`; the float32 one may have other users.
    fn bias(&mut self, name: &str, new: &str, scales: Vec<f32>) -> Result<String, LowerError> {
        let Some(&position) = self.constants.get(name) else { return Ok(name.to_string()) };
        let new = format!("{new}/quantized");
        let mut bias = self.model.initializers[position].clone();
        bias.name = new.clone();
        bias.encode(Encoding::Integers { width: Width::I32, scales: scales.clone(), axis: 0 });
        let new = self.free(new)?;
        self.values.insert(new.clone(), bias.value_info());
        self.model.initializers.push(bias);
        self.channels(&new, 0, &scales, Width::I32)
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
        let zero_name = self.free(format!("{name}/zero"))?;
        let zeros = Cow::Owned(Tensor::f32(&[count], vec![0.0; count]));
        let mut zeros = Initializer::new(&zero_name, zeros);
        zeros.encode(Encoding::Integers { width, scales: vec![1.0], axis: 0 });
        self.model.initializers.push(zeros);
        let result = self.claim(format!("{name}/dequantized"), name, data_type::FLOAT)?;
        let axis = AttributeProto::int("axis", axis as i64);
        self.push("DequantizeLinear", &[name, &scale, &zero_name], Some(axis), &result);
        Ok(result)
    }

    fn constant(&mut self, name: String, tensor: Tensor) -> Result<String, LowerError> {
        let name = self.free(name)?;
        self.model.initializers.push(Initializer::new(name.clone(), Cow::Owned(tensor)));
        Ok(name)
    }

    fn free(&mut self, name: String) -> Result<String, LowerError> {
        if self.taken.insert(name.clone()) { Ok(name) } else { Err(LowerError::Name(name)) }
    }

    /// A new value of the shape of another.
    fn claim(&mut self, name: String, like: &str, element_type: i32) -> Result<String, LowerError> {
        let name = self.free(name)?;
        if let Some(mut value) = self.values.get(like).cloned() {
            value.name = name.clone();
            value.set_element_type(element_type);
            self.model.values.push(value);
        }
        Ok(name)
    }

    fn push(&mut self, operator: &str, inputs: &[&str], attribute: Option<AttributeProto>, output: &str) {
        let (name, attributes) = (format!("{output}/{operator}"), attribute.into_iter().collect());
        self.nodes.push(NodeProto::new(operator, &name, inputs, attributes, &[output]));
    }

    /// Puts the nodes into the graph and drops constants that nothing uses any more.
    fn finish(self) {
        self.model.nodes = self.nodes;
        let used: HashSet<&str> =
            self.model.nodes.iter().flat_map(|node| &node.input).map(String::as_str).collect();
        let keep: Vec<bool> =
            self.model.initializers.iter().map(|constant| used.contains(constant.name.as_str())).collect();
        let mut keep = keep.into_iter();
        self.model.initializers.retain(|_| keep.next().unwrap_or(true));
    }
}
