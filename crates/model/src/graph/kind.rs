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
    /// Images, noised, to the logits of classes.
    Classifier,
    /// Images, noise and noise levels to what a training run minimises.
    Loss,
}

impl GraphKind {
    /// All kinds, as they are listed to people.
    pub const ALL: [GraphKind; 7] = [
        GraphKind::Network,
        GraphKind::Features,
        GraphKind::Sampler,
        GraphKind::Encoder,
        GraphKind::Latent,
        GraphKind::Classifier,
        GraphKind::Loss,
    ];

    /// The name in files and on the command line.
    pub fn name(self) -> &'static str {
        self.words().0
    }

    /// What it is, in a few words.
    pub fn about(self) -> &'static str {
        self.words().1
    }

    fn words(self) -> (&'static str, &'static str) {
        match self {
            GraphKind::Network => ("network", "The bare network"),
            GraphKind::Features => ("features", "Images to pooled features of layers"),
            GraphKind::Sampler => ("sampler", "One step of the sampler"),
            GraphKind::Encoder => ("encoder", "Images to the codes of an encoder"),
            GraphKind::Latent => ("latent", "Images to the latents of a latent encoder"),
            GraphKind::Classifier => ("classifier", "Images to the logits of classes"),
            GraphKind::Loss => ("loss", "Images, noise and its level to the loss of a training run"),
        }
    }
}
