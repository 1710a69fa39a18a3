//! Gradient descent with momentum, as PyTorch's SGD, against numbers by hand in float64.

use ddae_model::config::{ClassifierRun, TrainingConfig};
use ddae_model::graph::{Graph, Init, Path, Shape};
use ddae_model::tensor::{DType, Tensor as Array};
use ddae_model::weights::Weights;
use ddae_train::grad_scaler::GradScaler;
use ddae_train::learning_rate::LearningRate;
use ddae_train::optimizer::Optimizer;
use ddae_train::torch::{Layout, Parameters};
use tch::{Device, Kind, Tensor};

fn published() -> TrainingConfig {
    let text = include_str!("../../configs/WRN_vp.yaml");
    ClassifierRun::parse(text, "WRN_vp.yaml", &[]).expect("the published configuration").training
}

/// One parameter of two values.
fn parameters(values: [f32; 2]) -> Parameters {
    let mut graph = Graph::new();
    let x = graph.input("x", DType::F32, Shape::batch(&[2])).expect("an input");
    let w = graph.parameter(&Path::root().at("w"), &[2], Init::Zeros).expect("a parameter");
    let y = graph.add(x, w).expect("a sum");
    graph.output("y", y);
    let weights: Weights = [("w".to_string(), Array::f32(&[2], values.to_vec()))].into_iter().collect();
    Parameters::new(&graph, &weights, Device::Cpu, Kind::Float, Layout::Contiguous, true).expect("parameters")
}

#[test]
fn steps_are_those_of_pytorch() {
    // g = gradient + decay * w, m = momentum * m + g (the first m is g), w = w - rate * m.
    let (momentum, decay) = (0.9, 5e-4);
    for scaler in [None, GradScaler::new(8.0, 0, Device::Cpu).ok()] {
        let weights = parameters([2.0, -1.0]);
        let optimizer = Optimizer::new(&published(), &weights, |_| 1.0, Device::Cpu, scaler);
        let mut optimizer = optimizer.expect("an optimiser");
        let names: Vec<&str> = optimizer.moments().iter().map(|moments| moments.name).collect();
        assert_eq!(names, ["momentum_buffer"]);
        let (mut expected, mut sums) = ([2.0f64, -1.0], [0.0f64; 2]);
        for (gradient, rate) in [([0.3f32, -0.4], 0.1), ([-0.2, 0.7], 0.1), ([5.0, 0.1], 0.05)] {
            let loss = (&weights.tensors()[0] * Tensor::from_slice(&gradient)).sum(Kind::Float);
            let _ = optimizer.step(&loss, &weights, rate).expect("a step");
            for i in 0..2 {
                sums[i] = momentum * sums[i] + f64::from(gradient[i]) + decay * expected[i];
                expected[i] -= rate * sums[i];
            }
            let ours = Vec::<f32>::try_from(weights.tensors()[0].detach()).expect("values");
            for (ours, theirs) in ours.into_iter().zip(expected) {
                assert!((f64::from(ours) - theirs).abs() < 1e-6, "{ours} instead of {theirs}");
            }
        }
        // The first weight once more: m = 0.3 + 0.0005 * 2 = 0.301, w = 2 - 0.0301 = 1.9699; m = 0.9 * 0.301 - 0.2 + 0.0005 *
        // 1.9699 = 0.07188495, w = 1.962711505; m = 0.9 * 0.07188495 + 5 + 0.0005 * 1.962711505 = 5.0656778107525, w =
        // 1.962711505 - 0.05 * 5.0656778107525.
        assert!((expected[0] - 1.709_427_614_462_375).abs() < 1e-12, "{}", expected[0]);
        assert_eq!(optimizer.steps().expect("steps"), 3);
    }
}

#[test]
fn a_step_that_overflows_moves_nothing() {
    let weights = parameters([2.0, -1.0]);
    let scaler = GradScaler::new(1024.0, 0, Device::Cpu).expect("a scaler");
    let optimizer = Optimizer::new(&published(), &weights, |_| 1.0, Device::Cpu, Some(scaler));
    let mut optimizer = optimizer.expect("an optimiser");
    let loss = (&weights.tensors()[0] * Tensor::from_slice(&[f32::INFINITY, 0.0])).sum(Kind::Float);
    let _ = optimizer.step(&loss, &weights, 0.1).expect("a step");
    let values =
        |parameters: &Parameters| Vec::<f32>::try_from(parameters.tensors()[0].detach()).expect("values");
    assert_eq!((values(&weights), values(&optimizer.moments()[0].values)), (vec![2.0, -1.0], vec![0.0, 0.0]));
    assert_eq!(optimizer.steps().expect("steps"), 0);
}

/// Five epochs of warm-up, then half a cosine over the other 195, 391 steps each.
#[test]
fn the_published_schedule() {
    let rate = LearningRate::new(&published(), 391);
    let at_epoch = |epoch: u64| rate.at(391 * epoch);
    let close =
        |found: f64, expected: f64| assert!((found - expected).abs() < 1e-12, "{found} and {expected}");
    close(at_epoch(0), 0.02);
    close(at_epoch(4), 0.1);
    close(at_epoch(5), 0.1);
    let cosine = |share: f64| 0.05 * (1.0 + (std::f64::consts::PI * share).cos());
    close(at_epoch(83), cosine(78.0 / 195.0));
    close(at_epoch(199), cosine(194.0 / 195.0));
    close(at_epoch(200), 0.0);
}
