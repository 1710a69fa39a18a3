//! Networks in libtorch: precisions, parts, parameters, wrong inputs.

use ddae_model::graph::{Graph, Shape};
use ddae_model::networks::unet_graph;
use ddae_model::tensor::{DType, Tensor as Array};
use ddae_model::weights::Weights;
use ddae_tests::{Fixture, fixture, relative_error, rule_weights, tolerance};
use ddae_train::torch::{Layout, Mode, Network, Parameters, Precision, convert};
use tch::{Device, Kind, Tensor};

fn inputs(graph: &Graph, case: &Fixture) -> Vec<(String, Tensor)> {
    let tensor = |name: &str| convert::to_torch(&case.tensor(&format!("input.{name}"))).expect("a tensor");
    graph.inputs().map(|(_, node)| (node.name.clone(), tensor(&node.name))).collect()
}

fn run(graph: &Graph, weights: &Weights, case: &Fixture, layout: Layout, mode: Mode) -> Vec<(String, Array)> {
    let network = Network::new(graph, Device::Cpu, Kind::Float, layout).expect("a network");
    let parameters =
        Parameters::new(graph, weights, Device::Cpu, Kind::Float, layout, false).expect("parameters");
    let inputs = inputs(graph, case);
    let inputs: Vec<(&str, &Tensor)> = inputs.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let results = network.forward(&parameters, &inputs, mode).expect("a run");
    let arrays = results.iter().map(|tensor| convert::from_torch(tensor).expect("an array"));
    network.outputs().map(str::to_string).zip(arrays).collect()
}

fn assert_close(what: &str, ours: &Array, (shape, theirs): (Vec<usize>, Vec<f32>)) {
    assert_eq!(ours.shape(), shape, "{what}");
    let error = relative_error(ours.as_f32().expect("f32"), &theirs);
    assert!(error <= tolerance::NETWORK, "{what}: relative error {error:e}");
}

#[test]
fn bf16_is_close_to_f32() {
    let case = fixture("unet_tiny");
    let graph = unet_graph(&case.network(), false).expect("a graph");
    let weights = rule_weights(&graph);
    let mode = Mode { train: false, precision: Precision::Bf16 };
    for layout in [Layout::Contiguous, Layout::ChannelsLast] {
        let ours = &run(&graph, &weights, &case, layout, mode)[0].1;
        let error = relative_error(ours.as_f32().expect("f32"), &case.f32("output.y").1);
        assert!(error < 3e-2, "{layout:?}: relative error {error:e}");
        assert!(error > 1e-4, "{layout:?}: relative error {error:e}: this was not computed in bf16");
    }
}

/// An image in bytes, `[B,H,W,C]`, lies as the layout wants it once the graph sees it as `[B,C,H,W]`, without a copy.
#[test]
fn bytes_come_in_the_order_of_the_layout() {
    let mut graph = Graph::new();
    let bytes = graph.input("image", DType::U8, Shape::batch(&[4, 5, 3])).expect("an input");
    let floats = graph.cast(bytes, DType::F32).expect("a cast");
    let image = graph.transpose(floats, &[0, 3, 1, 2]).expect("a transposition");
    graph.output("image", image);
    let levels: Vec<u8> = (0..2 * 4 * 5 * 3).collect();
    let input = Tensor::from_slice(&levels).reshape([2, 4, 5, 3]);
    for (layout, strides) in [(Layout::Contiguous, [60, 20, 5, 1]), (Layout::ChannelsLast, [60, 1, 15, 3])] {
        let network = Network::new(&graph, Device::Cpu, Kind::Float, layout).expect("a network");
        let parameters =
            Parameters::new(&graph, &Weights::new(), Device::Cpu, Kind::Float, layout, false).expect("none");
        let results = network.forward(&parameters, &[("image", &input)], Mode::EVALUATION).expect("a run");
        assert_eq!(results[0].stride(), strides);
        assert_eq!(results[0], input.permute([0, 3, 1, 2]).to_kind(Kind::Float));
    }
}

#[test]
fn a_part_of_the_network_runs_on_the_whole_networks_parameters() {
    let case = fixture("unet_tiny");
    let graph = unet_graph(&case.network(), false).expect("a graph");
    let whole =
        Parameters::new(&graph, &rule_weights(&graph), Device::Cpu, Kind::Float, Layout::ChannelsLast, false)
            .expect("parameters");
    let part = graph.keep(&["out_1"]).expect("a tap");
    let network = Network::new(&part, Device::Cpu, Kind::Float, Layout::ChannelsLast).expect("a network");
    let inputs = inputs(&part, &case);
    let inputs: Vec<(&str, &Tensor)> = inputs.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let results = network.forward(&whole, &inputs, Mode::EVALUATION).expect("a run");
    assert_close("out_1", &convert::from_torch(&results[0]).expect("an array"), case.f32("output.map.out_1"));
}

#[test]
fn parameters_come_back_as_they_were() {
    let case = fixture("unet_tiny");
    let graph = unet_graph(&case.network(), false).expect("a graph");
    let weights = rule_weights(&graph);
    let new = || {
        Parameters::new(&graph, &weights, Device::Cpu, Kind::Float, Layout::ChannelsLast, true)
            .expect("parameters")
    };
    let parameters = new();
    assert_eq!(parameters.to_weights().expect("weights"), weights);
    assert_eq!(parameters.count(), graph.parameter_count());
    let zeros = parameters.zeros_like().expect("zeros");
    zeros.load(&weights).expect("the same shapes");
    assert_eq!(zeros.to_weights().expect("weights"), weights);
    assert_eq!(parameters.copy().expect("a copy").to_weights().expect("weights"), weights);
    assert!(parameters.tensors()[0].requires_grad() && !zeros.tensors()[0].requires_grad());

    let mut short = weights.clone();
    short.insert("final.bias", Array::f32(&[2], vec![0.0; 2]));
    let error = zeros.load(&short).expect_err("another shape").to_string();
    assert_eq!(error, "parameter 'final.bias': is [3] in the network and [2] in the weights");
}

#[test]
fn wrong_inputs_are_named() {
    let case = fixture("unet_tiny");
    let graph = unet_graph(&case.network(), false).expect("a graph");
    let network = Network::new(&graph, Device::Cpu, Kind::Float, Layout::ChannelsLast).expect("a network");
    let parameters =
        Parameters::new(&graph, &rule_weights(&graph), Device::Cpu, Kind::Float, Layout::ChannelsLast, false)
            .expect("parameters");
    let x = Tensor::zeros([2, 3, 16, 16], (Kind::Float, Device::Cpu));
    let t = Tensor::zeros([2], (Kind::Float, Device::Cpu));
    let fails = |inputs: &[(&str, &Tensor)]| {
        network.forward(&parameters, inputs, Mode::EVALUATION).expect_err("wrong inputs").to_string()
    };
    assert_eq!(fails(&[("x", &x)]), "the network's input 't' [B] is missing");
    assert_eq!(fails(&[("x", &x), ("t", &t), ("y", &t)]), "the network has no input 'y'; it takes x, t");
    let three = Tensor::zeros([3], (Kind::Float, Device::Cpu));
    assert_eq!(
        fails(&[("x", &x), ("t", &three)]),
        "the network's input 't' is f32 [B] (B is 2), got Float [3]"
    );
    let whole = Tensor::zeros([2], (Kind::Int64, Device::Cpu));
    assert_eq!(
        fails(&[("x", &x), ("t", &whole)]),
        "the network's input 't' is f32 [B] (B is 2), got Int64 [2]"
    );
}
