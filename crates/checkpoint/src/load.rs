//! The weights of a network, found in a checkpoint by the names of its parameters.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use super::CheckpointError;
use super::file::Checkpoint;
use super::sets::NamedWeights;
use super::stored::StoredTensor;
use ddae_model::graph::{Graph, Node};
use ddae_model::networks::OF_LOSS;
use ddae_model::networks::recognition::{NameMap, ParameterSource, Shapes};
use ddae_model::tensor::{Data, Tensor};
use ddae_model::weights::{WeightSet, Weights, WeightsError};

/// How many names an error shows.
const SHOWN: usize = 3;

impl Checkpoint {
    /// The weights of a network, its parameters and buffers, from the set `set`. Only they are read; floats of any size
    /// become float32.
    ///
    /// Whatever the names in the file begin with (`EMA.ema_model.nn_model.`, `decoder.`) is found out: it is what the
    /// most of the network's parameters have before their own names.
    ///
    /// # Errors
    /// When the file does not have the set; else the first parameter that is missing, or of another shape or type.
    pub fn weights(&self, set: WeightSet, graph: &Graph) -> Result<Weights, CheckpointError> {
        self.mapped_weights(set, graph, &NameMap::new())
    }

    /// [`Checkpoint::weights`] from a file with names of its own, which `map` tells.
    ///
    /// # Errors
    /// Like those of [`Checkpoint::weights`].
    pub fn mapped_weights(
        &self,
        set: WeightSet,
        graph: &Graph,
        map: &NameMap,
    ) -> Result<Weights, CheckpointError> {
        self.weights_below(self.root(set)?, None, graph, map)
    }

    /// The weights of a network, its parameters and buffers, from one of the file's sets of weights, whose names `map` tells.
    ///
    /// # Errors
    /// The first parameter that is missing, or of another shape or type.
    pub fn weights_of(
        &self,
        set: &NamedWeights,
        graph: &Graph,
        map: &NameMap,
    ) -> Result<Weights, CheckpointError> {
        self.weights_below(set.prefix(), Some(set.prefix()), graph, map)
    }

    /// The weights of a graph whose network's names stand after `exact`, or after what the most of them have before their own
    /// below `root`.
    fn weights_below(
        &self,
        root: &str,
        exact: Option<&str>,
        graph: &Graph,
        map: &NameMap,
    ) -> Result<Weights, CheckpointError> {
        let parameters: Vec<(&Node, ParameterSource)> =
            graph.parameters().map(|(_, node)| (node, source(map, &node.name))).collect();
        // What a loss learns stands beside its network in published files, not in it.
        let names = |of_loss: bool| -> HashSet<&str> {
            let sources = parameters.iter().filter(|(node, _)| node.name.starts_with(OF_LOSS) == of_loss);
            sources.flat_map(|(_, source)| source.tensors.iter().map(String::as_str)).collect()
        };
        let of_network = exact.unwrap_or_else(|| self.prefix(root, &names(false)).unwrap_or(root));
        let of_loss = {
            let names = names(true);
            // Beside the network means after one of the beginnings of its prefix, the longest first.
            let dots = root.rmatch_indices('.').map(|(dot, _)| &root[..=dot]);
            let found = dots.chain([""]).find_map(|outer| self.prefix(outer, &names));
            found.unwrap_or(root)
        };
        let mut weights = Weights::new();
        for (node, source) in &parameters {
            let prefix = if node.name.starts_with(OF_LOSS) { of_loss } else { of_network };
            let tensor = self.parameter(node, source, prefix)?;
            weights.insert(node.name.clone(), tensor);
        }
        Ok(weights)
    }

    /// Names in the network and shapes of a set's tensors: what an architecture is recognised by.
    ///
    /// # Errors
    /// When the file does not have the set.
    pub fn shapes(&self, set: WeightSet) -> Result<Shapes, CheckpointError> {
        let shape = |(name, tensor): (&str, &StoredTensor)| (name.to_string(), tensor.shape().to_vec());
        Ok(self.parameters(set)?.into_iter().map(shape).collect())
    }

    /// The same of the tensors whose names begin with `prefix`, without it.
    pub fn shapes_below(&self, prefix: &str) -> Shapes {
        let shape =
            |tensor: &StoredTensor| (tensor.name()[prefix.len()..].to_string(), tensor.shape().to_vec());
        self.below(prefix).iter().map(shape).collect()
    }

    /// The tensors of a set by their names in the network.
    ///
    /// # Errors
    /// When the file does not have the set.
    pub fn parameters(&self, set: WeightSet) -> Result<Vec<(&str, &StoredTensor)>, CheckpointError> {
        let root = self.root(set)?;
        Ok(self.below(root).iter().map(|tensor| (&tensor.name()[root.len()..], tensor)).collect())
    }

