//! Constant folding: what no input reaches is computed once, when the file is written.

use std::borrow::Cow;

use ddae_model::graph::{Graph, Op};
use ddae_model::reference;
use ddae_model::tensor::Tensor;
use ddae_model::weights::Weights;

use super::LowerError;

/// The values known without inputs, by position: parameters, constants, and everything that follows from them and is
/// used by something that does not. (With a fixed timestep that is the whole embedding, up to each block's linear
/// layer.) Values on the way, which nothing else uses, are marked by an empty tensor.
pub fn fold<'w>(graph: &Graph, weights: &'w Weights) -> Result<Vec<Option<Cow<'w, Tensor>>>, LowerError> {
    let nodes = graph.nodes();
    let mut is_known = vec![false; nodes.len()];
    for (i, node) in nodes.iter().enumerate() {
        is_known[i] = node.op != Op::Input && node.inputs.iter().all(|input| is_known[input.index()]);
    }
    let mut is_wanted = vec![false; nodes.len()];
    for node in nodes.iter().enumerate().filter(|(i, _)| !is_known[*i]).map(|(_, node)| node) {
        for input in &node.inputs {
            is_wanted[input.index()] = true;
        }
    }
    for (_, value) in graph.outputs() {
        is_wanted[value.index()] = true;
    }

    let mut known = vec![None; nodes.len()];
    let mut derived = graph.clone();
    derived.clear_results();
    let mut computed = Vec::new();
    for (value, node) in graph.values().filter(|(value, _)| is_known[value.index()]) {
        known[value.index()] = match &node.op {
            Op::Parameter { .. } => weights.get(&node.name).map(Cow::Borrowed),
            Op::Constant(tensor) => Some(Cow::Owned(tensor.clone())),
            _ => {
                if is_wanted[value.index()] {
                    derived.output(&node.name, value);
                    computed.push((node.name.as_str(), value));
                }
                Some(Cow::Owned(Tensor::f32(&[0], vec![])))
            }
        };
    }
    if !computed.is_empty() {
        let names: Vec<&str> = computed.iter().map(|(name, _)| *name).collect();
        let results = reference::run::<f32>(&derived.keep(&names)?, weights, &[])?;
        for ((_, value), (_, tensor)) in computed.into_iter().zip(results) {
            known[value.index()] = Some(Cow::Owned(tensor));
        }
    }
    Ok(known)
}
