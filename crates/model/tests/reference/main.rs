//! The graph, its networks and the reference interpreter, against published code, numbers computed by hand, and
//! formulas written as plain loops.

mod brute_force;
mod by_hand;
mod conformance;
mod errors;
mod fixtures;
mod properties;
mod resampling;

use ddae_model::graph::{Graph, GraphError, Value};
use ddae_model::reference::{Real, run};
use ddae_model::tensor::Tensor;
use ddae_model::weights::Weights;

/// The single output of the graph that `build` makes.
fn evaluate<F: Real>(
    build: impl FnOnce(&mut Graph) -> Result<Value, GraphError>,
    weights: &[(&str, Tensor)],
    inputs: &[(&str, Tensor)],
) -> Tensor {
    let mut graph = Graph::new();
    let y = build(&mut graph).expect("a valid graph");
    graph.output("y", y);
    let weights: Weights = weights.iter().map(|(name, tensor)| (name.to_string(), tensor.clone())).collect();
    let mut outputs = run::<F>(&graph, &weights, inputs).expect("a run");
    assert_eq!(outputs.len(), 1);
    outputs.remove(0).1
}
