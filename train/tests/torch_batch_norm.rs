//! Batch norm in training: the batch's statistics, the running ones, gradients; and what becomes of buffers.

use ddae_model::config::Config;
use ddae_model::graph::{Conv, Graph, Path, Shape};
use ddae_model::reference;
use ddae_model::tensor::{DType, Tensor as Array};
use ddae_model::weights::Weights;
use ddae_tests::{relative_error, rule_values, rule_weight, tolerance};
use ddae_train::ema::{self, Ema};
use ddae_train::optimizer::Optimizer;
use ddae_train::torch::{Layout, Mode, Network, Parameters, Precision, convert};
use tch::{Device, Kind, Tensor};

const TRAINING: Mode = Mode { train: true, precision: Precision::Full };
const LAYOUTS: [Layout; 2] = [Layout::Contiguous, Layout::ChannelsLast];
const EPS: f64 = 1e-5;
const CHANNELS: usize = 6;

/// `x [B,6,5,4]` through one batch norm.
fn one_norm() -> Graph {
    let mut g = Graph::new();
    let x = g.input("x", DType::F32, Shape::batch(&[CHANNELS, 5, 4])).expect("x");
    let y = g.batch_norm(&Path::root().at("bn"), x, EPS).expect("a norm");
    g.output("y", y);
    g
}

/// `x [B,3,5,4]` through a convolution, a batch norm, an activation and another convolution.
fn block() -> Graph {
    let mut g = Graph::new();
    let x = g.input("x", DType::F32, Shape::batch(&[3, 5, 4])).expect("x");
    let h = g.conv2d(&Path::root().at("conv1"), x, Conv::same(8, 3).without_bias()).expect("a convolution");
    let h = g.batch_norm(&Path::root().at("bn1"), h, EPS).expect("a norm");
    let h = g.silu(h).expect("an activation");
    let y = g.conv2d(&Path::root().at("conv2"), h, Conv::same(2, 3)).expect("a convolution");
    g.output("y", y);
    g
}

fn weights(graph: &Graph) -> Weights {
    let tensor = |name: &str, shape: &[usize]| Array::f32(shape, rule_weight(name, shape));
    let nodes = graph.parameters().map(|(_, node)| node);
    nodes.map(|node| (node.name.clone(), tensor(&node.name, &node.shape.resolve(1)))).collect()
}

/// A batch for the graph's input, away from mean 0 and variance 1.
fn batch(graph: &Graph, size: usize) -> Array {
    let (_, node) = graph.inputs().next().expect("an input");
    let shape = node.shape.resolve(size);
    Array::f32(&shape, rule_values("x", shape.iter().product(), -1.0, 4.0))
}

fn run(
    graph: &Graph,
    parameters: &Parameters,
    x: &Array,
    kind: Kind,
    layout: Layout,
    mode: Mode,
) -> Result<Vec<f64>, String> {
    let network = Network::new(graph, Device::Cpu, kind, layout).expect("a network");
    let x = convert::to_torch(x).expect("a tensor");
    let results = tch::no_grad(|| network.forward(parameters, &[("x", &x)], mode));
    let results = results.map_err(|error| error.to_string())?;
    Ok(convert::from_torch(&results[0]).expect("an array").to_f64_vec())
}

fn parameters(graph: &Graph, kind: Kind, layout: Layout) -> Parameters {
    Parameters::new(graph, &weights(graph), Device::Cpu, kind, layout, true).expect("parameters")
}

fn values(parameters: &Parameters, name: &str) -> Vec<f64> {
    Vec::try_from(parameters.get(name).expect("a tensor").detach().to_kind(Kind::Double)).expect("values")
}

/// Mean, biased and unbiased variance of each channel of `x [B,C,H,W]`.
fn statistics(x: &Array) -> Vec<[f64; 3]> {
    let &[batch, channels, height, width] = x.shape() else { panic!("an image") };
    let (pixels, values) = (height * width, x.to_f64_vec());
    let of_channel = |channel: usize| {
        let members: Vec<f64> =
            (0..batch).flat_map(|b| values[(b * channels + channel) * pixels..][..pixels].to_vec()).collect();
        let count = members.len() as f64;
        let mean = members.iter().sum::<f64>() / count;
        let squares: f64 = members.iter().map(|x| (x - mean).powi(2)).sum();
        [mean, squares / count, squares / (count - 1.0)]
    };
    (0..channels).map(of_channel).collect()
}

