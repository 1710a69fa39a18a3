//! Checking a written file: ONNX Runtime against the reference interpreter, and against outputs that training
//! recorded.

use std::ops::RangeInclusive;

use ddae_base::random::{Stream, numbered_stream};
use ddae_checkpoint::Record;
use ddae_model::graph::{Dim, Graph, Node, Op, Value};
use ddae_model::reference;
use ddae_model::tensor::{DType, Data, Tensor};
use ddae_model::weights::Weights;
use ddae_onnx::metadata::Errors;
use rand::RngExt;

use crate::ExportError;
use crate::comparison::Comparison;
use ddae_onnx::runtime::OnnxNetwork;

/// What inputs without images are called.
pub const RANDOM: &str = "random inputs";

/// The results of networks that training records: those of encoders last.
const RECORDED: [&str; 2] = ["y", "z"];

/// The batch sizes that are tried.
const BATCHES: [usize; 2] = [2, 1];

/// Inputs for a graph, and the reference interpreter's outputs for them.
pub struct Expected {
    runs: Vec<Run>,
}

struct Run {
    inputs: Vec<(String, Tensor)>,
    outputs: Vec<(String, Tensor)>,
}

/// A relative difference, and the output that has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// The output.
    pub output: String,
    /// `||a - b|| / ||b||`, infinite where a value is not finite.
    pub relative: f64,
}

impl Expected {
    /// Runs the reference interpreter on random inputs of several batch sizes, the same at every export.
    /// `timesteps` are those of the process.
    ///
    /// # Errors
    /// When the graph cannot be run with these weights.
    pub fn compute(
        graph: &Graph,
        weights: &Weights,
        timesteps: RangeInclusive<i64>,
    ) -> Result<Expected, ExportError> {
        let mut rng = numbered_stream(0);
        let mut runs = Vec::new();
        for batch in BATCHES {
            let inputs: Vec<(String, Tensor)> = graph
                .inputs()
                .map(|(value, node)| {
                    let integers = integers(graph, value, &timesteps);
                    (node.name.clone(), random_input(node, batch, &integers, &mut rng))
                })
                .collect();
            let outputs = reference::run::<f32>(graph, weights, &by_name(&inputs))?;
            runs.push(Run { inputs, outputs });
        }
        Ok(Expected { runs })
    }

    /// The largest difference of the file's outputs in any batch, and that of each output over all batches.
    ///
    /// # Errors
    /// When the runtime fails.
    pub fn compare(&self, network: &mut OnnxNetwork) -> Result<(Difference, Errors), ExportError> {
        let mut largest = Difference { output: String::new(), relative: 0.0 };
        let mut comparison = Comparison::default();
        for run in &self.runs {
            let outputs = network.run(&by_name(&run.inputs))?;
            comparison.add(&outputs, &run.outputs);
            for (name, expected) in &run.outputs {
                let found = outputs.iter().find(|(output, _)| output == name).map(|(_, tensor)| tensor);
                let relative = found.map_or(f64::INFINITY, |found| relative_difference(found, expected));
                if relative > largest.relative || largest.output.is_empty() {
                    largest = Difference { output: name.clone(), relative };
                }
            }
        }
        let count = BATCHES.iter().sum::<usize>() as u64;
        Ok((largest, Errors { inputs: RANDOM.to_string(), count, outputs: comparison.errors() }))
    }
}

/// Values that an input of integers may have: rows of the table that a label selects from, else timesteps.
pub(crate) fn integers(graph: &Graph, input: Value, timesteps: &RangeInclusive<i64>) -> RangeInclusive<i64> {
    let rows = graph.nodes().iter().find_map(|node| match (&node.op, &*node.inputs) {
        (Op::Gather, [table, index]) if *index == input => graph.shape(*table).size(0),
        _ => None,
    });
    match (graph.node(input).name.as_str(), rows) {
        ("label", Some(rows)) => 0..=i64::try_from(rows).map_or(0, |rows| rows - 1),
        _ => timesteps.clone(),
    }
}

