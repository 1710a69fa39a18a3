//! Networks whose weights others publish, through libtorch, against what their own code computed.

use ddae_model::tensor::Tensor as Array;
use ddae_tests::imported::{Case, dit, fid_inception, vae_encoder};
use ddae_train::torch::{Layout, Mode, Network, Parameters, convert};
use tch::{Device, Kind, Tensor};

/// Every output of a case, in both memory layouts.
fn check(case: &Case) {
    let graph = &case.graph;
    for layout in [Layout::Contiguous, Layout::ChannelsLast] {
        let network = Network::new(graph, Device::Cpu, Kind::Float, layout).expect("a network");
        let parameters = Parameters::new(graph, &case.weights, Device::Cpu, Kind::Float, layout, false)
            .expect("parameters");
        let tensors: Vec<Tensor> =
            case.inputs.iter().map(|(_, array)| convert::to_torch(array).expect("a tensor")).collect();
        let inputs: Vec<(&str, &Tensor)> = case.inputs.iter().map(|(name, _)| *name).zip(&tensors).collect();
        let results = tch::no_grad(|| network.forward(&parameters, &inputs, Mode::EVALUATION));
        let results = results.expect("a run");
        let arrays = results.iter().map(|tensor| convert::from_torch(tensor).expect("an array"));
        let outputs: Vec<(String, Array)> = network.outputs().map(str::to_string).zip(arrays).collect();
        case.check(&outputs);
    }
}

#[test]
fn dit_network() {
    check(&dit(true, true));
    check(&dit(false, false));
}

#[test]
fn vae_encoder_network() {
    check(&vae_encoder());
}

#[test]
fn fid_inception_network() {
    check(&fid_inception());
}
