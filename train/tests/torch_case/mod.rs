//! Fixture cases through libtorch.
#![allow(dead_code)] // Each test file uses its part.

use ddae_model::tensor::Tensor as Array;
use ddae_tests::cases::Case;
use ddae_train::torch::{Layout, Mode, Network, Parameters, convert};
use tch::{Device, Kind, Tensor};

/// Both memory layouts.
pub const LAYOUTS: [Layout; 2] = [Layout::Contiguous, Layout::ChannelsLast];

/// The case's weights in libtorch, not trained.
pub fn parameters(case: &Case, layout: Layout) -> Parameters {
    Parameters::new(&case.graph, &case.weights, Device::Cpu, Kind::Float, layout, false).expect("parameters")
}

/// The case's outputs.
pub fn run(case: &Case, parameters: &Parameters, layout: Layout, mode: Mode) -> Vec<(String, Array)> {
    let network = Network::new(&case.graph, Device::Cpu, Kind::Float, layout).expect("a network");
    let tensors: Vec<Tensor> =
        case.inputs.iter().map(|(_, array)| convert::to_torch(array).expect("a tensor")).collect();
    let inputs: Vec<(&str, &Tensor)> = case.inputs.iter().map(|(name, _)| *name).zip(&tensors).collect();
    let results = tch::no_grad(|| network.forward(parameters, &inputs, mode)).expect("a run");
    let arrays = results.iter().map(|tensor| convert::from_torch(tensor).expect("an array"));
    network.outputs().map(str::to_string).zip(arrays).collect()
}
