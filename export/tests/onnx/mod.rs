//! Graphs by way of their ONNX files.
#![allow(dead_code)] // Each test file uses its part.

use ddae_export::lower::lower;
use ddae_model::graph::Graph;
use ddae_model::tensor::Tensor;
use ddae_model::weights::Weights;
use ddae_onnx::runtime::OnnxNetwork;
use ddae_onnx::write::{LARGEST_MESSAGE, Model};

/// Writes the operators and loads them in ONNX Runtime.
pub fn opened(model: &Model) -> OnnxNetwork {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("graph.onnx");
    model.write(&path, &[], LARGEST_MESSAGE).expect("a file");
    OnnxNetwork::open(&path, 2).expect("a file that loads")
}

/// Writes the graph and loads it in ONNX Runtime.
pub fn load(graph: &Graph, weights: &Weights) -> OnnxNetwork {
    opened(&lower(graph, weights).expect("an ONNX graph"))
}

/// The graph's outputs.
pub fn through_onnx(graph: &Graph, weights: &Weights, inputs: &[(&str, Tensor)]) -> Vec<(String, Tensor)> {
    load(graph, weights).run(inputs).expect("outputs")
}
