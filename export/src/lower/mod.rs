//! From a [`Graph`] to ONNX operators, the fastest way ONNX Runtime's CPU provider knows.
//!
//! Three passes: `constants` finds what depends on weights and constants only and computes it once; `fusion` finds
//! layers that are faster together (a convolution of an upsampled image, attention over an image's pixels); then
//! every remaining node is written:
//!
//! | file | operations |
//! | --- | --- |
//! | `operations` | each by itself |
//! | `convolution`, `normalisation` | with what is joined with them |
//! | `attention`, `pixel_attention` | attention between tokens, and between the pixels of an image |
//! | `channels_last` | all of these on images whose channels come last, for GPUs |
//!
//! # Names
//! A value keeps its graph name, or the name of the output it is; what lies between is `LAYER/part`. Parameters keep
//! their published names; folded ones are `LAYER/part` too.

mod attention;
pub mod channels_last;
mod constants;
mod convolution;
mod fusion;
pub mod half_precision;
mod normalisation;
mod operations;
mod pixel_attention;

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use ddae_model::graph::{Graph, GraphError, Shape, Value};
use ddae_model::reference::RunError;
use ddae_model::tensor::{DType, Tensor};
use ddae_model::weights::{Weights, WeightsError};

use ddae_onnx::initializer::Initializer;
use ddae_onnx::messages::{AttributeProto, NodeProto, ValueInfoProto};
use ddae_onnx::write::Model;
use fusion::Fusion;

/// Why a graph cannot be written as ONNX.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The messages say it.
pub enum LowerError {
    #[error(transparent)]
    Weights(#[from] WeightsError),
    #[error(transparent)]
    Graph(#[from] GraphError),
    #[error("cannot fold the constant part of the graph: {0}")]
    Constant(#[from] RunError),
    #[error("the graph has no outputs; ask for a layer with --taps or keep the network's own")]
    NoOutputs,
    #[error("'{0}' names two values; ONNX wants one name for each input, output and layer")]
    Name(String),
    #[error("{layer}: {message}")]
    Unsupported { layer: String, message: String },
}

impl LowerError {
    pub(crate) fn unsupported(layer: &str, message: impl ToString) -> LowerError {
        LowerError::Unsupported { layer: layer.to_string(), message: message.to_string() }
    }
}

type Lowered<T> = Result<T, LowerError>;

/// Writes `graph` with `weights` as ONNX operators: layers are joined and weights folded where that is faster.
///
/// # Errors
/// [`LowerError`]: weights of another network, or a graph that ONNX cannot express.
pub fn lower<'w>(graph: &Graph, weights: &'w Weights) -> Result<Model<'w>, LowerError> {
    lower_fused(graph, weights, true)
}

/// [`lower`] with every operation by itself, to compare with.
///
/// # Errors
/// Like those of [`lower`].
pub fn lower_plainly<'w>(graph: &Graph, weights: &'w Weights) -> Result<Model<'w>, LowerError> {
    lower_fused(graph, weights, false)
}

fn lower_fused<'w>(graph: &Graph, weights: &'w Weights, fuse: bool) -> Result<Model<'w>, LowerError> {
    lower_with(graph, weights, fuse, |lowering, fusions| {
        let graph = lowering.graph;
        for (value, node) in graph.values() {
            if lowering.constants[value.index()].is_some() {
                continue;
            }
            match &fusions[value.index()] {
                Fusion::Absorbed => {}
                Fusion::Alone => lowering.node(value, node)?,
                Fusion::Conv(fused) => lowering.convolution(value, fused)?,
                Fusion::PixelAttention(fused) => lowering.pixel_attention(value, fused)?,
            }
        }
        Ok(())
    })
}

