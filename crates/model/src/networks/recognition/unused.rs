//! What a file holds of a network beyond what the network, as it was understood, uses.

use std::collections::HashSet;

use super::{Found, Names, Shapes, find, innermost, name_map};
use crate::graph::{Graph, GraphError, Shape};
use crate::networks::registry::{Architecture, Family};
use crate::networks::unet::DIFFUSERS;
use crate::networks::{Denoiser, OF_LOSS};
use crate::tensor::DType;

/// Counters of batch norms, which nothing is computed from.
const COUNTER: &str = "num_batches_tracked";

/// Numbers of moving averages and profilers, which nothing is computed from either.
const NUMBERS: [&str; 5] = ["num_updates", "decay", "n_averaged", "total_ops", "total_params"];

impl Architecture {
    /// The names of tensors in a file that stand where this network's parameters do and are none of them: with them, the
    /// file's network computes something else. None where the file does not hold exactly one network of this kind, or one
    /// whose names have nothing before them.
    ///
    /// The other half of a SODA or of an autoencoder, and what stands after the longer prefixes of others, are networks
    /// of their own. Nothing is said of Inception, whose published file has a classifier too.
    ///
    /// # Errors
    /// When the network cannot be built.
    pub fn unused<'s>(&self, names: Names, shapes: &'s Shapes) -> Result<Vec<&'s str>, GraphError> {
        let Family { parts, ignored, .. } = self.network().family();
        let all = find(shapes).unwrap_or_default();
        let of_this_kind: Vec<&Found> = all.iter().filter(|found| self.is_of(found.family)).collect();
        let bare = of_this_kind.iter().copied().find(|found| found.prefix.is_empty());
        let own = match &*of_this_kind {
            [only] => Some(*only),
            _ => bare,
        };
        let Some(own) = own else { return Ok(Vec::new()) };
        let used = self.used(names)?;
        let is_number =
            |name: &str| shapes.get(name).is_some_and(|shape| shape.iter().product::<usize>() == 1);
        let mut inner: Vec<&str> = all.iter().map(|other| other.prefix.as_str()).collect();
        inner.retain(|prefix| prefix.len() > own.prefix.len());
        inner.sort_unstable();
        inner.dedup();
        let others = innermost(shapes.iter().map(|(name, _)| name), &inner);
        let is_unused = |name: &str| {
            let Some(name_there) = name.strip_prefix(&own.prefix) else { return false };
            let leaf = name_there.rsplit('.').next().unwrap_or(name_there);
            let is_of_loss = name_there.starts_with(OF_LOSS) && self.has_uncertainty();
            let is_bookkeeping = leaf == COUNTER || NUMBERS.contains(&leaf) && is_number(name);
            let has_a_use =
                used.contains(name_there) || is_bookkeeping || ignored.contains(&name_there) || is_of_loss;
            parts.iter().any(|part| name_there.starts_with(part)) && !has_a_use
        };
        let outside = shapes.iter().zip(others).filter(|(_, other)| other.is_none());
        Ok(outside.map(|((name, _), _)| name).filter(|name| is_unused(name)).collect())
    }

    /// Whether the loss of this network learns an uncertainty.
    fn has_uncertainty(&self) -> bool {
        let added = |network: &dyn Denoiser| {
            let mut g = Graph::new();
            let t = g.input("t", DType::F32, Shape::batch(&[])).ok()?;
            network.uncertainty(&mut g, t).ok()?
        };
        self.denoiser().ok().and_then(added).is_some()
    }

    /// Whether networks of a family are of this one's kind.
    pub fn is_of(&self, family: &Family) -> bool {
        self.network().family() == family || (self.unet().is_some() && *family == DIFFUSERS)
    }

    /// The names of all parameters and buffers in a file.
    fn used(&self, names: Names) -> Result<HashSet<String>, GraphError> {
        let map = name_map(names, self)?;
        let graph = self.network_graph(true)?;
        let of_parameter = |name: &str| match map.get(name) {
            Some(source) => source.tensors.clone(),
            None => vec![name.to_string()],
        };
        Ok(graph.parameters().flat_map(|(_, node)| of_parameter(&node.name)).collect())
    }
}
