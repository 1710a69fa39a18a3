//! Parameters by name: initial values, and checks of stored ones against a graph.

use std::collections::BTreeMap;

use ddae_base::random::named_stream;
use serde::{Deserialize, Serialize};

use crate::graph::{Graph, Init, Node, Op};
use crate::tensor::{DType, Tensor};

/// Which weights of a checkpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WeightSet {
    /// The moving average: what features and samples use.
    #[default]
    Ema,
    /// The weights in training.
    Model,
}

impl WeightSet {
    /// The prefix of their tensors' names in our own training checkpoints.
    pub fn prefix(self) -> &'static str {
        match self {
            WeightSet::Ema => "ema.",
            WeightSet::Model => "model.",
        }
    }

    /// The name in files and on the command line: `ema` or `model`.
    pub fn name(self) -> &'static str {
        self.prefix().trim_end_matches('.')
    }
}

/// Tensors under their published names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Weights(BTreeMap<String, Tensor>);

/// Stored tensors that are not those of a network.
#[derive(Clone, Debug, thiserror::Error, PartialEq)]
pub enum WeightsError {
    /// A parameter is not there.
    #[error(
        "parameter '{name}' {shape:?} of the network is not in the file, which holds {others}: is this the checkpoint of another architecture?"
    )]
    Missing {
        /// The parameter.
        name: String,
        /// Its shape in the network.
        shape: Vec<usize>,
        /// What the file holds instead, abridged.
        others: String,
    },
    /// A parameter has another shape.
    #[error(
        "parameter '{name}' is {found:?} in the file and {expected:?} in the network: the checkpoint is of another architecture"
    )]
    Shape {
        /// The parameter.
        name: String,
        /// Its shape in the file.
        found: Vec<usize>,
        /// Its shape in the network.
        expected: Vec<usize>,
    },
    /// A parameter is not float32.
    #[error("parameter '{name}' is {found}; it must be f32 (f16 and bf16 are read as f32)")]
    Type {
        /// The parameter.
        name: String,
        /// Its element type in the file.
        found: DType,
    },
}

impl Weights {
    /// No tensors.
    pub fn new() -> Weights {
        Weights::default()
    }

    /// Adds a tensor, replacing one of the same name.
    pub fn insert(&mut self, name: impl Into<String>, tensor: Tensor) {
        self.0.insert(name.into(), tensor);
    }

    /// The tensor of a name.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.0.get(name)
    }

    /// Names and tensors, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.0.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// Number of tensors.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Checks that every parameter of the graph is here with its shape. Other tensors are allowed.
    ///
    /// # Errors
    /// The first parameter, in the network's order, that is missing or of another shape or type.
    pub fn check(&self, graph: &Graph) -> Result<(), WeightsError> {
        for (_, node) in graph.parameters() {
            let tensor = self.parameter(node)?;
            if tensor.as_f32().is_none() {
                return Err(WeightsError::Type { name: node.name.clone(), found: tensor.dtype() });
            }
        }
        Ok(())
    }

    /// The tensor of a graph's parameter, of any type.
    ///
    /// # Errors
    /// When it is missing or of another shape.
    pub fn parameter(&self, node: &Node) -> Result<&Tensor, WeightsError> {
        let expected = node.shape.resolve(1);
        let Some(tensor) = self.get(&node.name) else {
            let mut others: Vec<&str> = self.0.keys().map(String::as_str).take(3).collect();
            if self.len() > others.len() {
                others.push("…");
            }
            let others = format!("{} tensors ({})", self.len(), others.join(", "));
            return Err(WeightsError::Missing { name: node.name.clone(), shape: expected, others });
        };
        if tensor.shape() != expected {
            let found = tensor.shape().to_vec();
            return Err(WeightsError::Shape { name: node.name.clone(), found, expected });
        }
        Ok(tensor)
    }

    /// Initial values of a graph's parameters and buffers. Each depends only on the seed and the parameter's name, so two
    /// graphs of one network start alike.
    pub fn initial(graph: &Graph, seed: u64) -> Weights {
        let mut weights = Weights::new();
        for (_, node) in graph.parameters() {
            let Op::Parameter { init, .. } = &node.op else { continue };
            let shape = node.shape.resolve(1);
            let count = shape.iter().product();
            let mut rng = named_stream(seed, &node.name);
            let values = match init {
                Init::Zeros => vec![0.0; count],
                Init::Ones => vec![1.0; count],
                Init::Uniform { bound } => {
                    (0..count).map(|_| ((2.0 * rng.uniform() - 1.0) * bound) as f32).collect()
                }
                Init::Normal { std } => (0..count).map(|_| (rng.normal() * std) as f32).collect(),
                Init::Values(values) => values.to_vec(),
            };
            weights.insert(node.name.clone(), Tensor::f32(&shape, values));
        }
        weights
    }
}

impl FromIterator<(String, Tensor)> for Weights {
    fn from_iter<I: IntoIterator<Item = (String, Tensor)>>(tensors: I) -> Weights {
        Weights(tensors.into_iter().collect())
    }
}

impl IntoIterator for Weights {
    type Item = (String, Tensor);
    type IntoIter = std::collections::btree_map::IntoIter<String, Tensor>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}
