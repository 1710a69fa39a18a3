//! Who uses which value: what an interpreter must know before it runs several nodes as one.

use super::{Dim, Graph, Op, Value};

/// The uses of every value of a graph.
#[derive(Debug)]
pub struct Users<'g> {
    graph: &'g Graph,
    /// How often, as an operand or a result.
    counts: Vec<usize>,
    /// The last node that does.
    last: Vec<Option<Value>>,
}

impl Graph {
    /// The uses of every value.
    pub fn users(&self) -> Users<'_> {
        let nodes = self.nodes().len();
        let mut users = Users { graph: self, counts: vec![0; nodes], last: vec![None; nodes] };
        for (user, node) in self.values() {
            for input in &node.inputs {
                users.counts[input.index()] += 1;
                users.last[input.index()] = Some(user);
            }
        }
        for (_, value) in self.outputs() {
            users.counts[value.index()] += 1;
        }
        users
    }
}

impl Users<'_> {
    /// How often a value is used, as an operand or as a result of the graph.
    pub fn count(&self, value: Value) -> usize {
        self.counts[value.index()]
    }

    /// The only node that uses a value, if it uses it once.
    pub fn only(&self, value: Value) -> Option<Value> {
        self.last[value.index()].filter(|_| self.count(value) == 1)
    }

    /// Whether `value` is a doubling of pixels that only feeds a 3x3 convolution of stride 1 that keeps the size: both
    /// are cheaper together.
    pub fn feeds_doubled_conv(&self, value: Value) -> bool {
        let graph = self.graph;
        let Some(user) = self.only(value).map(|user| graph.node(user)) else { return false };
        graph.node(value).op == (Op::UpsampleNearest { factor: 2 })
            && user.op == (Op::Conv2d { stride: 1, padding: [1; 4] })
            && user.inputs[0] == value
            && graph.shape(user.inputs[1]).dims()[2..] == [Dim::Size(3); 2]
    }
}
