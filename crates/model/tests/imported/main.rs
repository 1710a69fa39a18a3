//! Networks whose weights others publish, through the reference interpreter, against what their own code computed.

mod dit;
mod fid_inception;
mod vae_encoder;

use ddae_model::graph::Graph;
use ddae_model::reference::run;
use ddae_model::tensor::Tensor;
use ddae_model::weights::Weights;
use ddae_tests::{relative_error, rule_values, tolerance};

/// The graph's outputs.
fn outputs(graph: &Graph, weights: &Weights, inputs: &[(&str, Tensor)]) -> Vec<(String, Tensor)> {
    run::<f32>(graph, weights, inputs).expect("a run")
}

/// Numbers between -`limit` and `limit` by the fixtures' rule.
fn numbers(name: &str, shape: &[usize], limit: f64) -> Tensor {
    Tensor::f32(shape, rule_values(name, shape.iter().product(), -limit, limit))
}

fn assert_near(what: &str, ours: &Tensor, theirs: &Tensor) {
    assert_eq!(ours.shape(), theirs.shape(), "{what}");
    let error = relative_error(ours.as_f32().expect("f32"), theirs.as_f32().expect("f32"));
    assert!(error <= tolerance::NETWORK, "{what}: relative error {error:e}");
}