    fn root(&self, set: WeightSet) -> Result<&str, CheckpointError> {
        self.layout().root(set).ok_or_else(|| {
            let (asked, other) = match set {
                WeightSet::Ema => ("EMA weights", "model"),
                WeightSet::Model => ("weights in training", "ema"),
            };
            let message = format!("holds no {asked} ({}); take --weights {other}", self.layout());
            CheckpointError::format(self.path(), message)
        })
    }

    /// What stands before the names `wanted` in the file, below `root`; none where it holds none of them.
    fn prefix(&self, root: &str, wanted: &HashSet<&str>) -> Option<&str> {
        if wanted.is_empty() {
            return None;
        }
        let longest = wanted.iter().map(|name| name.len()).max().unwrap_or(0);
        let mut found: HashMap<&str, usize> = HashMap::new();
        for tensor in self.below(root) {
            let name = tensor.name();
            let after_dots = name.rmatch_indices('.').map(|(dot, _)| dot + 1);
            let starts = after_dots.chain([0]).take_while(|start| name.len() - start <= longest);
            for start in starts.filter(|&start| start >= root.len()) {
                if wanted.contains(&name[start..]) {
                    *found.entry(&name[..start]).or_insert(0) += 1;
                }
            }
        }
        let best = found.into_iter().max_by_key(|&(prefix, count)| (count, Reverse((prefix.len(), prefix))));
        best.map(|(prefix, _)| prefix)
    }

    fn parameter(
        &self,
        node: &Node,
        source: &ParameterSource,
        prefix: &str,
    ) -> Result<Tensor, CheckpointError> {
        let wrong = |source| CheckpointError::Weights { path: self.path().to_path_buf(), source };
        let expected = node.shape.resolve(1);
        let mut parts = Vec::new();
        for name in &source.tensors {
            let full = format!("{prefix}{name}");
            if let Ok(at) = self.unread().binary_search_by(|(unread, _)| unread.as_str().cmp(&full)) {
                let message = format!("holds '{full}' as {}, which is not read", self.unread()[at].1);
                return Err(CheckpointError::format(self.path(), message));
            }
            let part = self.find(&full).ok_or_else(|| {
                let (name, shape, others) = (name.clone(), expected.clone(), self.others(prefix));
                wrong(WeightsError::Missing { name, shape, others })
            })?;
            parts.push(part);
        }
        let found = joined(&parts);
        let fits = match (&found, source.reshape) {
            (Some(found), false) => *found == expected,
            (Some(found), true) => count(found).is_some_and(|found| Some(found) == count(&expected)),
            (None, _) => false,
        };
        if !fits {
            let found =
                found.unwrap_or_else(|| parts.first().map_or_else(Vec::new, |part| part.shape().to_vec()));
            return Err(wrong(WeightsError::Shape { name: node.name.clone(), found, expected }));
        }
        let mut values = Vec::new();
        for part in parts {
            let tensor = self.read_stored(part)?;
            let found = tensor.dtype();
            let part = match tensor.into_data() {
                Data::F32(part) => part,
                Data::F64(part) => part.into_iter().map(|value| value as f32).collect(),
                Data::I64(_) | Data::U8(_) => {
                    return Err(wrong(WeightsError::Type { name: node.name.clone(), found }));
                }
            };
            if values.is_empty() { values = part } else { values.extend(part) }
        }
        Tensor::new(&expected, Data::F32(values))
            .ok_or_else(|| CheckpointError::format(self.path(), format!("ends before '{}' does", node.name)))
    }

    /// What there is below `prefix`, abridged for an error.
    fn others(&self, prefix: &str) -> String {
        let tensors = self.below(prefix);
        let mut names: Vec<&str> = tensors.iter().take(SHOWN).map(StoredTensor::name).collect();
        if tensors.len() > names.len() {
            names.push("…");
        }
        format!("{} tensors ({})", tensors.len(), names.join(", "))
    }
}

fn source(map: &NameMap, parameter: &str) -> ParameterSource {
    let own = || ParameterSource { tensors: vec![parameter.to_string()], reshape: false };
    map.get(parameter).cloned().unwrap_or_else(own)
}

/// The shape of tensors joined along the first axis, if they can be.
fn joined(parts: &[&StoredTensor]) -> Option<Vec<usize>> {
    let (first, others) = parts.split_first()?;
    let mut shape = first.shape().to_vec();
    for part in others {
        let (size, rest) = part.shape().split_first()?;
        if *rest != *shape.get(1..)? {
            return None;
        }
        shape[0] = shape[0].checked_add(*size)?;
    }
    Some(shape)
}

fn count(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |count, &size| count.checked_mul(size))
}
