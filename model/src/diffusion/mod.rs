//! Diffusion processes: noise schedules, preconditioning and samplers.
//!
//! | module | holds |
//! | --- | --- |
//! | [`ddpm`] | tables of the discrete process |
//! | [`edm`] | preconditioning and noise grid of the continuous process |
//! | [`sampler`] | sampling runs as plans of steps, and the loop over them |
//! | [`graphs`] | feature extraction and one sampler step as graphs around the network |
//!
//! Pictures are in [0, 1]; networks see [-1, 1].

pub mod ddpm;
pub mod edm;
pub mod graphs;
pub mod sampler;

pub use graphs::{FeatureOptions, features_graph, sampler_graph};
pub use sampler::{Plan, PlanError, SamplerKind, Step};

use crate::config::ProcessConfig;

/// The timesteps (DDPM) or steps of the 18-step grid (EDM) at which features can be taken.
pub fn feature_timesteps(process: &ProcessConfig) -> std::ops::RangeInclusive<i64> {
    match process {
        ProcessConfig::Ddpm(ddpm) => 1..=ddpm.n_t as i64,
        ProcessConfig::Edm(_) => 1..=edm::FEATURE_STEPS as i64,
    }
}
