//! Config E: config C with forced weight normalisation, the results of its blocks limited.

use serde::{Deserialize, Serialize};

use super::layers::{Magnitude, Weights};
use super::network::network;
use super::unet_c::Normed;
use super::{Built, Edm2Config, wrong};
use crate::graph::{Graph, Path, Value};

/// The configuration of `net_type: UNetE`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UNetEConfig(pub Edm2Config);

impl UNetEConfig {
    /// Checks what the types cannot.
    ///
    /// # Errors
    /// A sentence that names the key and the values.
    pub fn check(&self) -> Result<(), String> {
        self.0.check_groups()
    }
}

/// Adds the network to a graph, as [`unet_c`](super::unet_c) does.
///
/// # Errors
/// When shapes do not fit, with the layer's path.
pub fn unet_e(g: &mut Graph, p: &Path, config: &UNetEConfig, x: Value, c_noise: Value) -> Built {
    config.check().map_err(wrong)?;
    network(g, p, &config.0, &Normed { config: &config.0, weights: Weights::Normalised }, x, c_noise)
}

/// The uncertainty `u [B]` of config E's loss, from `c_noise [B]`; its parameters are `{p}.reweight_mlp.*`.
///
/// # Errors
/// When shapes do not fit.
pub fn uncertainty_e(g: &mut Graph, p: &Path, c_noise: Value) -> Built {
    Weights::Normalised.uncertainty(g, p, c_noise, Magnitude::Plain)
}
