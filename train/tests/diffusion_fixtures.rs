//! Losses, features, samplers and the EMA through libtorch, against the published code.

use ddae_model::config::{Config, ProcessConfig};
use ddae_model::diffusion::{FeatureOptions, Plan, SamplerKind, features_graph, sampler_graph};
use ddae_model::graph::Graph;
use ddae_model::tensor::{DType, Tensor as Array};
use ddae_model::weights::Weights;
use ddae_tests::{Fixture, fixture, relative_error, rule_weights, tolerance};
use ddae_train::diffusion::loss::{DiffusionLoss, Draws};
use ddae_train::diffusion::training_graph;
use ddae_train::ema;
use ddae_train::torch::{Layout, Mode, Network, Parameters, TorchError, convert};
use tch::{Device, Kind, Tensor};

fn rule_parameters(graph: &Graph) -> Parameters {
    Parameters::new(graph, &rule_weights(graph), Device::Cpu, Kind::Float, Layout::ChannelsLast, false)
        .expect("parameters")
}

fn network(graph: &Graph) -> Network {
    // The tests of this file run side by side already.
    tch::set_num_threads(1);
    Network::new(graph, Device::Cpu, Kind::Float, Layout::ChannelsLast).expect("a network")
}

fn tensor(case: &Fixture, name: &str) -> Tensor {
    convert::to_torch(&case.tensor(name)).expect("a tensor")
}

fn loss(case: &Fixture, config: &Config, draws: &Draws) -> f64 {
    let graph = training_graph(config).expect("a graph");
    let (network, parameters) = (network(&graph), rule_parameters(&graph));
    let images = tensor(case, "input.image");
    let label =
        Tensor::zeros([images.size()[0], config.network.augment_dim as i64], (Kind::Float, Device::Cpu));
    let loss = DiffusionLoss::new(&config.process, Device::Cpu).loss(&images, draws, |x, t| {
        let mut inputs = vec![("x", x), ("t", t)];
        if config.network.augment_dim > 0 {
            inputs.push(("augment_label", &label));
        }
        Ok(network.forward(&parameters, &inputs, Mode::EVALUATION)?.remove(0))
    });
    loss.expect("a loss").double_value(&[])
}

fn check_loss(case: &Fixture, ours: f64) {
    let (_, theirs) = case.f32("output.loss");
    let error = relative_error(&[ours], &theirs);
    assert!(error <= tolerance::NETWORK, "loss {ours} instead of {theirs:?}: {error:e}");
}

fn check_features(case: &Fixture, config: &Config, noise: &str, timestep: i64) {
    let names = case.names("output.feature.");
    let taps: Vec<String> = names.iter().map(|n| n.replace("output.feature.", "")).collect();
    assert!(!taps.is_empty());
    let options = FeatureOptions { taps: taps.clone(), ..Default::default() };
    let graph = features_graph(config, &options).expect("a graph");
    let (image, noise) = (tensor(case, "input.image"), tensor(case, noise));
    let timestep = Tensor::full([image.size()[0]], timestep, (Kind::Int64, Device::Cpu));
    let inputs = [("image", &image), ("noise", &noise), ("timestep", &timestep)];
    let results = network(&graph).forward(&rule_parameters(&graph), &inputs, Mode::EVALUATION);
    for ((tap, name), ours) in taps.iter().zip(&names).zip(results.expect("features")) {
        let ours = convert::from_torch(&ours).expect("an array");
        let (shape, theirs) = case.f32(name);
        assert_eq!(ours.shape(), shape, "{tap}");
        let error = relative_error(ours.as_f32().expect("f32"), &theirs);
        assert!(error <= tolerance::NETWORK, "{tap}: {error:e}");
    }
}

#[test]
fn ddpm_loss_and_features() {
    let case = fixture("ddpm_loss_features");
    let config = case.run_config();
    let (_, timesteps) = case.i64("input.t");
    let draws = Draws { level: Tensor::from_slice(&timesteps), noise: tensor(&case, "input.noise") };
    check_loss(&case, loss(&case, &config, &draws));
    let timestep = case.config["feature_timestep"].as_i64().expect("a timestep");
    check_features(&case, &config, "input.noise", timestep);
}

