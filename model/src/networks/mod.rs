//! Networks, one file each. A network is a function that adds its layers to a graph.

pub mod architecture;
mod dit;
mod edm2;
mod inception;
mod initialisation;
mod noise_mlp;
mod resample;
mod resnet;
mod resolutions;
mod sinusoids;
mod soda;
mod unet;
mod vae_encoder;
mod wide_resnet;

pub use architecture::Architecture;
pub use dit::{DitConfig, DitSize, dit, dit_graph, position_table};
pub use edm2::{
    Edm2Config, UNetCConfig, UNetEConfig, UNetGConfig, uncertainty_c, uncertainty_e, uncertainty_g, unet_c,
    unet_e, unet_g,
};
pub use inception::{InceptionConfig, inception, inception_graph};
pub use noise_mlp::{NoiseMlpConfig, noise_mlp, noise_mlp_graph};
pub use resnet::{EncoderArch, EncoderConfig, resnet, resnet_graph};
pub use soda::{SodaConfig, decoder, decoder_graph, soda_graph, unit_length};
pub use unet::{
    AttentionNames, Conventions, DiffusersConfig, TensorSource, UNetConfig, diffusers_sources, unet,
    unet_graph,
};
pub use vae_encoder::{
    VAE_ENCODER_OLDER_NAMES, VaeEncoderConfig, posterior_sample, vae_encoder, vae_encoder_graph,
};
pub use wide_resnet::{WideResNetConfig, wide_resnet, wide_resnet_graph};
