//! The kinds of graphs that files hold.

use serde::{Deserialize, Serialize};

/// What a graph computes; its inputs and outputs follow from it (`docs/architecture.md`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GraphKind {
    /// The bare network.
    #[default]
    Network,
    /// Images to pooled features.
    Features,
    /// One step of a sampler.
    Sampler,
    /// Images to the codes of an encoder.
    Encoder,
    /// Images to the latents that a latent diffusion model works on.
    Latent,
}

impl GraphKind {
    /// The name in files and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            GraphKind::Network => "network",
            GraphKind::Features => "features",
            GraphKind::Sampler => "sampler",
            GraphKind::Encoder => "encoder",
            GraphKind::Latent => "latent",
        }
    }
}
