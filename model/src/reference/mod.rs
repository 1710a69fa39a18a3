//! A plain interpreter of graphs: the yardstick that libtorch and ONNX Runtime are measured against.
//!
//! [`run`] evaluates a graph as in evaluation mode (dropout does nothing), one node after the other, with ndarray.
//! It is written to be checked by reading; speed comes second.
//!
//! # Precision
//! The type parameter `F` is the arithmetic in which the graph's f32 values are computed:
//!
//! | graph type | `F = f32` | `F = f64` |
//! | --- | --- | --- |
//! | f32: pictures, parameters, constants | f32 | widened to f64 once, never rounded back |
//! | f64: the sampler's state | f64 | f64 |
//! | i64, u8 | exact | exact |
//!
//! So `F = f64` gives what the network would compute without rounding, and casts between f32 and f64 are then
//! without effect. Results of the graph's f32 type come back as `F`'s type, others as their own. Means, variances
//! and the sums of a softmax are accumulated in f64 in both cases.
//!
//! A cast to an integer drops the fraction and stops at the limits of the type; a NaN becomes 0.

mod arithmetic;
mod attention;
mod convolution;
mod error;
mod linear;
mod normalisation;
mod shaping;
mod values;

pub use error::RunError;
pub use values::Real;

use crate::graph::{Dim, Graph, Node, Op};
use crate::tensor::{DType, Tensor};
use crate::weights::{Weights, WeightsError};
use ndarray::ArrayD;
use values::Array;

/// Computes the outputs of `graph`, in their order, from its parameters and its inputs by name.
///
/// The batch size is that of the inputs (1 where no input has a batch). Only what the outputs need is computed,
/// and intermediate values are freed after their last use. With `F = f64`, inputs and parameters of the graph's f32
/// type may be given as f64, for finite differences.
///
/// # Errors
/// [`RunError`] names the input, parameter or node: an input that is missing, unknown, given twice or of another
/// shape, type or batch size; a parameter that is missing or of another shape; an index outside its table; an
/// operation that does not exist for its type.
pub fn run<F: Real>(
    graph: &Graph,
    weights: &Weights,
    inputs: &[(&str, Tensor)],
) -> Result<Vec<(String, Tensor)>, RunError> {
    let batch = check_inputs::<F>(graph, inputs)?;
    let last_use = last_uses(graph);
    let mut values: Vec<Option<Array<F>>> = vec![None; graph.nodes().len()];
    for (i, node) in graph.nodes().iter().enumerate().filter(|(i, _)| last_use[*i].is_some()) {
        let shape = node.shape.resolve(batch);
        let value = match &node.op {
            Op::Input => Array::new(find(inputs, &node.name, node, batch)?, node.dtype),
            Op::Parameter { .. } => Array::new(parameter::<F>(weights, graph, node)?, node.dtype),
            Op::Constant(tensor) => Array::new(tensor, node.dtype),
            _ => {
                let operands: Vec<&Array<F>> =
                    node.inputs.iter().filter_map(|v| values[v.index()].as_ref()).collect();
                compute(graph, node, &operands, &shape)?
            }
        };
        debug_assert_eq!(value.shape(), shape, "{}", node.name);
        values[i] = Some(value);
        for input in node.inputs.iter().filter(|v| last_use[v.index()] == Some(i)) {
            values[input.index()] = None;
        }
    }
    let results = graph.outputs().iter();
    Ok(results.filter_map(|(name, v)| Some((name.clone(), values[v.index()].as_ref()?.to_tensor()))).collect())
}

/// For each node, the position of the last node that uses it, the number of nodes for a result, and `None` where no
/// result needs it.
fn last_uses(graph: &Graph) -> Vec<Option<usize>> {
    let mut last = vec![None; graph.nodes().len()];
    for (_, value) in graph.outputs() {
        last[value.index()] = Some(graph.nodes().len());
    }
    for (i, node) in graph.nodes().iter().enumerate().rev() {
        if last[i].is_some() {
            for input in &node.inputs {
                last[input.index()].get_or_insert(i);
            }
        }
    }
    last
}

/// Checks the inputs against the graph's and gives the batch size.
fn check_inputs<F: Real>(graph: &Graph, inputs: &[(&str, Tensor)]) -> Result<usize, RunError> {
    for (i, (name, _)) in inputs.iter().enumerate() {
        if inputs[..i].iter().any(|(other, _)| other == name) {
            return Err(RunError::RepeatedInput(name.to_string()));
        }
        if !graph.inputs().any(|(_, node)| node.name == *name) {
            let known: Vec<&str> = graph.inputs().map(|(_, node)| node.name.as_str()).collect();
            return Err(RunError::UnknownInput { name: name.to_string(), known: known.join(", ") });
        }
    }
    let mut batch: Option<(usize, &str)> = None;
    for (_, node) in graph.inputs() {
        let tensor = find(inputs, &node.name, node, 1)?;
        let name = node.name.clone();
        if !accepts::<F>(node.dtype, tensor.dtype()) {
            return Err(RunError::InputType { name, expected: node.dtype, found: tensor.dtype() });
        }
        let (dims, sizes) = (node.shape.dims(), tensor.shape());
        let mut fits = dims.len() == sizes.len();
        for (dim, &size) in dims.iter().zip(sizes) {
            match *dim {
                Dim::Size(expected) => fits &= size == expected,
                Dim::Batch(factor) if factor == 0 || size == 0 || size % factor != 0 => fits = false,
                Dim::Batch(factor) => match batch {
                    Some((expected, other)) if expected != size / factor && fits => {
                        let other = other.to_string();
                        return Err(RunError::Batch { name, found: size / factor, other, expected });
                    }
                    Some(_) => {}
                    None => batch = Some((size / factor, &node.name)),
                },
            }
        }
        if !fits {
            return Err(RunError::InputShape { name, expected: node.shape.to_string(), found: sizes.to_vec() });
        }
    }
    Ok(batch.map_or(1, |(size, _)| size))
}

/// Whether a tensor of type `found` can stand for a graph value of type `dtype`.
fn accepts<F: Real>(dtype: DType, found: DType) -> bool {
    found == dtype || (dtype == DType::F32 && found == F::DTYPE)
}

fn find<'a>(inputs: &'a [(&str, Tensor)], name: &str, node: &Node) -> Result<&'a Tensor, RunError> {
    inputs.iter().find(|(given, _)| *given == name).map(|(_, tensor)| tensor).ok_or_else(|| RunError::MissingInput {
        name: name.to_string(),
        dtype: node.dtype,
        shape: node.shape.to_string(),
    })
}
