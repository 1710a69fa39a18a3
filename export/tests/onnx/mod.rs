//! Graphs by way of their ONNX files.
#![allow(dead_code)] // Each test file uses its part.

use ddae_export::lower::{Options, lower};
use ddae_model::graph::Graph;
use ddae_model::tensor::Tensor;
use ddae_model::weights::Weights;
use ddae_onnx::runtime::OnnxNetwork;
use ddae_onnx::write::LARGEST_MESSAGE;

/// Writes the graph and loads it in ONNX Runtime.
pub fn load(graph: &Graph, weights: &Weights, options: Options) -> OnnxNetwork {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("graph.onnx");
    let model = lower(graph, weights, options).expect("an ONNX graph");
    model.write(&path, &[], LARGEST_MESSAGE).expect("a file");
    OnnxNetwork::open(&path, 2).expect("a file that loads")
}

/// The graph's outputs.
pub fn through_onnx(
    graph: &Graph,
    weights: &Weights,
    inputs: &[(&str, Tensor)],
    options: Options,
) -> Vec<(String, Tensor)> {
    load(graph, weights, options).run(inputs).expect("outputs")
}
