//! Rewriting finished ONNX graphs.

use std::collections::{HashMap, HashSet};

use ddae_onnx::initializer::Initializer;
use ddae_onnx::messages::{NodeProto, ValueInfoProto};
use ddae_onnx::write::Model;

use crate::lower::LowerError;

/// A model whose nodes are replaced one after the other.
pub(crate) struct Rewriting<'m, 'w> {
    pub model: &'m mut Model<'w>,
    /// The new nodes so far.
    pub nodes: Vec<NodeProto>,
    /// Types and shapes of all values and constants by name.
    values: HashMap<String, ValueInfoProto>,
    /// What was made by [`Rewriting::once`].
    made: HashSet<String>,
}

impl<'m, 'w> Rewriting<'m, 'w> {
    /// The model, and its old nodes.
    pub fn begin(model: &'m mut Model<'w>) -> (Rewriting<'m, 'w>, Vec<NodeProto>) {
        let constants = model.initializers.iter().map(Initializer::value_info);
        let values = model.declared().cloned().chain(constants);
        let values = values.map(|value| (value.name.clone(), value)).collect();
        let old = std::mem::take(&mut model.nodes);
        (Rewriting { model, nodes: Vec::with_capacity(old.len()), values, made: HashSet::new() }, old)
    }

    /// The number of a value's element type; 0 where it is unknown.
    pub fn element_type(&self, name: &str) -> i32 {
        self.values.get(name).map_or(0, ValueInfoProto::element_type)
    }

    /// Declares that a value has another element type.
    pub fn set_element_type(&mut self, name: &str, element_type: i32) {
        if let Some(value) = self.values.get_mut(name) {
            value.set_element_type(element_type);
        }
    }

    /// A new value of the shape of another.
    pub fn value(&mut self, name: String, like: &str, element_type: i32) -> Result<String, LowerError> {
        let mut value = self.values.get(like).cloned().unwrap_or_default();
        value.name = name.clone();
        value.set_element_type(element_type);
        self.claim(value.clone())?;
        self.model.values.push(value);
        Ok(name)
    }

    /// The value `NAME/PART`, like the value `name`, and whether this is the first time that it is asked for, so that it
    /// must be computed.
    pub fn once(&mut self, name: &str, part: &str, element_type: i32) -> Result<(String, bool), LowerError> {
        let new = format!("{name}/{part}");
        let is_first = self.made.insert(new.clone());
        if is_first {
            self.value(new.clone(), name, element_type)?;
        }
        Ok((new, is_first))
    }

    /// A new constant.
    pub fn constant(&mut self, constant: Initializer<'w>) -> Result<String, LowerError> {
        let name = constant.name.clone();
        self.claim(constant.value_info())?;
        self.model.initializers.push(constant);
        Ok(name)
    }

    fn claim(&mut self, value: ValueInfoProto) -> Result<(), LowerError> {
        match self.values.contains_key(&value.name) {
            true => Err(LowerError::Name(value.name)),
            false => {
                self.values.insert(value.name.clone(), value);
                Ok(())
            }
        }
    }

    /// Puts the nodes into the model and brings the declared types of its values up to date.
    pub fn finish(self) {
        self.model.nodes = self.nodes;
        for value in &mut self.model.values {
            if let Some(known) = self.values.get(&value.name) {
                value.set_element_type(known.element_type());
            }
        }
    }
}
