//! Gradients of losses against differences, in float64, on a small network of each kind.

use ddae_model::config::{ClassifierRun, Config, RunConfig, SodaRun};
use ddae_model::diffusion::loss_graph;
use ddae_model::graph::{Graph, Node};
use ddae_model::tensor::{DType, Tensor as Array};
use ddae_model::weights::Weights;
use ddae_tests::{rule_values, rule_weights, tolerance};
use ddae_train::torch::{Layout, Mode, Network, Parameters, convert};
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};

const BATCH: usize = 2;

fn run(model_type: &str, net_type: &str, network: Value) -> RunConfig {
    Config::parse(&keys(model_type, net_type, network), "the test", &[]).expect("a configuration").into()
}

fn classifier(model_type: &str, net_type: &str, network: Value) -> RunConfig {
    let text = keys(model_type, net_type, network);
    ClassifierRun::parse(&text, "the test", &[]).expect("a configuration").into()
}

fn keys(model_type: &str, net_type: &str, network: Value) -> String {
    let diffusion = match model_type {
        "DDPM" => json!({ "n_T": 1000, "betas": [1e-4, 0.02] }),
        _ => json!({
            "sigma_data": 0.5, "p_mean": -1.2, "p_std": 1.2, "sigma_min": 0.002, "sigma_max": 80, "rho": 7,
            "S_min": 0.01, "S_max": 1, "S_noise": 1.007,
        }),
    };
    let config = json!({
        "dataset": "cifar", "classes": 10, "model_type": model_type, "diffusion": diffusion,
        "net_type": net_type, "network": network, "n_epoch": 1, "batch_size": 2, "lrate": 1e-4, "ema": 0.9999,
        "n_sample": 0, "save_dir": "unused",
    });
    config.to_string()
}

fn unet(augment_dim: usize) -> Value {
    json!({
        "image_shape": [1, 8, 8], "n_channels": 32, "ch_mults": [1, 1], "is_attn": [false, true], "dropout": 0.0,
        "n_blocks": 1, "use_res_for_updown": augment_dim > 0, "augment_dim": augment_dim,
    })
}

fn dit() -> Value {
    json!({
        "input_size": 8, "patch_size": 2, "in_channels": 1, "hidden_size": 32, "depth": 2, "num_heads": 2,
        "num_classes": 1, "learn_sigma": false, "space": "image",
    })
}

fn soda() -> RunConfig {
    let mut decoder = unet(0);
    decoder["z_channels"] = json!(8);
    let config = json!({
        "dataset": "cifar10",
        "encoder": { "arch": "resnet18", "feature_dim": 8, "cifar_small_image": true, "image_shape": [1, 8, 8] },
        "decoder": decoder, "diffusion": { "n_T": 1000, "betas": "cosine", "drop_prob": 0.1 },
        "normalisation": { "mean": [0.5], "std": [0.25] }, "lrate_ratio": 1, "save_per": 1, "n_epoch": 1,
        "batch_size": 2, "lrate": 1e-4, "ema": 0.9999, "n_sample": 0, "save_dir": "unused",
    });
    SodaRun::parse(&config.to_string(), "the test", &[]).expect("a configuration").into()
}

/// Any values that the input can have.
fn input(node: &Node) -> Array {
    let shape = node.shape.resolve(BATCH);
    let count = shape.iter().product();
    match (node.dtype, &*node.name) {
        (DType::I64, "label") => Array::i64(&shape, (0..count as i64).map(|i| 3 + 4 * i).collect()),
        (DType::I64, _) => Array::i64(&shape, (0..count as i64).map(|i| 40 + 300 * i).collect()),
        (_, "mask") => Array::f32(&shape, (0..count).map(|i| (i % 2) as f32).collect()),
        (_, "image") => Array::f32(&shape, rule_values("image", count, 0.0, 1.0)),
        (_, name) => Array::f32(&shape, rule_values(name, count, -1.7, 1.7)),
    }
}

/// Weights, moved `by` so much in a direction, in float64.
fn moved(graph: &Graph, weights: &Weights, direction: &Weights, by: f64, trained: bool) -> Parameters {
    let parameters = Parameters::new(graph, weights, Device::Cpu, Kind::Double, Layout::Contiguous, trained);
    let parameters = parameters.expect("parameters");
    for (name, along) in direction.iter().filter(|_| by != 0.0) {
        let along = convert::to_torch(along).expect("a tensor").to_kind(Kind::Double);
        let tensor = parameters.get(name).expect("a parameter");
        let _ = tch::no_grad(|| tensor.shallow_clone().g_add_(&(along * by)));
    }
    parameters
}

