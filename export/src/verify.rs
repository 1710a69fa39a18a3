//! Checking a written file: ONNX Runtime against the reference interpreter, and against outputs that training
//! recorded.

use std::ops::RangeInclusive;

use ddae_base::random::{Stream, numbered_stream};
use ddae_checkpoint::Record;
use ddae_model::graph::{Dim, Graph, Node, Op, Value};
use ddae_model::reference;
use ddae_model::tensor::{DType, Data, Tensor};
use ddae_model::weights::Weights;
use ddae_onnx::metadata::OutputErrors;
use ddae_onnx::runtime::OnnxNetwork;
use rand::RngExt;

use crate::ExportError;
use crate::comparison::{Comparison, named, relative_difference};

/// What inputs without images are called.
pub(crate) const RANDOM: &str = "random inputs";

/// The results of networks that training records: of denoisers, classifiers and encoders.
const RECORDED: [&str; 3] = ["y", "logits", "z"];

/// The batch sizes that are tried, the largest first.
pub(crate) const BATCHES: [usize; 2] = [2, 1];

/// Inputs for a graph, and the reference interpreter's outputs for them.
pub(crate) struct ReferenceOutputs {
    batches: Vec<ReferenceBatch>,
}

struct ReferenceBatch {
    inputs: Vec<(String, Tensor)>,
    outputs: Vec<(String, Tensor)>,
}

/// A relative difference, and the output that has it.
pub(crate) struct Difference {
    pub output: String,
    /// `||a - b|| / ||b||`, infinite where a value is not finite.
    pub relative: f64,
}

impl ReferenceOutputs {
    /// Runs the reference interpreter on random inputs of several batch sizes, the same at every export.
    /// `timesteps` are those of the process.
    pub fn compute(
        graph: &Graph,
        weights: &Weights,
        timesteps: RangeInclusive<i64>,
    ) -> Result<ReferenceOutputs, ExportError> {
        let mut rng = numbered_stream(0);
        let mut batches = Vec::new();
        for batch in BATCHES {
            let input = |(value, node): (Value, &Node)| {
                let values = random_values(node, batch, &integers(graph, value, &timesteps), &mut rng);
                tensor(node, batch, values).map(|tensor| (node.name.clone(), tensor))
            };
            let inputs: Vec<(String, Tensor)> = graph.inputs().filter_map(input).collect();
            let outputs = reference::run::<f32>(graph, weights, &by_name(&inputs))?;
            batches.push(ReferenceBatch { inputs, outputs });
        }
        Ok(ReferenceOutputs { batches })
    }

    /// The largest difference of the file's outputs in any batch, and that of each output over all batches.
    pub fn compare(&self, network: &mut OnnxNetwork) -> Result<(Difference, OutputErrors), ExportError> {
        let mut largest = Difference { output: String::new(), relative: 0.0 };
        let mut comparison = Comparison::default();
        for batch in &self.batches {
            let outputs = network.run(&by_name(&batch.inputs))?;
            comparison.add(&outputs, &batch.outputs);
            for (name, expected) in &batch.outputs {
                let relative = relative_difference(named(&outputs, name), expected);
                if relative > largest.relative || largest.output.is_empty() {
                    largest = Difference { output: name.clone(), relative };
                }
            }
        }
        let count = BATCHES.iter().sum::<usize>() as u64;
        Ok((largest, OutputErrors { inputs: RANDOM.to_string(), count, outputs: comparison.errors() }))
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

/// Whether an output is what a denoiser or a classifier computes in the end, so that all of it is in the graph.
pub(crate) fn is_result(output: &str) -> bool {
    matches!(output, "y" | "logits")
}

/// Whether a graph computes what a record holds: the network's result from inputs of the recorded shapes and nothing else.
pub(crate) fn fits_record(graph: &Graph, record: &Record) -> bool {
    let batch = record.y.shape().first().copied().unwrap_or(0);
    let mut wanted: Vec<(&str, Vec<usize>)> =
        graph.inputs().map(|(_, node)| (node.name.as_str(), node.shape.resolve(batch))).collect();
    let mut given: Vec<(&str, Vec<usize>)> =
        record.inputs.iter().map(|(name, input)| (name.as_str(), input.shape().to_vec())).collect();
    wanted.sort_unstable();
    given.sort_unstable();
    wanted == given && graph.outputs().iter().any(|(name, _)| is_result(name))
}

/// The difference of a network's result from the recorded one.
pub(crate) fn against_record(outputs: &[(String, Tensor)], record: &Record) -> Difference {
    let found = outputs.iter().find(|(name, _)| RECORDED.contains(&name.as_str()));
    let relative = relative_difference(found.map(|(_, tensor)| tensor), &record.y);
    let output = found.map_or(RECORDED[0], |(name, _)| name).to_string();
    Difference { output, relative }
}

pub(crate) fn by_name(tensors: &[(String, Tensor)]) -> Vec<(&str, Tensor)> {
    tensors.iter().map(|(name, tensor)| (name.as_str(), tensor.clone())).collect()
}

/// Values of the kind that an input has in use, for `batch` samples: `integers` of integer types, images in [0, 1], scalars
/// in (0, 1] (which no sampler step divides by too little), and normal noise for all others.
pub(crate) fn random_values(
    node: &Node,
    batch: usize,
    integers: &RangeInclusive<i64>,
    rng: &mut Stream,
) -> Vec<f64> {
    let is_scale = node.name == "t" || node.shape.dims().iter().all(|dim| matches!(dim, Dim::Size(_)));
    let mut value = || match (node.dtype, node.name.as_str()) {
        (DType::I64, _) => rng.random_range(integers.clone()) as f64,
        (DType::U8, _) => rng.random::<u8>().into(),
        (_, "image") => rng.uniform(),
        _ if is_scale => 0.1 + 0.9 * rng.uniform(),
        _ => rng.normal(),
    };
    (0..node.shape.resolve(batch).iter().product()).map(|_| value()).collect()
}

/// An input of `batch` samples. None where there are not as many values as it has.
pub(crate) fn tensor(node: &Node, batch: usize, values: Vec<f64>) -> Option<Tensor> {
    let data = match node.dtype {
        DType::F32 => Data::F32(values.into_iter().map(|x| x as f32).collect()),
        DType::F64 => Data::F64(values),
        DType::I64 => Data::I64(values.into_iter().map(|x| x as i64).collect()),
        DType::U8 => Data::U8(values.into_iter().map(|x| x as u8).collect()),
    };
    Tensor::new(&node.shape.resolve(batch), data)
}
