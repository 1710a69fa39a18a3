//! What an ONNX file holds.

use std::collections::{BTreeMap, HashMap};

use ddae_onnx::messages::{
    AttributeProto, Dimension, DimensionProto, GraphProto, ModelProto, NodeProto, TensorHeader,
    ValueInfoProto, data_type,
};
use ddae_onnx::metadata::GraphDescription;
use serde::Serialize;

/// What an ONNX file holds.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs)] // The fields are the keys of the JSON.
pub struct OnnxReport {
    /// Size of the file, without one that holds its data.
    pub bytes: u64,
    pub producer: String,
    pub ir_version: i64,
    /// Versions of the operator sets by domain; the standard one is `ai.onnx`.
    pub opsets: BTreeMap<String, i64>,
    pub inputs: Vec<ValueReport>,
    pub outputs: Vec<ValueReport>,
    /// Number of operations by operator.
    pub operators: BTreeMap<String, usize>,
    /// Number of stored constants, weights nearly all.
    pub constants: u64,
    /// Elements of the constants.
    pub elements: u64,
    /// Floating-point operations per image of the convolutions and matrix products as they stand in the file, a
    /// multiply-add counted as two; none where shapes are unknown.
    pub flops: Option<u64>,
    /// The operations in order.
    pub nodes: Vec<NodeReport>,
    pub metadata: BTreeMap<String, String>,
    /// What a file of this project says of itself.
    #[serde(skip)]
    pub description: Option<GraphDescription>,
}

/// An input or output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct ValueReport {
    pub name: String,
    pub dtype: String,
    /// Its sizes, or the names of sizes known when the graph runs.
    pub shape: Vec<String>,
}

/// An operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct NodeReport {
    pub name: String,
    pub operator: String,
    pub inputs: Vec<String>,
    pub outputs: Vec<String>,
}

/// Describes a model that was read from a file of `bytes` bytes.
pub fn report(model: &ModelProto, bytes: u64) -> OnnxReport {
    let graph = model.graph.clone().unwrap_or_default();
    let nodes: Vec<NodeReport> = graph.node.iter().map(node).collect();
    let mut operators = BTreeMap::new();
    for node in &nodes {
        *operators.entry(node.operator.clone()).or_insert(0) += 1;
    }
    let metadata: BTreeMap<String, String> =
        model.metadata_props.iter().map(|entry| (entry.key.clone(), entry.value.clone())).collect();
    let opsets = model.opset_import.iter().map(|set| {
        let domain = if set.domain.is_empty() { "ai.onnx" } else { &set.domain };
        (domain.to_string(), set.version)
    });
    let is_constant =
        |value: &&ValueInfoProto| !graph.initializer.iter().any(|tensor| tensor.name == value.name);
    let description = GraphDescription::from_lookup(|key| metadata.get(key).cloned()).ok();
    OnnxReport {
        bytes,
        producer: format!("{} {}", model.producer_name, model.producer_version).trim().to_string(),
        ir_version: model.ir_version,
        opsets: opsets.collect(),
        inputs: graph.input.iter().filter(is_constant).map(value).collect(),
        outputs: graph.output.iter().map(value).collect(),
        operators,
        nodes,
        constants: graph.initializer.len() as u64,
        elements: graph.initializer.iter().map(elements).fold(0, u64::saturating_add),
        flops: flops(&graph.node, &shapes(&graph)),
        metadata,
        description,
    }
}

fn node(node: &NodeProto) -> NodeReport {
    let operator = match node.domain.as_str() {
        "" => node.op_type.clone(),
        domain => format!("{domain}.{}", node.op_type),
    };
    let (name, inputs, outputs) = (node.name.clone(), node.input.clone(), node.output.clone());
    NodeReport { name, operator, inputs, outputs }
}

fn value(info: &ValueInfoProto) -> ValueReport {
    let dtype = data_type::describe(info.element_type()).map_or("?", |(name, _)| name);
    let size = |dim: &DimensionProto| match &dim.value {
        Some(Dimension::Size(n)) => n.to_string(),
        Some(Dimension::Name(name)) => name.clone(),
        None => "?".to_string(),
    };
    let shape = info.dims().unwrap_or_default().iter().map(size).collect();
    ValueReport { name: info.name.clone(), dtype: dtype.to_string(), shape }
}

fn elements(tensor: &TensorHeader) -> u64 {
    tensor.dims.iter().map(|&n| u64::try_from(n).unwrap_or(0)).fold(1, u64::saturating_mul)
}

type Shapes<'a> = HashMap<&'a str, Vec<u64>>;

/// Shapes by name, a size known only when the graph runs taken as 1.
fn shapes(graph: &GraphProto) -> Shapes<'_> {
    let values = graph.value_info.iter().chain(&graph.input).chain(&graph.output);
    let of_values = values.filter_map(|info| Some((info.name.as_str(), info.sizes(1)?)));
    let sizes = |tensor: &TensorHeader| tensor.dims.iter().map(|&n| u64::try_from(n).unwrap_or(0)).collect();
    of_values.chain(graph.initializer.iter().map(|tensor| (tensor.name.as_str(), sizes(tensor)))).collect()
}

/// The operations of all convolutions and products; none when the shape of one is unknown.
fn flops(nodes: &[NodeProto], shapes: &Shapes) -> Option<u64> {
    let product = |sizes: &[u64]| sizes.iter().copied().fold(1, u64::saturating_mul);
    let mut total = 0u64;
    for node in nodes {
        let shape = |i: usize| shapes.get(node.input.get(i)?.as_str());
        let depth = match node.op_type.as_str() {
            "Conv" => product(shape(1)?.get(1..)?),
            "MatMul" => *shape(0)?.last()?,
            "Gemm" => {
                let turned =
                    node.attribute.iter().any(|AttributeProto { name, i, .. }| name == "transA" && *i != 0);
                *shape(0)?.get(usize::from(!turned))?
            }
            _ => continue,
        };
        let results = product(shapes.get(node.output.first()?.as_str())?);
        total = total.saturating_add(results.saturating_mul(depth).saturating_mul(2));
    }
    Some(total)
}
