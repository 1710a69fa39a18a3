//! The moving average of the weights, against the published code.

use ddae_model::graph::Graph;
use ddae_model::tensor::{DType, Tensor as Array};
use ddae_model::weights::Weights;
use ddae_tests::{Fixture, fixture, relative_error, tolerance};
use ddae_train::ema::{self, Ema};
use ddae_train::torch::{Layout, Parameters};
use tch::{Device, Kind, Tensor};

fn number(case: &Fixture, key: &str) -> f64 {
    case.config[key].as_f64().expect("a number")
}

/// A network that adds one weight of the given values.
fn one_weight(values: &[f32]) -> Parameters {
    use ddae_model::graph::{Init, Path, Shape};
    let mut graph = Graph::new();
    let x = graph.input("x", DType::F32, Shape::batch(&[2, 3])).expect("an input");
    let weight = graph.parameter(&Path::root().at("weight"), &[2, 3], Init::Zeros).expect("a parameter");
    let y = graph.add(x, weight).expect("a sum");
    graph.output("y", y);
    let weights: Weights =
        [("weight".to_string(), Array::f32(&[2, 3], values.to_vec()))].into_iter().collect();
    Parameters::new(&graph, &weights, Device::Cpu, Kind::Float, Layout::ChannelsLast, true)
        .expect("parameters")
}

#[test]
fn the_average_of_the_weights() {
    let case = fixture("ema");
    let beta = number(&case, "beta");
    let (_, decays) = case.f64("output.decay_after");
    let (_, start) = case.f32("input.weight");
    let (_, deltas) = case.f32("input.delta");
    let (_, expected) = case.f32("output.weight");
    let weights = one_weight(&start);
    let average = weights.copy().expect("a copy");
    let mut ema = Ema::new(&average, &weights, beta, Device::Cpu).expect("an average");
    for (step, (delta, theirs)) in deltas.chunks_exact(6).zip(expected.chunks_exact(6)).enumerate() {
        assert!((ema::decay(step as u64, beta) - decays[step]).abs() < 1e-6, "step {step}");
        let delta = Tensor::from_slice(delta).reshape([2, 3]) * 0.1;
        let _ = tch::no_grad(|| weights.tensors()[0].shallow_clone().g_add_(&delta));
        ema.set_step(step as u64).expect("a step");
        ema.update(&average, &weights).expect("updated");
        let ours = average.to_weights().expect("weights");
        let ours = ours.get("weight").and_then(|w| w.as_f32().map(<[f32]>::to_vec)).expect("f32");
        let error = relative_error(&ours, theirs);
        assert!(error <= tolerance::CLOSE, "step {step}: {error:e}");
    }
}
