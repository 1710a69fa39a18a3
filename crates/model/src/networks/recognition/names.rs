//! The parameters of a network in files whose names or cuts are others.

use super::{NameMap, ParameterSource};
use super::{Recognised, Shapes};
use crate::graph::GraphError;
use crate::networks::registry::Architecture;
use crate::networks::{AttentionNames, VAE_ENCODER_OLDER_NAMES, diffusers_sources, vae_encoder_compvis_name};

/// How a file names the parameters of its network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Names {
    /// As the graph does: the published names.
    #[default]
    Published,
    /// As diffusers' `UNet2DModel` does, with queries, keys and values apart.
    DiffusersUNet(AttentionNames),
    /// As older files of diffusers' autoencoder do.
    OlderVae,
    /// As CompVis' autoencoder does, in the files that diffusers' were made of.
    CompVisVae,
}

impl Names {
    /// Those of an autoencoder, below any prefix.
    pub fn of_vae(shapes: &Shapes) -> Names {
        match (Names::is_older_vae(shapes), shapes.prefixes("encoder.mid.attn_1.q.weight").is_empty()) {
            (true, _) => Names::OlderVae,
            (false, true) => Names::Published,
            (false, false) => Names::CompVisVae,
        }
    }

    /// Whether tensors of an autoencoder, below any prefix, have their older names.
    pub fn is_older_vae(shapes: &Shapes) -> bool {
        VAE_ENCODER_OLDER_NAMES
            .iter()
            .any(|(older, _)| !shapes.prefixes(&format!("{older}.weight")).is_empty())
    }
}

impl Recognised {
    /// Where the parameters are, with which a checkpoint's `mapped_weights` reads them. What stands
    /// before all names is not in it: that is found in reading.
    ///
    /// # Errors
    /// When the network cannot be built.
    pub fn name_map(&self) -> Result<NameMap, GraphError> {
        name_map(self.names, &self.architecture)
    }
}

/// The table for a network in a file of such names.
///
/// # Errors
/// When the network cannot be built, or is not one that has such names.
pub fn name_map(names: Names, architecture: &Architecture) -> Result<NameMap, GraphError> {
    let mut map = NameMap::new();
    match (names, architecture) {
        (Names::Published, _) => {}
        (Names::DiffusersUNet(attention), Architecture::UNet(config)) => {
            for source in diffusers_sources(config, attention)? {
                map.insert(source.parameter, ParameterSource { tensors: source.tensors, reshape: true });
            }
        }
        (Names::OlderVae, _) => {
            for (older, layer) in VAE_ENCODER_OLDER_NAMES {
                for leaf in ["weight", "bias"] {
                    let tensors = vec![format!("{older}.{leaf}")];
                    map.insert(format!("{layer}.{leaf}"), ParameterSource { tensors, reshape: true });
                }
            }
        }
        (Names::CompVisVae, architecture) => {
            for (_, node) in architecture.network_graph(false)?.parameters() {
                let tensors = vec![vae_encoder_compvis_name(&node.name)];
                map.insert(node.name.clone(), ParameterSource { tensors, reshape: true });
            }
        }
        (Names::DiffusersUNet(_), other) => {
            let message = format!("{} has no names of diffusers' UNet2DModel", other.name());
            return Err(GraphError::Shape { path: "network".to_string(), message });
        }
    }
    Ok(map)
}
