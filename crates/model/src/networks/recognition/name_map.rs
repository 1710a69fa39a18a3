//! Where the parameters of a network are in a file that gives them other names.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A table from our parameters' names to tensors of a file. Parameters that are not in it keep their names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NameMap(BTreeMap<String, ParameterSource>);

/// The tensors that make up a parameter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParameterSource {
    /// Names of the tensors; several are joined along the first axis, in this order.
    pub tensors: Vec<String>,
    /// Whether the elements take the parameter's shape, whatever theirs is (a 1x1 convolution that is a linear layer
    /// here). Otherwise the shapes must agree.
    #[serde(default)]
    pub reshape: bool,
}

impl NameMap {
    /// The empty table: all names are ours.
    pub fn new() -> NameMap {
        NameMap::default()
    }

    /// Says that `parameter` is the tensor `name`.
    pub fn rename(&mut self, parameter: impl Into<String>, name: impl Into<String>) {
        self.insert(parameter, ParameterSource { tensors: vec![name.into()], reshape: false });
    }

    /// Says that `parameter` is the tensors `names`, joined along the first axis.
    pub fn join(&mut self, parameter: impl Into<String>, names: &[&str]) {
        let tensors = names.iter().map(ToString::to_string).collect();
        self.insert(parameter, ParameterSource { tensors, reshape: false });
    }

    /// Says where `parameter` comes from.
    pub fn insert(&mut self, parameter: impl Into<String>, source: ParameterSource) {
        self.0.insert(parameter.into(), source);
    }

    /// Where `parameter` comes from, if not from a tensor of its own name.
    pub fn get(&self, parameter: &str) -> Option<&ParameterSource> {
        self.0.get(parameter)
    }

    /// All entries, sorted by parameter.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &ParameterSource)> {
        self.0.iter().map(|(parameter, source)| (parameter.as_str(), source))
    }
}
