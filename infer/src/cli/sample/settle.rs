//! From what was typed to the steps of a sampler.

use ddae_infer::InferError;
use ddae_infer::device::Device;
use ddae_infer::model_file::ModelFile;
use ddae_infer::sample::Settings;
use ddae_model::config::ProcessConfig;
use ddae_model::diffusion::{Plan, PlanError, SamplerKind};
use ddae_model::networks::Architecture;

use super::{Arguments, Sampler};

/// A run that has been found possible.
pub struct Settled {
    pub plan: Plan,
    pub settings: Settings,
    pub shape: [usize; 3],
}

impl Settled {
    /// Checks the options against the model.
    pub fn new(arguments: &Arguments, model: &ModelFile, device: Device) -> Result<Settled, InferError> {
        let unusable = |message: String| InferError::Model {
            path: model.path.clone(),
            message: format!("{message}; export it again"),
        };
        if let Architecture::SodaDecoder(_) = &model.model.architecture {
            let message =
                "this sampler draws what latents of an encoder say: `ddae-infer reconstruct` gives it those";
            return Err(InferError::Argument(message.to_string()));
        }
        let process = model.model.process.as_ref();
        let process =
            process.ok_or_else(|| unusable("it does not say which process it is a step of".to_string()))?;
        let shape = model.model.architecture.image();
        let shape = shape.ok_or_else(|| unusable("its network has no images".to_string()))?;
        let argument = |error: PlanError| InferError::Argument(error.to_string());
        let default = match process {
            ProcessConfig::Ddpm(_) => Sampler::Ddim,
            ProcessConfig::Edm(_) => Sampler::Edm,
        };
        let eta = arguments.eta;
        let (sampler, steps, kind) = match arguments.sampler.unwrap_or(default) {
            Sampler::Ddpm => ("ddpm", ancestral_steps(arguments, process)?, SamplerKind::Ddpm),
            Sampler::Ddim => {
                let steps = arguments.steps.unwrap_or(100);
                ("ddim", steps, SamplerKind::Ddim { steps, eta })
            }
            Sampler::Edm => {
                let steps = arguments.steps.unwrap_or(18);
                ("edm", steps, SamplerKind::Edm { steps, eta })
            }
        };
        let plan = match process {
            ProcessConfig::Ddpm(config) => Plan::ddpm(config, kind),
            ProcessConfig::Edm(config) => Plan::edm(config, kind),
        };
        let description = &model.description;
        let settings = Settings {
            model: description.digest.clone(),
            weights: description.weights.map(|set| set.prefix().trim_end_matches('.').to_string()),
            model_precision: description.precision.name().to_string(),
            config: description.config.clone(),
            sampler: sampler.to_string(),
            steps,
            eta,
            provider: device.provider().to_string(),
            precision: device.precision().to_string(),
            tool: concat!("ddae-infer ", env!("CARGO_PKG_VERSION")).to_string(),
        };
        Ok(Settled { plan: plan.map_err(argument)?, settings, shape })
    }
}

/// Ancestral sampling has no settings: it takes all timesteps, with the noise of the process.
fn ancestral_steps(arguments: &Arguments, process: &ProcessConfig) -> Result<usize, InferError> {
    let ProcessConfig::Ddpm(config) = process else {
        let message = "an EDM is sampled with --sampler edm, not ddpm or ddim";
        return Err(InferError::Argument(message.to_string()));
    };
    let all = config.n_t;
    if arguments.steps.is_some_and(|steps| steps != all) {
        let message = format!("--sampler ddpm takes all {all} steps; give --sampler ddim for fewer");
        return Err(InferError::Argument(message));
    }
    if arguments.eta != 0.0 {
        let message = "--eta is for --sampler ddim and edm; ddpm has noise of its own";
        return Err(InferError::Argument(message.to_string()));
    }
    Ok(all)
}
