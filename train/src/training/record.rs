//! What a network gives for fixed inputs, kept with its weights.

use ddae_model::graph::Graph;
use ddae_model::tensor::Tensor as Array;
use ddae_model::weights::Weights;
use tch::{Device, Kind, Tensor};

use crate::TrainError;
use crate::torch::{Layout, Mode, Network, Parameters, TorchError, convert};

/// The first output of a graph, in float32 on the CPU: whatever the run trains on, an export can be held against it.
///
/// # Errors
/// When the weights are not the graph's, or libtorch refuses.
pub fn output(graph: &Graph, weights: &Weights, inputs: &[(&str, Array)]) -> Result<Array, TrainError> {
    let (cpu, kind, layout) = (Device::Cpu, Kind::Float, Layout::Contiguous);
    let parameters = Parameters::new(graph, weights, cpu, kind, layout, false)?;
    let network = Network::new(graph, cpu, kind, layout)?;
    let tensors: Vec<(&str, Tensor)> = inputs
        .iter()
        .map(|(name, array)| Ok((*name, convert::to_torch(array)?)))
        .collect::<Result<_, TorchError>>()?;
    let inputs: Vec<(&str, &Tensor)> = tensors.iter().map(|(name, tensor)| (*name, tensor)).collect();
    let outputs = tch::no_grad(|| network.forward(&parameters, &inputs, Mode::EVALUATION))?;
    Ok(convert::from_torch(&outputs[0])?)
}

/// The tensors of a record under the names of a checkpoint.
pub fn named<'a>(
    prefix: &str,
    tensors: impl IntoIterator<Item = (&'a str, Array)>,
) -> impl Iterator<Item = (String, Array)> {
    tensors.into_iter().map(move |(name, array)| (format!("{prefix}{name}"), array))
}