/// Folds constants, finds what is joined and has `write` write the nodes, between inputs and outputs.
fn lower_with<'w>(
    graph: &Graph,
    weights: &'w Weights,
    fuse: bool,
    write: impl FnOnce(&mut Lowering<'_, 'w>, Vec<Fusion>) -> Lowered<()>,
) -> Result<Model<'w>, LowerError> {
    let names: Vec<&str> = graph.outputs().iter().map(|(name, _)| name.as_str()).collect();
    if names.is_empty() {
        return Err(LowerError::NoOutputs);
    }
    let graph = graph.keep(&names)?;
    weights.check(&graph)?;
    let constants = constants::fold(&graph, weights)?;
    let fusions = fusion::fusions(&graph, &constants, fuse);
    let mut lowering = Lowering {
        graph: &graph,
        constants,
        names: vec![None; graph.nodes().len()],
        taken: HashSet::new(),
        shared: HashMap::new(),
        images: None,
        model: Model { name: "graph".to_string(), ..Model::default() },
    };
    lowering.inputs_and_outputs()?;
    write(&mut lowering, fusions)?;
    lowering.name_outputs()?;
    Ok(lowering.model)
}

/// The graph while it is written.
struct Lowering<'g, 'w> {
    graph: &'g Graph,
    /// The values that are known now, by position.
    constants: Vec<Option<Cow<'w, Tensor>>>,
    /// The ONNX names of the values written so far, by position.
    names: Vec<Option<String>>,
    taken: HashSet<String>,
    /// Small constants used in many places, by content.
    shared: HashMap<String, String>,
    /// For GPUs, the images that are held channels-last, by position.
    images: Option<Vec<Option<channels_last::Image>>>,
    model: Model<'w>,
}

