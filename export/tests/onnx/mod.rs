//! A graph's outputs by way of its ONNX file.

use ddae_export::lower::{Options, lower};
use ddae_export::onnx::write::LARGEST_MESSAGE;
use ddae_export::runtime::OnnxNetwork;
use ddae_model::graph::Graph;
use ddae_model::tensor::Tensor;
use ddae_model::weights::Weights;

/// Writes the graph, loads it in ONNX Runtime and runs it.
pub fn through_onnx(
    graph: &Graph,
    weights: &Weights,
    inputs: &[(&str, Tensor)],
    options: Options,
) -> Vec<(String, Tensor)> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("graph.onnx");
    let model = lower(graph, weights, options).expect("an ONNX graph");
    model.write(&path, &[], LARGEST_MESSAGE).expect("a file");
    let mut network = OnnxNetwork::open(&path, 2).expect("a file that loads");
    network.run(inputs).expect("outputs")
}
