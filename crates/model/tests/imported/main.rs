//! Networks whose weights others publish, through the reference interpreter, against what their own code computed.

mod dit;
mod fid_inception;
mod vae_encoder;

use ddae_model::graph::Graph;
use ddae_model::reference::run;
use ddae_model::tensor::Tensor;
use ddae_model::weights::Weights;
use ddae_tests::imported::Case;
use ddae_tests::{parameter_shapes, relative_error, rule_values, tolerance};

/// Runs a case and compares its outputs.
fn check(case: &Case) {
    case.check(&outputs(&case.graph, &case.weights, &case.inputs));
}

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

/// Checks that the graph has the parameters and buffers of a case, apart from those that `ignored` names.
fn assert_parameters(case: &str, graph: &Graph, ignored: &[&str]) {
    let mut ours: Vec<_> =
        graph.parameters().map(|(_, node)| (node.name.clone(), node.shape.resolve(1))).collect();
    let mut theirs = parameter_shapes(case);
    theirs.retain(|(name, _)| !ignored.contains(&name.as_str()));
    ours.sort();
    theirs.sort();
    assert_eq!(ours, theirs, "{case}");
}
