//! Sampling runs as data: a [`SamplerPlan`] lists the network calls of a sampler with all their coefficients, and
//! [`SamplerPlan::run`] drives any interpreter of the sampler graph through them.
//!
//! | module | holds |
//! | --- | --- |
//! | `plan` | what a run consists of |
//! | `graph` | one step as a graph around the network |
//! | `run` | the loop over steps |
//! | `ancestral`, `ddim`, `heun`, `dpm_solver` | a sampler each |
//!
//! A new sampler is a file here and a line in [`SAMPLERS`].

mod ancestral;
mod ddim;
mod dpm_solver;
mod graph;
mod heun;
mod plan;
mod run;

pub use ancestral::ancestral;
pub use ddim::ddim;
pub use dpm_solver::dpm_solver;
pub use graph::{model_sampler_graph, sampler_graph};
pub use heun::heun;
pub use plan::{PlanError, SamplerPlan, SamplerStep};
pub use run::{RunError, SamplerBackend};

use crate::config::ProcessConfig;

/// A way to draw images, as the command line names it.
#[derive(Debug)]
pub struct Sampler {
    /// Its name.
    pub name: &'static str,
    /// What it is, in a few words.
    pub about: &'static str,
    /// Its number of steps unless another is asked for; `None` where the process has but one.
    pub steps: Option<usize>,
    /// The most steps that it takes of a DDPM with so many timesteps.
    most: fn(usize) -> usize,
    /// Whether `eta`, noise added on the way, means anything to it.
    pub takes_eta: bool,
    plan: fn(&ProcessConfig, usize, f64) -> Result<SamplerPlan, PlanError>,
}

/// All samplers.
pub static SAMPLERS: &[&Sampler] =
    &[&ancestral::SAMPLER, &ddim::SAMPLER, &heun::SAMPLER, &dpm_solver::SAMPLER];

impl Sampler {
    /// The sampler of a name.
    pub fn named(name: &str) -> Option<&'static Sampler> {
        SAMPLERS.iter().find(|sampler| sampler.name == name).copied()
    }

    /// The one that a process is drawn with unless another is asked for.
    pub fn of(process: &ProcessConfig) -> &'static Sampler {
        match process {
            ProcessConfig::Ddpm(_) => &ddim::SAMPLER,
            ProcessConfig::Edm(_) => &heun::SAMPLER,
        }
    }

    /// The number of steps for a process unless another is asked for.
    pub fn default_steps(&self, process: &ProcessConfig) -> usize {
        match (self.steps, process) {
            (Some(steps), ProcessConfig::Ddpm(config)) => steps.min((self.most)(config.n_t)),
            (Some(steps), ProcessConfig::Edm(_)) => steps,
            (None, ProcessConfig::Ddpm(config)) => config.n_t,
            (None, ProcessConfig::Edm(_)) => 0,
        }
    }

    /// Its network calls for a process.
    ///
    /// # Errors
    /// When the process cannot be sampled so, in so many steps, or with this `eta`.
    pub fn plan(&self, process: &ProcessConfig, steps: usize, eta: f64) -> Result<SamplerPlan, PlanError> {
        (self.plan)(process, steps, eta)
    }
}
