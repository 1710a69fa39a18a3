//! Sampling in libtorch.

use std::ops::Range;

use ddae_base::Stop;
use ddae_base::random::{Purpose, stream};
use ddae_model::diffusion::SamplerPlan;
use ddae_model::diffusion::sampler::{RunError, SamplerBackend};
use ddae_model::graph::Graph;
use ddae_model::tensor::Tensor as Array;
use tch::{Kind, Tensor};

use crate::TrainError;
use crate::torch::{Mode, Network, Parameters, TorchError, convert};
use crate::training::Place;

/// Runs a graph of kind `sampler` through a plan.
#[derive(Debug)]
pub struct Sampler {
    network: Network,
    plan: SamplerPlan,
    image_shape: [usize; 3],
    place: Place,
    stop: Stop,
}

/// A sampler graph in libtorch, with its weights.
struct Steps<'a> {
    sampler: &'a Sampler,
    weights: &'a Parameters,
}

/// Why a step was not made.
enum Stopped {
    Interrupted,
    Failed(TorchError),
}

impl SamplerBackend for Steps<'_> {
    type Value = Tensor;
    type Error = Stopped;

    fn carries(&self) -> bool {
        true
    }

    fn upload(&self, tensor: Array) -> Result<Tensor, Stopped> {
        let device = self.sampler.place.device;
        let tensor = convert::to_torch(&tensor).map_err(Stopped::Failed)?;
        tensor.f_to_device(device).map_err(|e| Stopped::Failed(TorchError::at("sampler", e)))
    }

    fn step(&mut self, inputs: &[(&str, &Tensor)], _last: bool) -> Result<Vec<Tensor>, Stopped> {
        if self.sampler.stop.is_requested() {
            return Err(Stopped::Interrupted);
        }
        let mode = Mode { train: false, precision: self.sampler.place.precision };
        let forward = || self.sampler.network.forward(self.weights, inputs, mode);
        tch::no_grad(forward).map_err(Stopped::Failed)
    }

    fn download(&self, value: Tensor) -> Result<Array, Stopped> {
        convert::from_torch(&value).map_err(Stopped::Failed)
    }
}

impl Sampler {
    /// A sampler of images of the shape `[C, H, W]`. `graph` is one step of it
    /// ([`ddae_model::diffusion::model_sampler_graph`]).
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn new(
        graph: &Graph,
        plan: SamplerPlan,
        image_shape: [usize; 3],
        place: Place,
    ) -> Result<Sampler, TrainError> {
        let network = Network::new(graph, place.device, Kind::Float, place.layout)?;
        Ok(Sampler { network, plan, image_shape, place, stop: Stop::new() })
    }

    /// The same, ending between two steps where `stop` is requested.
    pub fn stopped_by(self, stop: &Stop) -> Sampler {
        Sampler { stop: stop.clone(), ..self }
    }

    /// The images `numbers`, `[C, H, W]` in [0, 1] each, one after the other; `guides` are what the graph takes beside
    /// its state: latents and their weight. An image depends on the seed, its number and its guide alone. `None` if it
    /// was to [stop](Sampler::stopped_by).
    ///
    /// # Errors
    /// libtorch's.
    pub fn sample(
        &self,
        weights: &Parameters,
        numbers: Range<u64>,
        seed: u64,
        guides: &[(&'static str, Array)],
    ) -> Result<Option<Vec<f32>>, TrainError> {
        let [channels, height, width] = self.image_shape;
        let size = channels * height * width;
        let shape = [(numbers.end - numbers.start) as usize, channels, height, width];
        let noise = |draw: usize, values: &mut [f32]| {
            for (image, number) in values.chunks_exact_mut(size).zip(numbers.clone()) {
                stream(seed, Purpose::Sample, number, draw as u64).fill_normal(image);
            }
        };
        let mut steps = Steps { sampler: self, weights };
        let upload = |(name, array): &(&'static str, Array)| Ok((*name, steps.upload(array.clone())?));
        let uploaded = guides.iter().map(upload).collect::<Result<Vec<_>, _>>();
        let run = |guides: Vec<_>| self.plan.run(&mut steps, shape, &guides, noise);
        match uploaded.map_err(RunError::Backend).and_then(run) {
            Ok(images) => Ok(Some(images.into_iter().map(|value| value as f32).collect())),
            Err(RunError::Backend(Stopped::Interrupted)) => Ok(None),
            Err(RunError::Backend(Stopped::Failed(error))) => Err(error.into()),
            Err(RunError::Graph(message)) => Err(TorchError::Input(message).into()),
        }
    }
}
