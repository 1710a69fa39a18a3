//! Cutting a graph to what some of its results need.

use super::{Graph, GraphError, Value};

impl Graph {
    /// The part of the graph that computes `result`, which becomes its only output, `name`.
    ///
    /// # Errors
    /// When the graph cannot be cut.
    pub fn only(mut self, name: &str, result: Value) -> Result<Graph, GraphError> {
        self.clear_results();
        self.output(name, result);
        self.keep(&[name])
    }

    /// The part of the graph that computes the results `names`, each an output or a tap, in that order.
    /// Inputs that nothing needs disappear, and so does every layer after the last one needed.
    ///
    /// # Errors
    /// [`GraphError::UnknownLayer`] for a name that is neither, listing those there are.
    pub fn keep(&self, names: &[&str]) -> Result<Graph, GraphError> {
        let mut wanted = Vec::new();
        for &name in names {
            let found = self.outputs.iter().chain(&self.taps).find(|(known, _)| known == name);
            let Some((_, value)) = found else {
                let known: Vec<&str> =
                    self.taps.iter().chain(&self.outputs).map(|(n, _)| n.as_str()).collect();
                return Err(GraphError::UnknownLayer { name: name.to_string(), known: known.join(", ") });
            };
            wanted.push((name.to_string(), *value));
        }

        let mut needed = vec![false; self.nodes.len()];
        for (_, value) in &wanted {
            needed[value.index()] = true;
        }
        for (i, node) in self.nodes.iter().enumerate().rev() {
            if needed[i] {
                for input in &node.inputs {
                    needed[input.index()] = true;
                }
            }
        }

        let mut pruned = Graph::new();
        let mut moved: Vec<Option<Value>> = vec![None; self.nodes.len()];
        for (i, node) in self.nodes.iter().enumerate().filter(|(i, _)| needed[*i]) {
            let inputs = node.inputs.iter().filter_map(|v| moved[v.index()]).collect();
            let (name, op) = (node.name.clone(), node.op.clone());
            moved[i] = Some(pruned.push(name, op, inputs, node.shape.clone(), node.dtype)?);
        }
        let place = |list: &[(String, Value)]| -> Vec<(String, Value)> {
            list.iter().filter_map(|(name, v)| moved[v.index()].map(|v| (name.clone(), v))).collect()
        };
        pruned.outputs = place(&wanted);
        pruned.taps = place(&self.taps);
        Ok(pruned)
    }
}
