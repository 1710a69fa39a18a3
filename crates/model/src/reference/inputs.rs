//! What the caller gives, checked against what the graph wants.

use super::{Real, RunError};
use crate::graph::{Dim, Graph, Node};
use crate::tensor::{DType, Tensor};
use crate::weights::{Weights, WeightsError};

/// Inputs that fit a graph.
pub struct Inputs<'a> {
    given: &'a [(&'a str, Tensor)],
    batch: usize,
}

impl<'a> Inputs<'a> {
    /// Checks names, types, shapes and the batch size.
    pub fn check<F: Real>(graph: &Graph, given: &'a [(&'a str, Tensor)]) -> Result<Inputs<'a>, RunError> {
        for (i, (name, _)) in given.iter().enumerate() {
            if given[..i].iter().any(|(other, _)| other == name) {
                return Err(RunError::RepeatedInput(name.to_string()));
            }
            if !graph.inputs().any(|(_, node)| node.name == *name) {
                let known: Vec<&str> = graph.inputs().map(|(_, node)| node.name.as_str()).collect();
                return Err(RunError::UnknownInput { name: name.to_string(), known: known.join(", ") });
            }
        }
        let mut inputs = Inputs { given, batch: 1 };
        let mut first: Option<(&Node, &Tensor, usize)> = None;
        for (_, node) in graph.inputs() {
            let tensor = inputs.get(node)?;
            if !accepts::<F>(node.dtype, tensor.dtype()) {
                let (name, found) = (node.name.clone(), tensor.dtype());
                return Err(RunError::InputType { name, expected: node.dtype, found });
            }
            let batch = batch_of(node, tensor)?;
            match (first, batch) {
                (Some((other, other_tensor, other_batch)), Some(batch)) if other_batch != batch => {
                    return Err(RunError::Batch {
                        name: node.name.clone(),
                        found: tensor.shape().to_vec(),
                        batch,
                        other: other.name.clone(),
                        other_found: other_tensor.shape().to_vec(),
                        other_batch,
                    });
                }
                (None, Some(batch)) => first = Some((node, tensor, batch)),
                _ => {}
            }
        }
        if let Some((_, _, batch)) = first {
            inputs.batch = batch;
        }
        Ok(inputs)
    }

    /// Number of samples.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// The tensor of an input.
    pub fn get(&self, node: &Node) -> Result<&'a Tensor, RunError> {
        let found = self.given.iter().find(|(name, _)| *name == node.name);
        found.map(|(_, tensor)| tensor).ok_or_else(|| RunError::MissingInput {
            name: node.name.clone(),
            dtype: node.dtype,
            shape: node.shape.to_string(),
        })
    }
}

/// Whether a tensor of type `found` can stand for a graph value of type `wanted`.
fn accepts<F: Real>(wanted: DType, found: DType) -> bool {
    found == wanted || (wanted == DType::F32 && found == F::DTYPE)
}

/// The batch size that makes the input's shape the tensor's, or `None` where the shape has no batch.
fn batch_of(node: &Node, tensor: &Tensor) -> Result<Option<usize>, RunError> {
    let (dims, found) = (node.shape.dims(), tensor.shape());
    let batch = dims.iter().zip(found).find_map(|(dim, size)| match *dim {
        Dim::Batch(factor) if factor > 0 => Some(size / factor),
        _ => None,
    });
    if batch == Some(0) || node.shape.resolve(batch.unwrap_or(1)) != found {
        let (name, expected) = (node.name.clone(), node.shape.to_string());
        return Err(RunError::InputShape { name, expected, found: found.to_vec() });
    }
    Ok(batch)
}

/// The tensor of a parameter.
pub fn parameter<'a, F: Real>(weights: &'a Weights, node: &Node) -> Result<&'a Tensor, RunError> {
    let tensor = weights.parameter(node)?;
    if !accepts::<F>(node.dtype, tensor.dtype()) {
        return Err(WeightsError::Type { name: node.name.clone(), found: tensor.dtype() }.into());
    }
    Ok(tensor)
}
