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
fn parameters(values: [f32; 2], device: Device) -> Parameters {
    let mut graph = Graph::new();
    let x = graph.input("x", DType::F32, Shape::batch(&[2])).expect("an input");
    let w = graph.parameter(&Path::root().at("w"), &[2], Init::Zeros).expect("a parameter");
    let y = graph.add(x, w).expect("a sum");
    graph.output("y", y);
    let weights: Weights = [("w".to_string(), Array::f32(&[2], values.to_vec()))].into_iter().collect();
    Parameters::new(&graph, &weights, device, Kind::Float, Layout::Contiguous, true).expect("parameters")
}

#[test]
fn steps_are_those_of_pytorch() {
    // g = gradient + decay * w, m = momentum * m + g (the first m is g), w = w - rate * m; without momentum m is g, and kept
    // nowhere.
    let decay = 5e-4;
    let scaler = |device| GradScaler::new(8.0, 0, device).expect("a scaler");
    let gpu = Some(Device::Cuda(0)).filter(|_| tch::Cuda::is_available());
    for device in [Device::Cpu].into_iter().chain(gpu) {
        for given in [Some(0.9), Some(0.0), None] {
            check_steps(given, decay, device, None);
            check_steps(given, decay, device, Some(scaler(device)));
        }
    }
}

fn check_steps(given: Option<f64>, decay: f64, device: Device, scaler: Option<GradScaler>) {
    let mut config = published();
    assert_eq!(config.optim_args.momentum, Some(0.9));
    config.optim_args.momentum = given;
    let momentum = given.unwrap_or(0.0);
    {
        let weights = parameters([2.0, -1.0], device);
        let optimizer = Optimizer::new(&config, &weights, |_| 1.0, device, scaler);
        let mut optimizer = optimizer.expect("an optimiser");
        let names: Vec<&str> = optimizer.moments().iter().map(|moments| moments.name).collect();
        assert_eq!(names, if momentum == 0.0 { vec![] } else { vec!["momentum_buffer"] });
        let (mut expected, mut sums) = ([2.0f64, -1.0], [0.0f64; 2]);
        for (gradient, rate) in [([0.3f32, -0.4], 0.1), ([-0.2, 0.7], 0.1), ([5.0, 0.1], 0.05)] {
            let loss =
                (&weights.tensors()[0] * Tensor::from_slice(&gradient).to_device(device)).sum(Kind::Float);
            let _ = optimizer.step(&loss, &weights, rate).expect("a step");
            for i in 0..2 {
                sums[i] = momentum * sums[i] + f64::from(gradient[i]) + decay * expected[i];
                expected[i] -= rate * sums[i];
            }
            let ours = Vec::<f32>::try_from(weights.tensors()[0].detach()).expect("values");
            for (ours, theirs) in ours.into_iter().zip(expected) {
                assert!(
                    (f64::from(ours) - theirs).abs() < 1e-6,
                    "{given:?} on {device:?}: {ours} instead of {theirs}"
                );
            }
        }
        // The first weight once more: m = 0.3 + 0.0005 * 2 = 0.301, w = 2 - 0.0301 = 1.9699; m = 0.9 * 0.301 - 0.2 + 0.0005 *
        // 1.9699 = 0.07188495, w = 1.962711505; m = 0.9 * 0.07188495 + 5 + 0.0005 * 1.962711505 = 5.0656778107525, w =
        // 1.962711505 - 0.05 * 5.0656778107525.
        assert!(given != Some(0.9) || (expected[0] - 1.709_427_614_462_375).abs() < 1e-8, "{}", expected[0]);
        assert_eq!(optimizer.steps().expect("steps"), 3);
    }
}

#[test]
fn a_step_that_overflows_moves_nothing() {
    let weights = parameters([2.0, -1.0], Device::Cpu);
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

/// The rates of `CosineAnnealingLR(optim, 200)` stepped every epoch, the first five epochs' overwritten by `0.1 (epoch + 1) / 5`:
/// PyTorch's recursion `rate (1 + cos(pi epoch / 200)) / (1 + cos(pi (epoch - 1) / 200))` from epoch to epoch.
#[test]
fn the_published_schedule() {
    let steps = 391;
    let rate = LearningRate::new(&published(), steps);
    let mut expected = 0.1;
    let height = |epoch: u64| 1.0 + (std::f64::consts::PI * epoch as f64 / 200.0).cos();
    for epoch in 0..200u64 {
        expected = match epoch {
            0..5 => 0.1 * (epoch + 1) as f64 / 5.0,
            _ => expected * height(epoch) / height(epoch - 1),
        };
        for step in [0, steps - 1] {
            let found = rate.at(steps * epoch + step);
            assert!((found - expected).abs() < 1e-12, "epoch {epoch}: {found} instead of {expected}");
        }
    }
    let written =
        [(5, 0.099944), (50, 0.08544), (83, 0.06326), (100, 0.05005), (150, 0.01466), (199, 6.174e-6)];
    for (epoch, expected) in written {
        let found = rate.at(steps * epoch);
        assert!((found / expected - 1.0).abs() < 5e-4, "epoch {epoch}: {found} instead of {expected}");
    }
}
