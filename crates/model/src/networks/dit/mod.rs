//! DiT, the diffusion transformer (arXiv 2212.09748), in all its published sizes: on latents as published, or on images.
//!
//! | module | holds |
//! | --- | --- |
//! | `config` | sizes S, B, L, XL with patches of 2, 4 or 8 |
//! | `embeddings` | what the blocks start from: positions, timestep, label |
//! | `network` | the blocks, adaLN-zero modulation, and back to an image |

mod config;
mod embeddings;
mod network;
mod recognise;

pub use config::{DitConfig, DitSize, Space};
pub use embeddings::position_table;
pub use network::{dit, dit_graph};
pub(super) use recognise::FAMILY;

use super::network::{Conditions, Denoiser, Domain, Network, Role};
use super::registry::Family;
use super::sides;
use crate::diffusion::Pixels;
use crate::graph::{Graph, GraphError, Value};

impl Network for DitConfig {
    fn family(&self) -> &'static Family {
        &FAMILY
    }

    fn describe(&self) -> String {
        let shape = sides([self.in_channels, self.input_size, self.input_size]);
        let of = match self.space {
            Space::Latent => "latents",
            Space::Image => "images",
        };
        let (name, heads) = (recognise::name(self), self.num_heads);
        let classes = match (self.num_classes, self.null_label) {
            (1, false) => "unconditional".to_string(),
            (classes, true) => format!("{classes} classes"),
            (classes, false) => format!("{classes} classes, no null label"),
        };
        format!("{name}: {shape} {of}, {heads} heads, {classes}")
    }

    fn check(&self) -> Result<(), String> {
        DitConfig::check(self)
    }

    fn image_shape(&self) -> Option<[usize; 3]> {
        Some([self.in_channels, self.input_size, self.input_size])
    }

    fn resize(&mut self, size: [usize; 2]) -> Result<(), String> {
        if [self.input_size; 2] == size {
            return Ok(());
        }
        Err(format!("a DiT is tied to its inputs of {0}x{0}", self.input_size))
    }

    fn graph(&self, with_label: bool) -> Result<Graph, GraphError> {
        dit_graph(self, with_label)
    }

    fn labels(&self) -> Vec<&'static str> {
        vec!["label"]
    }

    fn pixels(&self) -> Pixels {
        match self.space {
            Space::Latent => Pixels::Latent,
            Space::Image => Pixels::Signed,
        }
    }

    fn role(&self) -> Role<'_> {
        Role::Denoiser(self)
    }
}

impl Denoiser for DitConfig {
    fn predict(
        &self,
        g: &mut Graph,
        x: Value,
        t: Value,
        conditions: Conditions,
    ) -> Result<Value, GraphError> {
        conditions.none("a DiT")?;
        let y = dit(g, self, x, t, None)?;
        // The variance's interpolation comes after the noise.
        if self.learn_sigma { g.slice(y, 1, 0, self.in_channels) } else { Ok(y) }
    }

    fn domain(&self) -> Domain {
        match self.space {
            Space::Latent => Domain::Latents,
            Space::Image => Domain::Images,
        }
    }

    fn untrainable(&self) -> Option<String> {
        if self.space == Space::Latent {
            return Some(
                "it works on latents, and training is on images: set network.space: image".to_string(),
            );
        }
        self.learn_sigma.then(|| {
            "learn_sigma is true, and the loss of a learned variance is not known here: set it to false"
                .to_string()
        })
    }
}