/// The derivative of the mean loss in a direction of all trained parameters, by libtorch's gradients and by differences.
fn check(name: &str, config: &RunConfig) {
    let graph = loss_graph(config, false).expect("a graph");
    let weights = rule_weights(&graph);
    let network = Network::new(&graph, Device::Cpu, Kind::Double, Layout::Contiguous).expect("a network");
    let arrays: Vec<(String, Tensor)> = graph
        .inputs()
        .map(|(_, node)| (node.name.clone(), convert::to_torch(&input(node)).expect("a tensor")))
        .collect();
    let inputs: Vec<(&str, &Tensor)> = arrays.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let loss = |parameters: &Parameters| {
        let losses = network.forward(parameters, &inputs, Mode::EVALUATION).expect("losses");
        assert_eq!(losses[0].size(), [BATCH as i64], "{name}");
        losses[0].mean(Kind::Double)
    };
    let direction: Weights = weights
        .iter()
        .map(|(name, tensor)| {
            let count = tensor.shape().iter().product();
            (
                name.to_string(),
                Array::f32(tensor.shape(), rule_values(&format!("to {name}"), count, -1.0, 1.0)),
            )
        })
        .collect();
    let parameters = moved(&graph, &weights, &direction, 0.0, true);
    loss(&parameters).backward();
    let mut derivative = 0.0;
    let mut compared = 0;
    for (name, along) in direction.iter() {
        let tensor = parameters.get(name).expect("a parameter");
        if !tensor.requires_grad() {
            continue;
        }
        let along = convert::to_torch(along).expect("a tensor").to_kind(Kind::Double);
        derivative += (tensor.grad() * along).sum(Kind::Double).double_value(&[]);
        compared += 1;
    }
    assert!(compared > 10, "{name}");
    let trained: Weights = direction
        .iter()
        .filter(|(name, _)| parameters.get(name).is_some_and(|tensor| tensor.requires_grad()))
        .map(|(name, tensor)| (name.to_string(), tensor.clone()))
        .collect();
    let at = |by: f64| tch::no_grad(|| loss(&moved(&graph, &weights, &trained, by, false)).double_value(&[]));
    // Small, since rectifiers have kinks: of those between the points the error is, and it falls with the step.
    let step = 5e-8;
    // Of fourth order, so that the error is rounding alone.
    let difference = (8.0 * (at(step) - at(-step)) - (at(2.0 * step) - at(-2.0 * step))) / (12.0 * step);
    let error = (difference - derivative).abs() / derivative.abs();
    println!("{name}: {derivative:.6e} and {difference:.6e}, {error:.1e}");
    assert!(
        error <= tolerance::GRADIENT,
        "{name}: {derivative:e} by gradients, {difference:e} by differences"
    );
}

#[test]
fn ddpm() {
    check("DDPM, UNet", &run("DDPM", "UNet", unet(0)));
    check("DDPM, DiT", &run("DDPM", "DiT", dit()));
}

#[test]
fn edm() {
    check("EDM, UNet", &run("EDM", "UNet", unet(0)));
    check("EDM, UNet with a label", &run("EDM", "UNet", unet(9)));
    check("EDM, DiT", &run("EDM", "DiT", dit()));
}

#[test]
fn edm2() {
    for net_type in ["UNetC", "UNetE", "UNetG"] {
        let network = json!({
            "image_shape": [1, 8, 8], "n_channels": 32, "ch_mults": [1, 1], "is_attn": [false, true], "dropout": 0.0,
            "n_blocks": 2,
        });
        check(net_type, &run("EDM", net_type, network));
    }
}

#[test]
fn soda_pair() {
    check("SODA", &soda());
}

#[test]
fn classifiers() {
    let wide = json!({ "image_shape": [1, 8, 8], "blocks_per_group": 1, "channel_multiplier": 1 });
    check("DDPM, WideResNet", &classifier("DDPM", "WideResNet", wide.clone()));
    check("EDM, WideResNet", &classifier("EDM", "WideResNet", wide));
    let cut = |timestep: Option<i64>| {
        let mut network = json!({ "denoiser": { "net_type": "UNet", "network": unet(0) }, "layer": "out_2" });
        if let Some(timestep) = timestep {
            network["timestep"] = json!(timestep);
        }
        network
    };
    check("DDPM, fine-tuned at a timestep", &classifier("DDPM", "FineTuned", cut(Some(11))));
    check("EDM, fine-tuned at all levels", &classifier("EDM", "FineTuned", cut(None)));
}
