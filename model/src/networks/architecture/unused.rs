//! What a file holds of a network beyond what the network, as it was understood, uses.

use std::collections::HashSet;

use super::{Architecture, Family, Found, Names, Shapes, find, name_map};
use crate::graph::GraphError;

/// Counters of batch norms, which nothing is computed from.
const COUNTER: &str = "num_batches_tracked";

/// The uncertainty of EDM2's loss stands beside its network.
const UNCERTAINTY: &str = "reweight_mlp.";

/// DiT's table of positions holds the values of a formula, which a configuration may prefer.
const POSITIONS: &str = "pos_embed";

impl Architecture {
    /// The names of tensors in a file that stand where this network's parameters do and are none of them: with them, the
    /// file's network computes something else. None where the file does not hold exactly one network of this kind.
    ///
    /// The other half of a SODA or of an autoencoder, and what stands after the longer prefixes of others, are networks
    /// of their own. Nothing is said of Inception, whose published file has a classifier too.
    ///
    /// # Errors
    /// When the network cannot be built.
    pub fn unused<'s>(&self, names: Names, shapes: &'s Shapes) -> Result<Vec<&'s str>, GraphError> {
        let parts: &[&str] = match self.family() {
            Family::Inception => return Ok(Vec::new()),
            Family::SodaEncoder => &["encoder."],
            Family::SodaDecoder => &["decoder."],
            Family::VaeEncoder => &["encoder.", "quant_conv."],
            _ => &[""],
        };
        let all = find(shapes).unwrap_or_default();
        let mut of_this_kind = all.iter().filter(|found| self.is_of(found.family));
        let (Some(own), None) = (of_this_kind.next(), of_this_kind.next()) else { return Ok(Vec::new()) };
        let used = self.used(names)?;
        let is_inner = |other: &&Found| other.prefix.len() > own.prefix.len();
        let is_unused = |name: &str| {
            let Some(name_there) = name.strip_prefix(&own.prefix) else { return false };
            let leaf = name_there.rsplit('.').next().unwrap_or(name_there);
            parts.iter().any(|part| name_there.starts_with(part))
                && !used.contains(name_there)
                && leaf != COUNTER
                && !(name_there.starts_with(UNCERTAINTY) && self.is_edm2())
                && !(name_there == POSITIONS && self.family() == Family::DiT)
                && !all.iter().filter(is_inner).any(|other| name.starts_with(&other.prefix))
        };
        Ok(shapes.iter().map(|(name, _)| name).filter(|name| is_unused(name)).collect())
    }

    fn is_edm2(&self) -> bool {
        matches!(self, Architecture::UNetC(_) | Architecture::UNetE(_) | Architecture::UNetG(_))
    }

    /// Whether networks of a family are of this one's kind.
    fn is_of(&self, family: Family) -> bool {
        matches!((self, family), (Architecture::UNet(_), Family::DiffusersUNet)) || self.family() == family
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