#[test]
fn training_takes_the_batchs_statistics_and_moves_the_running_ones() {
    let graph = one_norm();
    let (x, before) = (batch(&graph, 3), weights(&graph));
    let statistics = statistics(&x);
    let list = |i: usize| statistics.iter().map(|of_channel| of_channel[i]).collect::<Vec<f64>>();
    // Evaluation with the batch's own statistics is what training computes.
    let mut with_batch = before.clone();
    with_batch.insert("bn.running_mean", Array::f64(&[CHANNELS], list(0)));
    with_batch.insert("bn.running_var", Array::f64(&[CHANNELS], list(1)));
    let expected = reference::run::<f64>(&graph, &with_batch, &[("x", x.clone())]).expect("a run");
    let expected = expected[0].1.to_f64_vec();

    for (kind, limit) in [(Kind::Float, tolerance::CLOSE), (Kind::Double, 1e-12)] {
        for layout in LAYOUTS {
            let parameters = parameters(&graph, kind, layout);
            let ours = run(&graph, &parameters, &x, kind, layout, TRAINING).expect("a run");
            let error = relative_error(&ours, &expected);
            assert!(error <= limit, "{kind:?} {layout:?}: relative error {error:e}");
            for (name, batch) in [("bn.running_mean", list(0)), ("bn.running_var", list(2))] {
                let old = before.get(name).expect("a buffer").to_f64_vec();
                let moved: Vec<f64> = old.iter().zip(&batch).map(|(a, b)| 0.9 * a + 0.1 * b).collect();
                let error = relative_error(&values(&parameters, name), &moved);
                assert!(error <= limit, "{name} {kind:?} {layout:?}: relative error {error:e}");
            }
            assert_eq!(values(&parameters, "bn.weight"), before.get("bn.weight").expect("it").to_f64_vec());
        }
    }
}

#[test]
fn evaluation_leaves_the_running_statistics_alone() {
    let graph = one_norm();
    for layout in LAYOUTS {
        let parameters = parameters(&graph, Kind::Float, layout);
        let x = batch(&graph, 2);
        let first = run(&graph, &parameters, &x, Kind::Float, layout, Mode::EVALUATION).expect("a run");
        assert_eq!(parameters.to_weights().expect("weights"), weights(&graph));
        let again = run(&graph, &parameters, &x, Kind::Float, layout, Mode::EVALUATION).expect("a run");
        assert_eq!(first, again);
    }
}

#[test]
fn a_single_value_per_channel_is_refused_in_training() {
    let mut graph = Graph::new();
    let x = graph.input("x", DType::F32, Shape::batch(&[CHANNELS, 1, 1])).expect("x");
    let y = graph.batch_norm(&Path::root().at("bn"), x, EPS).expect("a norm");
    graph.output("y", y);
    let parameters = parameters(&graph, Kind::Float, Layout::Contiguous);
    let run =
        |size, mode| run(&graph, &parameters, &batch(&graph, size), Kind::Float, Layout::Contiguous, mode);
    let expected = "bn: one value per channel has no variance to train with: take more samples at a time";
    assert_eq!(run(1, TRAINING), Err(expected.to_string()));
    assert_eq!(parameters.to_weights().expect("weights"), weights(&graph));
    assert!(run(2, TRAINING).is_ok() && run(1, Mode::EVALUATION).is_ok());
}

/// A direction to move a tensor in, of magnitude 1.
fn along(name: &str, size: &[i64]) -> Tensor {
    let count = size.iter().product::<i64>() as usize;
    let values = rule_values(name, count, -3f64.sqrt(), 3f64.sqrt());
    Tensor::from_slice(&values).to_kind(Kind::Double).reshape(size)
}