#[test]
fn edm_loss_and_features() {
    let case = fixture("edm_loss_features");
    let config = case.run_config();
    let draws = Draws { level: tensor(&case, "input.noise.0"), noise: tensor(&case, "input.noise.1") };
    check_loss(&case, loss(&case, &config, &draws));
    let step = case.config["feature_step"].as_i64().expect("a step");
    check_features(&case, &config, "input.feature_noise.0", step);
}

fn check_sampler(name: &str, kind: impl Fn(&Fixture) -> SamplerKind) {
    let case = fixture(name);
    let config = case.run_config();
    let kind = kind(&case);
    let plan = match &config.process {
        ProcessConfig::Ddpm(ddpm) => Plan::ddpm(ddpm, kind),
        ProcessConfig::Edm(edm) => Plan::edm(edm, kind),
    }
    .expect("a plan");
    let graph = sampler_graph(&config).expect("a graph");
    let (network, parameters) = (network(&graph), rule_parameters(&graph));
    let (shape, _) = case.f32("input.noise.0");
    let shape = shape.try_into().expect("four axes");
    let noise = |draw: usize| case.f32(&format!("input.noise.{draw}")).1;
    let images = plan
        .run(shape, noise, |inputs| {
            let tensor = |(name, array): &(_, Array)| Ok((*name, convert::to_torch(array)?));
            let tensors = inputs.iter().map(tensor).collect::<Result<Vec<_>, TorchError>>()?;
            let inputs: Vec<(&str, &Tensor)> = tensors.iter().map(|(n, t)| (*n, t)).collect();
            let results = network.forward(&parameters, &inputs, Mode::EVALUATION)?;
            results.iter().map(convert::from_torch).collect::<Result<Vec<_>, TorchError>>()
        })
        .expect("images");
    let theirs = match images.dtype() {
        DType::F64 => case.f64("output.sample").1,
        _ => case.f32("output.sample").1.into_iter().map(f64::from).collect(),
    };
    let error = relative_error(&images.to_f64_vec(), &theirs);
    assert!(error <= tolerance::SAMPLER, "{name}: {error:e}");
}

fn number(case: &Fixture, key: &str) -> f64 {
    case.config[key].as_f64().expect("a number")
}

#[test]
fn ddim_sampling() {
    for name in ["ddim_sample_eta0.0", "ddim_sample_eta0.7"] {
        check_sampler(name, |case| SamplerKind::Ddim {
            steps: number(case, "steps") as usize,
            eta: number(case, "eta"),
        });
    }
}

#[test]
fn ddpm_sampling() {
    check_sampler("ddpm_sample", |_| SamplerKind::Ddpm);
}

#[test]
fn edm_sampling() {
    for name in ["edm_sample_eta0.0", "edm_sample_eta1.0"] {
        check_sampler(name, |case| SamplerKind::Edm {
            steps: number(case, "steps") as usize,
            eta: number(case, "eta"),
        });
    }
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
    for (step, (delta, theirs)) in deltas.chunks_exact(6).zip(expected.chunks_exact(6)).enumerate() {
        assert!((ema::decay(step as u64, beta) - decays[step]).abs() < 1e-6, "step {step}");
        let delta = Tensor::from_slice(delta).reshape([2, 3]) * 0.1;
        let _ = tch::no_grad(|| weights.tensors()[0].shallow_clone().g_add_(&delta));
        ema::update(&average, &weights, step as u64, beta).expect("updated");
        let ours = average.to_weights().expect("weights");
        let ours = ours.get("weight").and_then(|w| w.as_f32().map(<[f32]>::to_vec)).expect("f32");
        let error = relative_error(&ours, theirs);
        assert!(error <= tolerance::CLOSE, "step {step}: {error:e}");
    }
}
