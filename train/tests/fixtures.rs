//! Every fixture through libtorch, in both memory layouts.

use ddae_model::graph::Graph;
use ddae_model::weights::Weights;
use ddae_tests::cases::Run;
use ddae_train::torch::{Layout, Mode, Network, Parameters, convert};
use tch::{Device, Kind, Tensor};

fn libtorch(graph: &Graph, weights: &Weights, layout: Layout) -> Run {
    // The tests of this file run side by side already.
    tch::set_num_threads(1);
    let network = Network::new(graph, Device::Cpu, Kind::Float, layout).expect("a network");
    let parameters = Parameters::new(graph, weights, Device::Cpu, Kind::Float, layout, false);
    let parameters = parameters.expect("parameters");
    Box::new(move |inputs| {
        let tensors: Vec<(&str, Tensor)> =
            inputs.iter().map(|(name, array)| (*name, convert::to_torch(array).expect("a tensor"))).collect();
        let inputs: Vec<(&str, &Tensor)> = tensors.iter().map(|(name, tensor)| (*name, tensor)).collect();
        let results = network.forward(&parameters, &inputs, Mode::EVALUATION).expect("a run");
        let arrays = results.iter().map(|tensor| convert::from_torch(tensor).expect("an array"));
        network.outputs().map(str::to_string).zip(arrays).collect()
    })
}

ddae_tests::fixture_tests!(
    |graph, weights| libtorch(graph, weights, Layout::Contiguous),
    |graph, weights| libtorch(graph, weights, Layout::ChannelsLast),
);