#[test]
fn gradients_in_training_agree_with_finite_differences() {
    const STEP: f64 = 1e-5;
    let graph = block();
    for layout in LAYOUTS {
        let network = Network::new(&graph, Device::Cpu, Kind::Double, layout).expect("a network");
        let parameters = parameters(&graph, Kind::Double, layout);
        let x = convert::to_torch(&batch(&graph, 3)).expect("a tensor").to_kind(Kind::Double);
        let x = x.set_requires_grad(true);
        let direction = along("y", &[3, 2, 5, 4]);
        let loss = || {
            let results = network.forward(&parameters, &[("x", &x)], TRAINING).expect("a run");
            (&results[0] * &direction).sum(Kind::Double)
        };
        loss().backward();
        let trained = parameters.names().iter().map(String::as_str).zip(parameters.tensors());
        for (name, variable) in trained.chain([("x", &x)]) {
            let along = along(name, &variable.size());
            let derivative = (variable.grad() * &along).sum(Kind::Double).double_value(&[]);
            let mut moved = variable.detach();
            let mut at = |step: f64| {
                tch::no_grad(|| {
                    let _ = moved.g_add_(&(&along * step));
                    loss().double_value(&[])
                })
            };
            let (above, below) = (at(STEP), at(-2.0 * STEP));
            at(STEP);
            let difference = (above - below) / (2.0 * STEP);
            let scale = variable.grad().norm().double_value(&[]).max(derivative.abs());
            let error = (difference - derivative).abs() / scale;
            assert!(error <= tolerance::GRADIENT, "{name} {layout:?}: {derivative:e} but {difference:e}");
        }
    }
}

#[test]
fn bf16_keeps_the_running_statistics_in_float32() {
    let graph = block();
    let mode = Mode { precision: Precision::Bf16, ..TRAINING };
    let x = batch(&graph, 4);
    for layout in LAYOUTS {
        let (full, low) = (parameters(&graph, Kind::Float, layout), parameters(&graph, Kind::Float, layout));
        let expected = run(&graph, &full, &x, Kind::Float, layout, TRAINING).expect("a run");
        let ours = run(&graph, &low, &x, Kind::Float, layout, mode).expect("a run");
        let error = relative_error(&ours, &expected);
        assert!(error > 1e-4 && error < 3e-2, "{layout:?}: relative error {error:e}");
        for name in ["bn1.running_mean", "bn1.running_var"] {
            assert_eq!(low.get(name).expect("a buffer").kind(), Kind::Float);
            let error = relative_error(&values(&low, name), &values(&full, name));
            assert!(error < 1e-2, "{name} {layout:?}: relative error {error:e}");
        }
    }
}

#[test]
fn buffers_are_kept_and_averaged_but_not_optimised() {
    let graph = block();
    let (kind, layout) = (Kind::Float, Layout::ChannelsLast);
    let parameters = parameters(&graph, kind, layout);
    assert_eq!(parameters.buffers().len(), 2);
    assert!(parameters.buffers().iter().all(|buffer| !buffer.requires_grad()));
    assert!(parameters.names().iter().all(|name| !name.contains("running")));
    assert_eq!(parameters.count(), graph.parameter_count());
    assert_eq!(parameters.zeros_like().expect("moments").state().len(), parameters.tensors().len());

    let average = parameters.copy().expect("a copy");
    let mut ema = Ema::new(&average, &parameters, 0.9999, Device::Cpu).expect("an average");
    let config =
        Config::parse(include_str!("../../configs/demo.yaml"), "demo.yaml", &[]).expect("the demo's");
    let mut optimizer =
        Optimizer::new(&config.training, &parameters, |_| 1.0, Device::Cpu, None).expect("an optimiser");
    let network = Network::new(&graph, Device::Cpu, kind, layout).expect("a network");
    let x = convert::to_torch(&batch(&graph, 3)).expect("a tensor");
    let (mut averaged, name) = (Vec::new(), "bn1.running_mean");
    for step in 0..3 {
        let results = network.forward(&parameters, &[("x", &x)], TRAINING).expect("a run");
        let moved = values(&parameters, name);
        let loss = results[0].square().mean(Kind::Float);
        let _ = optimizer.step(&loss, &parameters, 0.01).expect("a step");
        assert_eq!(values(&parameters, name), moved, "the optimiser moved a buffer");
        ema.set_step(step).expect("a step");
        ema.update(&average, &parameters).expect("an average");
        // The first update copies.
        let decay = ema::decay(step, 0.9999);
        let pairs = if averaged.is_empty() { moved.clone() } else { averaged };
        averaged = pairs.iter().zip(&moved).map(|(old, new)| old + (1.0 - decay) * (new - old)).collect();
        let error = relative_error(&values(&average, name), &averaged);
        assert!(error <= tolerance::CLOSE, "step {step}: relative error {error:e}");
    }
    assert_ne!(values(&average, name), values(&parameters, name));

    // What a checkpoint stores brings all of it back.
    let stored = average.to_weights().expect("weights");
    assert_eq!(stored.check(&graph), Ok(()));
    let loaded = self::parameters(&graph, kind, layout);
    loaded.load(&stored).expect("the same network");
    assert_eq!(loaded.to_weights().expect("weights"), stored);
}
