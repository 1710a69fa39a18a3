//! Which operations of a graph become integer.

use std::collections::{HashMap, HashSet};

use ddae_onnx::messages::NodeProto;
use ddae_onnx::write::Model;

use crate::lower::half_precision::image_values;

/// The operations of a graph that are to be quantised.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Positions of convolutions and matrix products.
    pub(super) products: HashSet<usize>,
    /// Positions of additions.
    pub(super) sums: HashSet<usize>,
    /// Values that become integers where they are computed.
    pub(super) results: HashSet<String>,
    /// The activations whose range is needed: operands, and those results.
    pub activations: Vec<String>,
}

impl Selection {
    /// Convolutions and matrix products with float32 weights of their own that follow another; and the additions between
    /// their results that a ReLU follows.
    pub fn of(model: &Model<'_>) -> Selection {
        let uses = Uses::of(model);
        let images = image_values(model);
        let weights: HashSet<&str> =
            model.initializers.iter().filter(|i| i.floats().is_some()).map(|i| i.name.as_str()).collect();
        let mut after_product: HashSet<&str> = HashSet::new();
        let mut selection = Selection::default();
        for (position, node) in model.nodes.iter().enumerate() {
            let (Some(x), Some(output)) = (node.input.first(), node.output.first()) else { continue };
            let has_weight = node
                .input
                .get(1)
                .is_some_and(|weight| weights.contains(weight.as_str()) && uses.count(weight) == 1);
            let has_known_bias = node.input.get(2).is_none_or(|bias| weights.contains(bias.as_str()));
            let is_product =
                ["Conv", "MatMul"].contains(&node.op_type.as_str()) && has_weight && has_known_bias;
            let follows = node.input.iter().any(|name| after_product.contains(name.as_str()));
            let result = uses.relu(output).unwrap_or(output);
            if is_product && images.contains(x.as_str()) && follows && !uses.is_output(result) {
                selection.products.insert(position);
                selection.activations.push(x.clone());
                if node.op_type == "Conv" {
                    selection.result(result);
                }
            }
            let is_any_product = ["Conv", "ConvTranspose", "MatMul", "Gemm"].contains(&node.op_type.as_str());
            if follows || (is_any_product && images.contains(x.as_str())) {
                after_product.extend(node.output.iter().map(String::as_str));
            }
        }
        selection.select_sums(model, &uses);
        let mut seen = HashSet::new();
        selection.activations.retain(|name| seen.insert(name.clone()));
        selection
    }

    /// Additions of values that are integers already, as operands or results. Without a ReLU, which cuts off half of the
    /// values, sums keep their precision: a UNet adds to the same values block after block.
    fn select_sums(&mut self, model: &Model<'_>, uses: &Uses<'_>) {
        let mut integers: HashSet<&str> = HashSet::new();
        for (position, node) in model.nodes.iter().enumerate() {
            if self.products.contains(&position) {
                integers.extend(node.input.first().map(String::as_str));
            }
        }
        for (position, node) in model.nodes.iter().enumerate() {
            let Some(output) = node.output.first() else { continue };
            let is_integer =
                |name: &String| integers.contains(name.as_str()) || self.results.contains(name.as_str());
            if node.op_type != "Add" || node.input.len() != 2 || !node.input.iter().all(is_integer) {
                continue;
            }
            if let Some(result) = uses.relu(output).filter(|result| !uses.is_output(result)) {
                self.sums.insert(position);
                self.activations.extend(node.input.iter().cloned());
                self.result(result);
            }
        }
    }

    fn result(&mut self, name: &str) {
        self.results.insert(name.to_string());
        self.activations.push(name.to_string());
    }

    /// Whether nothing in the graph can be quantised.
    pub fn is_empty(&self) -> bool {
        self.products.is_empty()
    }

    /// Number of convolutions and matrix products that become integer.
    pub fn len(&self) -> usize {
        self.products.len()
    }
}

/// What uses the values of a graph.
struct Uses<'a> {
    nodes: HashMap<&'a str, Vec<&'a NodeProto>>,
    outputs: HashSet<&'a str>,
}

impl<'a> Uses<'a> {
    fn of(model: &'a Model<'_>) -> Uses<'a> {
        let mut nodes: HashMap<&str, Vec<&NodeProto>> = HashMap::new();
        for node in &model.nodes {
            for name in &node.input {
                nodes.entry(name).or_default().push(node);
            }
        }
        Uses { nodes, outputs: model.outputs.iter().map(|output| output.name.as_str()).collect() }
    }

    fn count(&self, name: &str) -> usize {
        self.nodes.get(name).map_or(0, Vec::len)
    }

    fn is_output(&self, name: &str) -> bool {
        self.outputs.contains(name)
    }

    /// The result of the ReLU that alone uses a value.
    fn relu(&self, name: &str) -> Option<&'a String> {
        match self.nodes.get(name).map(Vec::as_slice) {
            Some([relu]) if relu.op_type == "Relu" && !self.is_output(name) => relu.output.first(),
            _ => None,
        }
    }
}
