//! A typed graph of tensor operations: the one form in which every network is written.
//!
//! - [`Graph`] holds nodes in order; a node only uses nodes before it.
//! - [`Value`] names a node; building functions take and give values.
//! - [`Path`] gives parameters their published names: `p.at("conv1")`.
//! - [`Graph::tap`] marks an intermediate layer, [`Graph::keep`] prunes to what is asked for.
//!
//! Building checks every shape, so an interpreter never meets a badly wired graph.

mod build;
mod kind;
mod op;
mod prune;
mod shape;
mod statistics;
mod text;
mod users;

pub use build::{Conv, Path};
pub use kind::GraphKind;
pub use op::{Init, Op, QkvLayout, Window};
pub use shape::{Dim, Shape};
pub use users::Users;

use crate::tensor::DType;

/// Refers to a node of the graph that made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Value(u32);

impl Value {
    /// Position of the node in [`Graph::nodes`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// One operation with its inputs.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Unique. For inputs and parameters the public name, for others the path of the layer or a generated name.
    pub name: String,
    /// What is computed.
    pub op: Op,
    /// The values it is computed from.
    pub inputs: Vec<Value>,
    /// The result's shape.
    pub shape: Shape,
    /// The result's element type.
    pub dtype: DType,
}

/// Why a graph could not be built or pruned.
#[derive(Debug, thiserror::Error)]
pub enum GraphError {
    /// Shapes, types or attributes do not fit.
    #[error("{path}: {message}")]
    Shape {
        /// The layer or generated node name.
        path: String,
        /// What does not fit, with the numbers.
        message: String,
    },
    /// Two nodes with one name.
    #[error("{0}: a node of this name exists already")]
    DuplicateName(String),
    /// A layer that is no output and no tap.
    #[error("no layer '{name}' in this network; it has {known}")]
    UnknownLayer {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: String,
    },
}

/// A network, or a network inside a diffusion process, as nodes in order of computation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Graph {
    nodes: Vec<Node>,
    names: std::collections::HashMap<String, Value>,
    outputs: Vec<(String, Value)>,
    taps: Vec<(String, Value)>,
}

impl Graph {
    /// An empty graph.
    pub fn new() -> Graph {
        Graph::default()
    }

    /// The nodes; each uses only nodes before it.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The node of a value.
    pub fn node(&self, value: Value) -> &Node {
        &self.nodes[value.index()]
    }

    /// The shape of a value.
    pub fn shape(&self, value: Value) -> &Shape {
        &self.node(value).shape
    }

    /// All values in order.
    pub fn values(&self) -> impl Iterator<Item = (Value, &Node)> {
        self.nodes.iter().enumerate().map(|(i, node)| (Value(i as u32), node))
    }

    /// The values given when the graph runs, in order of creation.
    pub fn inputs(&self) -> impl Iterator<Item = (Value, &Node)> {
        self.values().filter(|(_, node)| node.op == Op::Input)
    }

    /// The stored values, parameters and buffers, in order of creation: what a checkpoint must hold.
    pub fn parameters(&self) -> impl Iterator<Item = (Value, &Node)> {
        self.values().filter(|(_, node)| matches!(node.op, Op::Parameter { .. }))
    }

    /// Names and values of the results.
    pub fn outputs(&self) -> &[(String, Value)] {
        &self.outputs
    }

    /// Names and values of the marked intermediate layers, in order of execution.
    pub fn taps(&self) -> &[(String, Value)] {
        &self.taps
    }

    /// Declares `value` a result under `name`.
    pub fn output(&mut self, name: &str, value: Value) {
        self.outputs.push((name.to_string(), value));
    }

    /// Marks `value` as the intermediate layer `name`. Costs nothing unless it is [kept](Graph::keep).
    pub fn tap(&mut self, name: &str, value: Value) {
        self.taps.push((name.to_string(), value));
    }

    /// Forgets all results and marks; the nodes stay.
    pub fn clear_results(&mut self) {
        self.outputs.clear();
        self.taps.clear();
    }

    /// The value of a tap.
    ///
    /// # Errors
    /// [`GraphError::UnknownLayer`] lists the taps there are.
    pub fn find_tap(&self, name: &str) -> Result<Value, GraphError> {
        self.taps.iter().find(|(tap, _)| tap == name).map(|(_, value)| *value).ok_or_else(|| {
            let known: Vec<&str> = self.taps.iter().map(|(tap, _)| tap.as_str()).collect();
            GraphError::UnknownLayer { name: name.to_string(), known: known.join(", ") }
        })
    }

    fn push(
        &mut self,
        name: String,
        op: Op,
        inputs: Vec<Value>,
        shape: Shape,
        dtype: DType,
    ) -> Result<Value, GraphError> {
        let value = Value(self.nodes.len() as u32);
        if self.names.insert(name.clone(), value).is_some() {
            return Err(GraphError::DuplicateName(name));
        }
        self.nodes.push(Node { name, op, inputs, shape, dtype });
        Ok(value)
    }
}
