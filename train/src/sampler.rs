//! Sampling in libtorch.

use std::ops::Range;

use ddae_base::random::{Purpose, stream};
use ddae_model::diffusion::Plan;
use ddae_model::graph::Graph;
use ddae_model::tensor::Tensor as Array;
use tch::{Kind, Tensor};

use crate::TrainError;
use crate::run::interrupt;
use crate::torch::{Mode, Network, Parameters, convert};
use crate::training::Place;

/// Runs a graph of kind `sampler` through a plan.
#[derive(Debug)]
pub struct Sampler {
    network: Network,
    plan: Plan,
    image: [usize; 3],
    mode: Mode,
}

impl Sampler {
    /// A sampler of images of the shape `image` = [C, H, W]. `graph` is one step of it
    /// ([`ddae_model::diffusion::model_sampler_graph`]).
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn new(graph: &Graph, plan: Plan, image: [usize; 3], place: Place) -> Result<Sampler, TrainError> {
        let network = Network::new(graph, place.device, Kind::Float, place.layout)?;
        Ok(Sampler { network, plan, image, mode: Mode { train: false, precision: place.precision } })
    }

    /// The images `numbers`, `[C, H, W]` in [0, 1] each, one after the other; `guides` are what the graph takes beside
    /// its state: latents and their weight. An image depends on the seed, its number and its guide alone. `None` if an
    /// [interrupt] came.
    ///
    /// # Errors
    /// libtorch's.
    pub fn sample(
        &self,
        weights: &Parameters,
        numbers: Range<u64>,
        seed: u64,
        guides: &[(&str, Array)],
    ) -> Result<Option<Vec<f32>>, TrainError> {
        let [channels, height, width] = self.image;
        let size = channels * height * width;
        let shape = [(numbers.end - numbers.start) as usize, channels, height, width];
        let noise = |draw: usize| {
            let mut values = vec![0f32; shape[0] * size];
            for (image, number) in values.chunks_exact_mut(size).zip(numbers.clone()) {
                stream(seed, Purpose::Sample, number, draw as u64).fill_normal(image);
            }
            values
        };
        let call = |state: &[(&str, Array)]| {
            if interrupt::asked() {
                return Err(None);
            }
            self.call(weights, state.iter().chain(guides)).map_err(Some)
        };
        match self.plan.run(shape, noise, call) {
            Ok(images) => Ok(Some(images.to_f64_vec().into_iter().map(|v| v as f32).collect())),
            Err(None) => Ok(None),
            Err(Some(error)) => Err(error),
        }
    }

    fn call<'a>(
        &self,
        weights: &Parameters,
        inputs: impl Iterator<Item = &'a (&'a str, Array)>,
    ) -> Result<Vec<Array>, TrainError> {
        let tensors: Vec<(&str, Tensor)> = inputs
            .map(|(name, array)| Ok((*name, convert::to_torch(array)?)))
            .collect::<Result<_, TrainError>>()?;
        let inputs: Vec<(&str, &Tensor)> = tensors.iter().map(|(name, tensor)| (*name, tensor)).collect();
        let results = tch::no_grad(|| self.network.forward(weights, &inputs, self.mode))?;
        results.iter().map(|result| Ok(convert::from_torch(result)?)).collect()
    }
}
