//! EDM2's networks in training through libtorch, where they overwrite their weights, against what the published code
//! computed.

mod torch_case;

use ddae_model::diffusion::loss_graph;
use ddae_model::tensor::Tensor as Array;
use ddae_tests::cases::Case;
use ddae_tests::cases::edm2::{self, CASES};
use ddae_tests::{fixture, relative_error, rule_weights, tolerance};
use ddae_train::torch::{Layout, Mode, Network, Parameters, Precision, convert};
use tch::{Device, Kind, Tensor};
use torch_case::{LAYOUTS, parameters, run};

const TRAINING: Mode = Mode { train: true, precision: Precision::Full };

/// The loss of a case, as it is trained.
fn loss(name: &str) -> Case {
    let (config, inputs) = edm2::loss(name);
    let graph = loss_graph(&config, false).expect("a graph");
    let (name, weights) = (name.to_string(), rule_weights(&graph));
    Case { name, weights, inputs, graph, expected: vec![], of_batch: true }
}

/// The mean loss with gradients.
fn train(case: &Case, parameters: &Parameters, layout: Layout) -> Tensor {
    let network = Network::new(&case.graph, Device::Cpu, Kind::Float, layout).expect("a network");
    let tensors =
        case.inputs.iter().map(|(name, array)| (*name, convert::to_torch(array).expect("a tensor")));
    let tensors: Vec<(&str, Tensor)> = tensors.collect();
    let inputs: Vec<(&str, &Tensor)> = tensors.iter().map(|(name, tensor)| (*name, tensor)).collect();
    let losses = network.forward(parameters, &inputs, TRAINING).expect("losses");
    let loss = losses[0].mean(Kind::Float);
    loss.backward();
    loss
}

#[test]
fn losses_gradients_and_weights_in_training() {
    for name in &CASES[..3] {
        let (stored, case) = (fixture(name), loss(name));
        for layout in LAYOUTS {
            let (graph, weights) = (&case.graph, &case.weights);
            let parameters = Parameters::new(graph, weights, Device::Cpu, Kind::Float, layout, true);
            let parameters = parameters.expect("parameters");
            let loss = train(&case, &parameters, layout);
            let weights = parameters.to_weights().expect("weights");
            let names = stored.names("output.train.");
            assert_eq!(names.len(), if *name == "edm2g_tiny" { 9 } else { 7 });
            for output in names {
                let what = output.strip_prefix("output.train.").expect("the prefix");
                let (ours, limit): (Array, f64) = if what == "loss" {
                    (convert::from_torch(&loss.reshape([1])).expect("a loss"), tolerance::NETWORK)
                } else if let Some(weight) = what.strip_prefix("weight.") {
                    (weights.get(weight).expect("a weight").clone(), tolerance::NETWORK)
                } else {
                    let parameter = what.strip_prefix("gradient.").expect("a gradient");
                    let gradient = parameters.get(parameter).expect("a parameter").grad();
                    (convert::from_torch(&gradient).expect("a gradient"), 1e-4)
                };
                let theirs = stored.f32(&output).1;
                let error = relative_error(ours.as_f32().expect("f32"), &theirs);
                println!("{name} {what} {layout:?}: {error:.1e}");
                assert!(error <= limit, "{name} {what} {layout:?}: relative error {error:e}");
            }
        }
    }
}

/// The root mean square of each row of a weight.
fn rows(weight: &Array) -> Vec<f64> {
    let (values, count) = (weight.to_f64_vec(), weight.shape()[0]);
    let row = values.len() / count;
    let square = |row: &[f64]| row.iter().map(|w| w * w).sum::<f64>() / row.len() as f64;
    values.chunks(row).map(|row| square(row).sqrt()).collect()
}

#[test]
fn training_overwrites_weights_and_evaluation_does_not() {
    for (name, are_normalised) in [("edm2c_tiny", false), ("edm2e_tiny", true), ("edm2g_tiny", true)] {
        let case = loss(name);
        for layout in LAYOUTS {
            let parameters = parameters(&case, layout);
            run(&case, &parameters, layout, Mode::EVALUATION);
            assert_eq!(parameters.to_weights().expect("weights"), case.weights, "{name}");
            run(&case, &parameters, layout, TRAINING);
            let after = parameters.to_weights().expect("weights");
            for (_, node) in case.graph.parameters() {
                let [before, after] = [&case.weights, &after].map(|w| w.get(&node.name).expect("a tensor"));
                let is_weight = node.name.ends_with(".weight");
                if !(are_normalised && is_weight) {
                    assert_eq!(before, after, "{name} {}", node.name);
                    continue;
                }
                for (ours, from) in rows(after).into_iter().zip(rows(before)) {
                    let expected = from / (from + 1e-4);
                    assert!((ours - expected).abs() < 1e-6, "{name} {}: {ours}, not {expected}", node.name);
                }
            }
        }
    }
}