/// Whether a graph computes what a record holds: the network's `y` from inputs of the recorded shapes and nothing else.
pub fn fits_record(graph: &Graph, record: &Record) -> bool {
    let batch = record.y.shape().first().copied().unwrap_or(0);
    let mut wanted: Vec<(&str, Vec<usize>)> =
        graph.inputs().map(|(_, node)| (node.name.as_str(), node.shape.resolve(batch))).collect();
    let mut given: Vec<(&str, Vec<usize>)> =
        record.inputs.iter().map(|(name, input)| (name.as_str(), input.shape().to_vec())).collect();
    wanted.sort_unstable();
    given.sort_unstable();
    wanted == given && graph.outputs().iter().any(|(name, _)| name == "y")
}

/// The difference of a file's `y` from the recorded one.
///
/// # Errors
/// When the runtime fails.
pub fn compare_record(network: &mut OnnxNetwork, record: &Record) -> Result<Difference, ExportError> {
    let outputs = network.run(&by_name(&record.inputs))?;
    Ok(against_record(&outputs, record))
}

/// The difference of the reference interpreter's result from the recorded one: for files that do not give `y` but are
/// compared with the reference interpreter on the same weights.
///
/// # Errors
/// When the network cannot be run with these weights.
pub fn compare_record_by_reference(
    network: &Graph,
    weights: &Weights,
    record: &Record,
) -> Result<Difference, ExportError> {
    let outputs = reference::run::<f32>(network, weights, &by_name(&record.inputs))?;
    Ok(against_record(&outputs, record))
}

fn against_record(outputs: &[(String, Tensor)], record: &Record) -> Difference {
    let found = outputs.iter().find(|(name, _)| RECORDED.contains(&name.as_str()));
    let relative = found.map_or(f64::INFINITY, |(_, tensor)| relative_difference(tensor, &record.y));
    let output = found.map_or(RECORDED[0], |(name, _)| name).to_string();
    Difference { output, relative }
}

fn by_name(tensors: &[(String, Tensor)]) -> Vec<(&str, Tensor)> {
    tensors.iter().map(|(name, tensor)| (name.as_str(), tensor.clone())).collect()
}

fn relative_difference(found: &Tensor, expected: &Tensor) -> f64 {
    if found.shape() != expected.shape() {
        return f64::INFINITY;
    }
    let (mut difference, mut norm) = (0.0, 0.0);
    for (a, b) in found.to_f64_vec().into_iter().zip(expected.to_f64_vec()) {
        difference += (a - b) * (a - b);
        norm += b * b;
    }
    let relative = if difference == 0.0 { 0.0 } else { (difference / norm).sqrt() };
    if relative.is_nan() { f64::INFINITY } else { relative }
}

/// Values of the kind that an input has in use: timesteps of the process, images in [0, 1], scalars in (0, 1]
/// (which no sampler step divides by too little), and normal noise for all others.
pub(crate) fn random_input(
    node: &Node,
    batch: usize,
    timesteps: &RangeInclusive<i64>,
    rng: &mut Stream,
) -> Tensor {
    let shape = node.shape.resolve(batch);
    let count: usize = shape.iter().product();
    let is_scale = node.name == "t" || node.shape.dims().iter().all(|dim| matches!(dim, Dim::Size(_)));
    let mut real = || match node.name.as_str() {
        "image" => rng.uniform(),
        _ if is_scale => 0.1 + 0.9 * rng.uniform(),
        _ => rng.normal(),
    };
    let data = match node.dtype {
        DType::F32 => Data::F32((0..count).map(|_| real() as f32).collect()),
        DType::F64 => Data::F64((0..count).map(|_| real()).collect()),
        DType::I64 => Data::I64((0..count).map(|_| rng.random_range(timesteps.clone())).collect()),
        DType::U8 => Data::U8((0..count).map(|_| rng.random()).collect()),
    };
    match Tensor::new(&shape, data) {
        Some(tensor) => tensor,
        None => unreachable!("as many values as the shape holds"),
    }
}
