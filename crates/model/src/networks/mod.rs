//! Networks. Each is a function that adds its layers to a graph, a configuration with its sizes, and a line in the
//! [`registry`].
//!
//! | module | holds |
//! | --- | --- |
//! | [`registry`] | the list of all networks |
//! | [`network`] | what every network says of itself |
//! | [`recognition`] | networks from the names and shapes of their weights |
//! | `unet` | the UNet of DDPM and EDM |
//! | `edm2` | the UNets of EDM2 |
//! | `song` | EDM's SongUNet |
//! | `dit` | the diffusion transformer |
//! | `soda` | SODA's encoder and decoder |
//! | `wide_resnet`, `noise_mlp` | noise-conditional classifiers |
//! | `fine_tuned` | a denoiser cut after a layer, with a linear head |
//! | `vae_encoder` | images to the latents of a latent diffusion model |
//! | `inception` | the network of the Fréchet inception distance |

mod block_depths;
mod dit;
mod edm2;
mod fine_tuned;
mod inception;
mod initialisation;
pub mod network;
mod noise_mlp;
pub mod recognition;
pub mod registry;
mod resample;
mod resolutions;
mod sinusoids;
mod soda;
mod song;
mod unet;
mod vae_encoder;
mod wide_resnet;

pub use block_depths::BlockDepths;
pub use dit::{DitConfig, DitSize, Space, dit, dit_graph, position_table};
pub use edm2::{
    Edm2Config, UNetCConfig, UNetEConfig, UNetGConfig, uncertainty_c, uncertainty_e, uncertainty_g, unet_c,
    unet_e, unet_g,
};
pub use fine_tuned::FineTunedConfig;
pub use inception::{InceptionConfig, inception, inception_graph};
pub use network::{
    Classifier, Conditions, Denoiser, Domain, Guidance, HeadsGiven, Latent, Network, PublishedProcess, Role,
};
pub use noise_mlp::{NoiseMlpConfig, noise_mlp, noise_mlp_graph};
pub use registry::{Architecture, FAMILIES, Family};
pub use soda::{
    DecoderConfig, EncoderArch, EncoderConfig, SodaConfig, decoder, decoder_graph, resnet, resnet_graph,
    soda_graph, unit_length,
};
pub use song::{ResampleFilter, SongEmbedding, SongEncoder, SongUNetConfig, song_unet, song_unet_graph};
pub use unet::{
    AttentionNames, Conventions, DIFFUSERS, DiffusersConfig, TensorSource, UNetConfig, diffusers_sources,
    unet, unet_graph,
};
pub use vae_encoder::{
    VAE_ENCODER_OLDER_NAMES, VaeEncoderConfig, posterior_sample, vae_encoder, vae_encoder_compvis_name,
    vae_encoder_graph,
};
pub use wide_resnet::{WideResNetConfig, wide_resnet, wide_resnet_graph};

/// What the names of the parameters begin with that a loss learns besides its network ([`Denoiser::uncertainty`]).
pub const OF_LOSS: &str = "reweight_mlp.";

/// `3x32x32`.
fn sides([channels, height, width]: [usize; 3]) -> String {
    format!("{channels}x{height}x{width}")
}
