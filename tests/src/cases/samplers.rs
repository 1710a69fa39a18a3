//! Whole sampling runs.

use std::convert::Infallible;

use ddae_model::config::{DdpmConfig, ModelConfig, ProcessConfig, Timesteps};
use ddae_model::diffusion::sampler::{SamplerBackend, ancestral, ddim, heun};
use ddae_model::diffusion::{SamplerPlan, model_sampler_graph};
use ddae_model::graph::Graph;
use ddae_model::networks::{Architecture, DecoderConfig};
use ddae_model::tensor::Tensor;
use ddae_model::weights::Weights;

use super::{Run, rule_weights};
use crate::{Fixture, fixture, relative_error, tolerance};

/// A run that the published code has made.
pub struct SamplerCase {
    fixture: Fixture,
    /// The case's name, for messages.
    pub name: String,
    /// The network and its process.
    pub model: ModelConfig,
    /// One step.
    pub graph: Graph,
    /// Every parameter.
    pub weights: Weights,
    /// The run.
    pub plan: SamplerPlan,
    /// The inputs that are the same at every step.
    pub guides: Vec<(&'static str, Tensor)>,
}

impl From<SamplerCase> for Vec<SamplerCase> {
    fn from(case: SamplerCase) -> Vec<SamplerCase> {
        vec![case]
    }
}

/// Any interpreter that takes and gives tensors, as a backend of the sampling loop.
pub struct Calls<'r>(pub &'r mut Run);

impl SamplerBackend for Calls<'_> {
    type Value = Tensor;
    type Error = Infallible;

    fn carries(&self) -> bool {
        true
    }

    fn upload(&self, tensor: Tensor) -> Result<Tensor, Infallible> {
        Ok(tensor)
    }

    fn step(&mut self, inputs: &[(&str, &Tensor)], _last: bool) -> Result<Vec<Tensor>, Infallible> {
        let inputs: Vec<(&str, Tensor)> =
            inputs.iter().map(|(name, tensor)| (*name, (*tensor).clone())).collect();
        Ok((self.0)(&inputs).into_iter().map(|(_, tensor)| tensor).collect())
    }

    fn download(&self, value: Tensor) -> Result<Tensor, Infallible> {
        Ok(value)
    }
}

impl SamplerCase {
    fn new(name: &str, fixture: Fixture, model: ModelConfig, plan: SamplerPlan) -> SamplerCase {
        let graph = model_sampler_graph(&model).expect("a graph");
        let (weights, name) = (rule_weights(&graph), name.to_string());
        SamplerCase { fixture, name, model, graph, weights, plan, guides: vec![] }
    }

    /// `[B, C, H, W]` of the images.
    pub fn shape(&self) -> [usize; 4] {
        self.fixture.f32("input.noise.0").0.try_into().expect("images")
    }

    /// The stored noise of a draw.
    pub fn noise(&self, draw: usize, values: &mut [f32]) {
        values.copy_from_slice(&self.fixture.f32(&format!("input.noise.{draw}")).1);
    }

    /// Number of draws that are stored.
    pub fn draws(&self) -> usize {
        self.fixture.names("input.noise.").len()
    }

    /// Asserts that an interpreter's images are the published ones.
    ///
    /// # Panics
    /// When they differ, or there are none.
    pub fn check(&self, run: &mut Run) {
        let noise = |draw: usize, values: &mut [f32]| self.noise(draw, values);
        let images = self.plan.run(&mut Calls(run), self.shape(), &self.guides, noise);
        self.compare(&images.unwrap_or_else(|error| panic!("{}: {error:?}", self.name)));
    }

    /// Asserts that images are the published ones.
    ///
    /// # Panics
    /// When they differ.
    pub fn compare(&self, images: &[f64]) {
        let error = match &self.model.process {
            Some(ProcessConfig::Edm(_)) => relative_error(images, &self.fixture.f64("output.sample").1),
            _ => relative_error(images, &self.fixture.f32("output.sample").1),
        };
        println!("{}: {error:.1e}", self.name);
        assert!(error <= tolerance::SAMPLER, "{}: relative error {error:e}", self.name);
    }
}

/// The network and process of a case, and the settings of its run.
fn case(name: &str, plan: impl Fn(&ProcessConfig, usize, f64) -> SamplerPlan) -> SamplerCase {
    let fixture = fixture(name);
    let model = fixture.run_config().model();
    let number = |key: &str| fixture.config[key].as_f64().unwrap_or_default();
    let process = model.process.clone().expect("a process");
    let plan = plan(&process, number("steps") as usize, number("eta"));
    SamplerCase::new(name, fixture, model, plan)
}

/// Ancestral sampling.
pub fn ancestral_sample() -> SamplerCase {
    case("ddpm_sample", |process, _, _| match process {
        ProcessConfig::Ddpm(config) => ancestral(config),
        ProcessConfig::Edm(_) => panic!("the case is a DDPM's"),
    })
}

/// DDIM, deterministic and not.
pub fn ddim_samples() -> Vec<SamplerCase> {
    let plan = |process: &ProcessConfig, steps, eta| match process {
        ProcessConfig::Ddpm(config) => ddim(config, steps, eta).expect("a plan"),
        ProcessConfig::Edm(_) => panic!("the case is a DDPM's"),
    };
    ["ddim_sample_eta0.0", "ddim_sample_eta0.7"].map(|name| case(name, plan)).into()
}

/// EDM's sampler, deterministic and not.
pub fn edm_samples() -> Vec<SamplerCase> {
    let plan = |process: &ProcessConfig, steps, eta| match process {
        ProcessConfig::Edm(config) => heun(config, steps, eta).expect("a plan"),
        ProcessConfig::Ddpm(_) => panic!("the case is an EDM's"),
    };
    ["edm_sample_eta0.0", "edm_sample_eta1.0"].map(|name| case(name, plan)).into()
}

/// A decoder that a latent guides.
pub fn soda_sample() -> SamplerCase {
    let fixture = fixture("soda_sample");
    let decoder = serde_json::from_value(fixture.config["decoder"].clone()).expect("a decoder");
    let process = DdpmConfig::published(Timesteps::Fraction);
    let steps = fixture.config["steps"].as_u64().expect("a number") as usize;
    let plan = ddim(&process, steps, 0.0).expect("a plan");
    let process = Some(ProcessConfig::Ddpm(process));
    let model = ModelConfig { process, ..ModelConfig::of(Architecture::SodaDecoder(DecoderConfig(decoder))) };
    let guidance = fixture.config["guide_w"].as_f64().expect("a number") as f32;
    let guides = vec![("z", fixture.tensor("input.z")), ("guidance", Tensor::f32(&[1], vec![guidance]))];
    SamplerCase { guides, ..SamplerCase::new("soda_sample", fixture, model, plan) }
}