impl<'w> Lowering<'_, 'w> {
    fn inputs_and_outputs(&mut self) -> Lowered<()> {
        let graph = self.graph;
        for (value, node) in graph.inputs() {
            self.claim(&node.name)?;
            self.names[value.index()] = Some(node.name.clone());
            self.model.inputs.push(ValueInfoProto::tensor(&node.name, node.dtype, &node.shape));
        }
        for (name, value) in graph.outputs() {
            self.claim(name)?;
            let node = graph.node(*value);
            self.model.outputs.push(ValueInfoProto::tensor(name, node.dtype, &node.shape));
        }
        Ok(())
    }

    /// Outputs that are inputs, constants or results under another name already.
    fn name_outputs(&mut self) -> Lowered<()> {
        let graph = self.graph;
        for (name, value) in graph.outputs() {
            let from = self.operand(*value)?;
            if from != *name {
                self.model.nodes.push(NodeProto::new("Identity", name, &[&from], vec![], &[name]));
            }
        }
        Ok(())
    }

    fn claim(&mut self, name: &str) -> Lowered<()> {
        if self.taken.insert(name.to_string()) { Ok(()) } else { Err(LowerError::Name(name.to_string())) }
    }

    /// A constant, borrowed from the weights where it lies there.
    fn known(&self, value: Value) -> Lowered<&Cow<'w, Tensor>> {
        self.constants[value.index()].as_ref().ok_or_else(|| {
            let message = "the weights of a layer must not depend on the inputs";
            LowerError::unsupported(&self.graph.node(value).name, message)
        })
    }

    /// A constant's float32 elements.
    fn known_f32(&self, value: Value) -> Lowered<&[f32]> {
        self.known(value)?.as_f32().ok_or_else(|| {
            LowerError::unsupported(&self.graph.node(value).name, "the weights of a layer must be f32")
        })
    }

    /// The ONNX name of a value; a constant is added to the file on its first use.
    fn operand(&mut self, value: Value) -> Lowered<String> {
        if let Some(name) = &self.names[value.index()] {
            return Ok(name.clone());
        }
        if let Some(name) = self.from_image(value)? {
            return Ok(name);
        }
        let node = self.graph.node(value);
        let Some(tensor) = self.constants[value.index()].clone() else {
            return Err(LowerError::unsupported(&node.name, "is used before it is computed"));
        };
        let name = self.initializer(&node.name, tensor)?;
        self.names[value.index()] = Some(name.clone());
        Ok(name)
    }

    /// Adds a constant under a name of its own.
    fn initializer(&mut self, name: &str, tensor: Cow<'w, Tensor>) -> Lowered<String> {
        self.stored(Initializer::new(name, tensor))
    }

    fn stored(&mut self, mut initializer: Initializer<'w>) -> Lowered<String> {
        // A constant that is itself an output leaves its name to the output.
        if self.taken.contains(&initializer.name) {
            initializer.name.push_str("/constant");
        }
        let name = initializer.name.clone();
        self.claim(&name)?;
        self.model.initializers.push(initializer);
        Ok(name)
    }

    /// Adds a small constant, or finds the one of the same content.
    fn shared(&mut self, key: String, tensor: impl FnOnce() -> Tensor) -> Lowered<String> {
        if let Some(name) = self.shared.get(&key) {
            return Ok(name.clone());
        }
        let name = self.initializer(&key, Cow::Owned(tensor()))?;
        self.shared.insert(key, name.clone());
        Ok(name)
    }

    /// A list of integers: shapes, axes, positions.
    fn integers(&mut self, list: &[i64]) -> Lowered<String> {
        let text: Vec<String> = list.iter().map(i64::to_string).collect();
        self.shared(format!("i64({})", text.join(",")), || Tensor::i64(&[list.len()], list.to_vec()))
    }

    /// A single number of the given type.
    fn scalar(&mut self, dtype: DType, x: f64) -> Lowered<String> {
        self.shared(format!("{dtype}({x:?})"), || scalar(dtype, x))
    }

    /// A shape for Reshape: the batch becomes -1.
    fn shape(&mut self, shape: &Shape) -> Lowered<String> {
        let list: Vec<i64> =
            (0..shape.rank()).map(|axis| shape.size(axis).map_or(-1, |n| n as i64)).collect();
        self.integers(&list)
    }

    /// Writes the part `part` of a layer, a value of `shape` and of the layer's type. Returns its name.
    fn part(
        &mut self,
        value: Value,
        part: &str,
        op: &str,
        inputs: &[&str],
        attributes: Vec<AttributeProto>,
        shape: &Shape,
    ) -> Lowered<String> {
        let names = self.parts(value, &[part], op, inputs, attributes, shape)?;
        Ok(names.into_iter().next().unwrap_or_default())
    }

    /// Writes an operation with several results of one shape.
    fn parts(
        &mut self,
        value: Value,
        parts: &[&str],
        op: &str,
        inputs: &[&str],
        attributes: Vec<AttributeProto>,
        shape: &Shape,
    ) -> Lowered<Vec<String>> {
        let node = self.graph.node(value);
        let mut names = Vec::new();
        for part in parts {
            let name = format!("{}/{part}", node.name);
            self.claim(&name)?;
            self.model.values.push(ValueInfoProto::tensor(&name, node.dtype, shape));
            names.push(name);
        }
        let outputs: Vec<&str> = names.iter().map(String::as_str).collect();
        self.model.nodes.push(NodeProto::new(op, &names[0], inputs, attributes, &outputs));
        Ok(names)
    }

    /// Writes the operation that gives the layer's result.
    fn result(
        &mut self,
        value: Value,
        op: &str,
        inputs: &[&str],
        attributes: Vec<AttributeProto>,
    ) -> Lowered<()> {
        let graph = self.graph;
        let node = graph.node(value);
        let name = match graph.outputs().iter().find(|(_, output)| *output == value) {
            Some((name, _)) => name.clone(),
            None => {
                self.claim(&node.name)?;
                self.model.values.push(ValueInfoProto::tensor(&node.name, node.dtype, &node.shape));
                node.name.clone()
            }
        };
        self.model.nodes.push(NodeProto::new(op, &node.name, inputs, attributes, &[&name]));
        self.names[value.index()] = Some(name);
        Ok(())
    }
}

/// A tensor without axes.
fn scalar(dtype: DType, x: f64) -> Tensor {
    match dtype {
        DType::F32 => Tensor::f32(&[], vec![x as f32]),
        DType::F64 => Tensor::f64(&[], vec![x]),
        // Integers take no factors and limits; the builder gives them to floats only.
        DType::I64 | DType::U8 => Tensor::i64(&[], vec![x as i64]),
    }
}
