//! Every fixture through its ONNX file in ONNX Runtime.

mod onnx;

use ddae_model::graph::Graph;
use ddae_model::weights::Weights;
use ddae_tests::cases::Run;

fn onnx_runtime(graph: &Graph, weights: &Weights) -> Run {
    let mut network = onnx::load(graph, weights);
    Box::new(move |inputs| network.run(inputs).expect("outputs"))
}

ddae_tests::fixture_tests!(onnx_runtime);
