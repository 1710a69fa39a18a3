//! Diffusion processes: noise schedules, preconditioning, losses and samplers.
//!
//! | module | holds |
//! | --- | --- |
//! | [`ddpm`] | tables of the discrete process |
//! | [`edm`] | preconditioning and noise grid of the continuous process |
//! | `process` | noising and preconditioning as parts of graphs |
//! | `loss` | graphs from images, noise and a level to losses |
//! | `classifier` | graphs from images, noised, to the logits of classes |
//! | [`features`] | graphs from images, noised, to the features of layers |
//! | [`sampler`] | sampling runs as plans of steps, a step as a graph, and the loop over them |
//! | `image`, `codes` | images as networks want them; graphs from images to codes |
//!
//! Images are in [0, 1]; networks see [-1, 1].

mod classifier;
mod codes;
pub mod ddpm;
pub mod edm;
pub mod features;
mod image;
mod loss;
mod process;
pub mod sampler;

pub use classifier::{ClassifierOptions, classifier_graph, training_logits_graph};
pub use codes::{encoder_graph, latent_graph};
pub use features::{FeatureOptions, feature_layers, features_graph, model_features_graph};
pub use image::Pixels;
pub use loss::loss_graph;
pub use sampler::{PlanError, Sampler, SamplerPlan, model_sampler_graph, sampler_graph};

use crate::config::{ProcessConfig, Timesteps};

/// The timesteps (DDPM) or steps of the 18-step grid (EDM) at which features can be taken.
pub fn feature_timesteps(process: &ProcessConfig) -> std::ops::RangeInclusive<i64> {
    match process {
        ProcessConfig::Ddpm(ddpm) => match ddpm.timesteps {
            Timesteps::Fraction => 1..=ddpm.n_t as i64,
            Timesteps::Index => 0..=ddpm.n_t as i64 - 1,
        },
        ProcessConfig::Edm(_) => 1..=edm::FEATURE_STEPS as i64,
    }
}
