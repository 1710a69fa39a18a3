//! From what was typed to the steps of a sampler.

use std::sync::atomic::AtomicBool;

use ddae_infer::InferError;
use ddae_infer::device::Device;
use ddae_infer::model_file::ModelFile;
use ddae_infer::sample::{SampleSettings, Sampling, balanced_batch, image_class, to_levels};
use ddae_infer::workers::Workers;
use ddae_model::diffusion::SamplerPlan;
use ddae_model::diffusion::sampler::{SAMPLERS, Sampler};

use super::Arguments;
use crate::cli::shard::Shard;

/// The input that tells a network the class of each image.
const CLASS: &str = "label";

/// A run that has been found possible.
pub struct SampleRequest {
    pub plan: SamplerPlan,
    pub settings: SampleSettings,
    pub shape: [usize; 3],
    /// Number of classes of which the network is told one; 0 for none.
    pub told: usize,
    /// The part of the images that this process draws; none for all.
    pub shard: Option<Shard>,
    /// The class that it is told of all images; without, one is drawn from each seed.
    class: Option<u32>,
}

impl SampleRequest {
    /// Checks the options against the model.
    pub fn new(
        arguments: &Arguments,
        model: &ModelFile,
        device: Device,
    ) -> Result<SampleRequest, InferError> {
        let unusable = |message: String| InferError::Model {
            path: model.path.clone(),
            message: format!("{message}; export it again"),
        };
        if model.model.architecture.denoiser().is_ok_and(|network| network.guidance().is_some()) {
            let message =
                "this sampler draws what latents of an encoder say: `ddae-infer reconstruct` gives it those";
            return Err(InferError::Argument(message.to_string()));
        }
        let process = model.model.process.as_ref();
        let process =
            process.ok_or_else(|| unusable("it does not say which process it is a step of".to_string()))?;
        let shape = model.model.architecture.image_shape();
        let shape = shape.ok_or_else(|| unusable("its network has no images".to_string()))?;
        let sampler = arguments.sampler().unwrap_or_else(|| Sampler::of(process));
        let steps = arguments.steps.unwrap_or_else(|| sampler.default_steps(process));
        let eta = arguments.eta;
        if eta != 0.0 && !sampler.takes_eta {
            let with: Vec<&str> =
                SAMPLERS.iter().filter(|sampler| sampler.takes_eta).map(|sampler| sampler.name).collect();
            let (with, name) = (with.join(" and "), sampler.name);
            return Err(InferError::Argument(format!("--eta is for --sampler {with}, not {name}")));
        }
        let plan = sampler.plan(process, steps, eta);
        let plan = plan.map_err(|error| InferError::Argument(error.to_string()))?;
        if plan.carries && !model.inputs.iter().any(|name| name == "carry") {
            let name = sampler.name;
            return Err(unusable(format!(
                "--sampler {name} needs a graph with the input 'carry', which it has not"
            )));
        }
        let network = model.model.architecture.denoiser().map_err(&unusable)?;
        let told = network.classes();
        if told > 0 && !model.inputs.iter().any(|name| name == CLASS) {
            return Err(unusable(format!("its network is told of classes, and it has no input '{CLASS}'")));
        }
        match arguments.class {
            Some(_) if told == 0 => {
                let message = "--class: the network of this graph is told of no class";
                return Err(InferError::Argument(message.to_string()));
            }
            Some(class) if class as usize > told => {
                let message =
                    format!("--class {class}: the network is told of 0 to {}, and {told} for none", told - 1);
                return Err(InferError::Argument(message));
            }
            _ => {}
        }
        let description = &model.description;
        let settings = SampleSettings {
            model: description.digest.clone(),
            weights: description.weights.map(|set| set.name().to_string()),
            model_precision: description.precision.name().to_string(),
            config: description.config.clone(),
            sampler: sampler.name.to_string(),
            steps,
            eta,
            class: (told > 0)
                .then(|| arguments.class.map_or_else(|| "drawn".to_string(), |class| class.to_string())),
            provider: device.provider().to_string(),
            precision: device.precision().to_string(),
            tool: concat!("ddae-infer ", env!("CARGO_PKG_VERSION")).to_string(),
            graph: Some(model.graph_digest.clone()),
        };
        // One of one is all, with everything that needs all.
        let shard = Shard::asked(arguments.shard, arguments.shards)?.filter(|shard| shard.of > 1);
        Ok(SampleRequest { plan, settings, shape, told, shard, class: arguments.class })
    }

    /// What the network is told of the images of `seeds`; none where it is told of no classes.
    fn classes(&self, seeds: &[u64]) -> Option<Vec<i64>> {
        let class = |&seed: &u64| match self.class {
            Some(class) => class.into(),
            None => image_class(seed, self.told),
        };
        (self.told > 0).then(|| seeds.iter().map(class).collect())
    }

    /// Draws the images of `seeds` and gives each to `put`, with its levels `[C, H, W]`; `progress` is told of every network call (its
    /// images), of `largest` images at most.
    ///
    /// # Errors
    /// As [`Sampling::run`].
    pub fn draw(
        &self,
        workers: &mut Workers,
        seeds: &[u64],
        largest: usize,
        stop: &AtomicBool,
        progress: impl Fn(usize) + Sync,
        mut put: impl FnMut(u64, &[u8]) -> Result<(), InferError>,
    ) -> Result<(), InferError> {
        let batch = balanced_batch(seeds.len(), workers.sessions(), largest);
        let classes = self.classes(seeds);
        let classes = classes.as_deref();
        let sampling = Sampling { plan: &self.plan, shape: self.shape, batch, guide: None, classes };
        sampling.run(workers, seeds, stop, progress, |at, image| put(seeds[at], &to_levels(image)))
    }

    /// The class of the images in words.
    pub fn class_line(&self) -> String {
        match self.class {
            Some(class) if class as usize == self.told => "none".to_string(),
            Some(class) => format!("{class} of {}", self.told),
            None => format!("one of {}, drawn from each seed", self.told),
        }
    }
}
