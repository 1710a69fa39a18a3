//! EDM's SongUNet (`net_type: SongUNet`), the network of its published CIFAR-10 weights, in both forms: DDPM++
//! (`embedding_type: positional`, `encoder_type: standard`) and NCSN++ (`fourier`, `residual`).
//!
//! Sources: arXiv 2011.13456 (Song et al.) for the networks, arXiv 2206.00364 (EDM), appendix F, for their settings.
//!
//! | module | holds |
//! | --- | --- |
//! | `network` | the embedding and the way through the resolutions |
//! | `blocks` | residual blocks, attention, resampling |
//! | `config`, `recognise` | sizes, given or from parameters |

mod blocks;
mod config;
mod network;
mod recognise;

pub use config::{ResampleFilter, SongEmbedding, SongEncoder, SongUNetConfig};
pub use network::{song_unet, song_unet_graph};
pub(super) use recognise::FAMILY;

use super::network::{Conditions, Denoiser, Network, Role};
use super::registry::Family;
use super::sides;
use crate::graph::{Graph, GraphError, Value};

type Built = Result<Value, GraphError>;

impl Network for SongUNetConfig {
    fn family(&self) -> &'static Family {
        &FAMILY
    }

    fn describe(&self) -> String {
        let shape = sides([self.img_channels, self.img_resolution, self.img_resolution]);
        let form = match (self.embedding_type, self.encoder_type) {
            (SongEmbedding::Positional, SongEncoder::Standard) => " (DDPM++)",
            (SongEmbedding::Fourier, SongEncoder::Residual) => " (NCSN++)",
            _ => "",
        };
        let (channels, mults, blocks) = (self.model_channels, &self.channel_mult, self.num_blocks);
        let sides: Vec<String> = self.attn_resolutions.iter().map(|side| format!("{side}x{side}")).collect();
        let attention = if sides.is_empty() { "the coarsest".to_string() } else { sides.join(", ") };
        let mut words = vec![format!(
            "SongUNet{form}: {shape} images, model_channels {channels}, channel_mult {mults:?}, num_blocks {blocks}, \
             attention at {attention}"
        )];
        words.extend((self.augment_dim > 0).then(|| format!("augmentation label of {}", self.augment_dim)));
        words.extend((self.label_dim > 0).then(|| format!("{} classes", self.label_dim)));
        words.join(", ")
    }

    fn check(&self) -> Result<(), String> {
        SongUNetConfig::check(self)
    }

    fn image_shape(&self) -> Option<[usize; 3]> {
        Some([self.img_channels, self.img_resolution, self.img_resolution])
    }

    fn resize(&mut self, size: [usize; 2]) -> Result<(), String> {
        if [self.img_resolution; 2] == size {
            return Ok(());
        }
        Err(format!("a SongUNet is tied to its images of {0}x{0}", self.img_resolution))
    }

    fn graph(&self, with_labels: bool) -> Result<Graph, GraphError> {
        song_unet_graph(self, with_labels && self.augment_dim > 0, with_labels && self.label_dim > 0)
    }

    fn labels(&self) -> Vec<&'static str> {
        let augmentation = (self.augment_dim > 0).then_some("augment_label");
        let class = (self.label_dim > 0).then_some("label");
        augmentation.into_iter().chain(class).collect()
    }

    fn role(&self) -> Role<'_> {
        Role::Denoiser(self)
    }
}

impl Denoiser for SongUNetConfig {
    fn predict(&self, g: &mut Graph, x: Value, t: Value, conditions: Conditions) -> Built {
        song_unet(g, self, x, t, conditions)
    }

    fn augment_dim(&self) -> usize {
        self.augment_dim
    }

    fn classes(&self) -> usize {
        self.label_dim
    }

    // EDM clips nothing.
    fn grad_clip_norm(&self) -> f64 {
        f64::INFINITY
    }
}
