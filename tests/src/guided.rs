//! The fixture case `soda_sample`: a whole sampling run of a decoder that a latent guides.

use ddae_model::config::{DdpmConfig, ModelConfig, ProcessConfig, Timesteps};
use ddae_model::diffusion::{Plan, SamplerKind, model_sampler_graph};
use ddae_model::graph::Graph;
use ddae_model::networks::Architecture;
use ddae_model::tensor::Tensor;
use ddae_model::weights::Weights;

use crate::{Fixture, fixture, relative_error, rule_weights, tolerance};

/// What a guided sampling run needs. Each interpreter runs its graph.
pub struct GuidedSample {
    case: Fixture,
    /// The decoder and its process.
    pub model: ModelConfig,
    /// One step.
    pub graph: Graph,
    /// Every parameter.
    pub weights: Weights,
    /// The run.
    pub plan: Plan,
}

/// The case.
pub fn soda_sample() -> GuidedSample {
    let case = fixture("soda_sample");
    let decoder = serde_json::from_value(case.config["decoder"].clone()).expect("a decoder");
    let process = DdpmConfig::published(Timesteps::Fraction);
    let steps = case.config["steps"].as_u64().expect("a number") as usize;
    let plan = Plan::ddpm(&process, SamplerKind::Ddim { steps, eta: 0.0 }).expect("a plan");
    let model = ModelConfig {
        process: Some(ProcessConfig::Ddpm(process)),
        ..ModelConfig::of(Architecture::SodaDecoder(decoder))
    };
    let graph = model_sampler_graph(&model).expect("a graph");
    let weights = rule_weights(&graph);
    GuidedSample { case, model, graph, weights, plan }
}

impl GuidedSample {
    /// The noise of the start, and its shape.
    pub fn noise(&self) -> ([usize; 4], Vec<f32>) {
        let (shape, noise) = self.case.f32("input.noise.0");
        (shape.try_into().expect("images"), noise)
    }

    /// The inputs that are the same at every step.
    pub fn guides(&self) -> [(&'static str, Tensor); 2] {
        let guidance = self.case.config["guide_w"].as_f64().expect("a number") as f32;
        [("z", self.case.tensor("input.z")), ("guidance", Tensor::f32(&[1], vec![guidance]))]
    }

    /// Asserts that an interpreter's images are the published ones. `call` gives the graph's outputs.
    ///
    /// # Panics
    /// When they differ, or a call fails.
    pub fn check<E: std::fmt::Debug>(
        &self,
        mut call: impl FnMut(&[(&str, Tensor)]) -> Result<Vec<(String, Tensor)>, E>,
    ) {
        let (shape, noise) = self.noise();
        let images = self.plan.run(
            shape,
            |_| noise.clone(),
            |inputs| {
                let inputs: Vec<(&str, Tensor)> = inputs.iter().cloned().chain(self.guides()).collect();
                call(&inputs).map(|outputs| outputs.into_iter().map(|(_, tensor)| tensor).collect())
            },
        );
        self.compare(&images.expect("images").to_f64_vec());
    }

    /// Asserts that images are the published ones.
    ///
    /// # Panics
    /// When they differ.
    pub fn compare(&self, images: &[f64]) {
        let error = relative_error(images, &self.case.f32("output.sample").1);
        println!("soda_sample: {error:.1e}");
        assert!(error <= tolerance::SAMPLER, "soda_sample: relative error {error:e}");
    }
}
