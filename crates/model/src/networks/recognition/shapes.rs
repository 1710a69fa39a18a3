//! Names and shapes of the tensors of a file, as recognition asks for them.

use std::collections::{BTreeMap, BTreeSet};

use super::RecogniseError;

/// A limit far above any layer: beyond it the numbers of a network could not even be counted.
const LARGEST_SIZE: usize = 1 << 16;

/// Names and shapes of stored tensors. Nothing of their values is known, or needed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shapes(BTreeMap<String, Vec<usize>>);

impl Shapes {
    /// The shape of a tensor.
    pub fn get(&self, name: &str) -> Option<&[usize]> {
        self.0.get(name).map(Vec::as_slice)
    }

    /// Whether there is a tensor of this name.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Whether there are tensors below a layer.
    pub fn has_layer(&self, path: &str) -> bool {
        let start = format!("{path}.");
        self.0.range(start.clone()..).next().is_some_and(|(name, _)| name.starts_with(&start))
    }

    /// Names and shapes, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.0.iter().map(|(name, shape)| (name.as_str(), shape.as_slice()))
    }

    /// Number of tensors.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The tensors whose names start with `prefix`, under the rest of their names.
    pub fn below(&self, prefix: &str) -> Shapes {
        let inside = self.0.range(prefix.to_string()..).take_while(|(name, _)| name.starts_with(prefix));
        inside.map(|(name, shape)| (name[prefix.len()..].to_string(), shape.clone())).collect()
    }

    /// What stands before `name` in all names that end with it: nothing, or parts with a point after them.
    pub(in crate::networks) fn prefixes(&self, name: &str) -> BTreeSet<String> {
        let before = |full: &str| full.strip_suffix(name).map(str::to_string);
        self.0.keys().filter_map(|full| before(full)).filter(|p| p.is_empty() || p.ends_with('.')).collect()
    }

    /// How many parts of the layer `path` are numbered `0, 1, …` without a gap.
    pub(in crate::networks) fn count(&self, path: &str) -> usize {
        (0..self.0.len()).take_while(|i| self.has_layer(&format!("{path}.{i}"))).count()
    }

    /// The shape of a tensor that the network `of` must have, with `N` axes of a sensible size.
    pub(in crate::networks) fn want<const N: usize>(
        &self,
        of: &'static str,
        name: &str,
    ) -> Result<[usize; N], RecogniseError> {
        let odd = |problem: String| RecogniseError::Inconsistent { network: of, problem };
        let shape = self.get(name).ok_or_else(|| odd(format!("it has no '{name}'")))?;
        match <[usize; N]>::try_from(shape) {
            Ok(shape) if shape.iter().all(|size| (1..=LARGEST_SIZE).contains(size)) => Ok(shape),
            _ => Err(odd(format!("'{name}' is {shape:?}, where {N} axes of 1 to {LARGEST_SIZE} are wanted"))),
        }
    }
}

impl FromIterator<(String, Vec<usize>)> for Shapes {
    fn from_iter<I: IntoIterator<Item = (String, Vec<usize>)>>(shapes: I) -> Shapes {
        Shapes(shapes.into_iter().collect())
    }
}
