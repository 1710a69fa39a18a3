//! EDM2's networks: what they compute, a feature at a noise level, and the loss in which one learns how uncertain it is
//! of each level.

use ddae_model::config::{Config, RunConfig};
use ddae_model::diffusion::FeatureOptions;
use ddae_model::diffusion::features_graph;
use ddae_model::networks::Architecture;
use ddae_model::tensor::Tensor;

use super::processes::mean_loss;
use super::{Case, rule_weights};
use crate::{Fixture, fixture};

/// The cases.
pub const CASES: [&str; 6] =
    ["edm2c_tiny", "edm2e_tiny", "edm2g_tiny", "edm2c_full", "edm2e_full", "edm2g_full"];

/// The network of a case.
pub fn architecture(case: &Fixture) -> Architecture {
    let [net_type, network] = ["net_type", "network"].map(|key| case.config[key].clone());
    serde_json::from_value(serde_json::json!({"net_type": net_type, "network": network}))
        .expect("a network of EDM2")
}

/// A training run of a case that no test looks at.
pub fn run_config(case: &Fixture) -> Config {
    let [net_type, network, diffusion] = ["net_type", "network", "diffusion"].map(|key| &case.config[key]);
    let config = serde_json::json!({
        "dataset": "cifar", "classes": 10, "model_type": "EDM", "diffusion": diffusion, "net_type": net_type,
        "network": network, "n_epoch": 1, "batch_size": 2, "lrate": 1e-4, "ema": 0.9993, "n_sample": 0,
        "save_dir": "unused",
    });
    // JSON is YAML.
    Config::parse(&config.to_string(), "the case", &[]).expect("a configuration")
}

/// The bare network with the means of its layers.
pub fn network(name: &str) -> Case {
    let case = fixture(name);
    let mut graph = architecture(&case).network_graph(false).expect("a graph");
    let mut expected = vec![("y".to_string(), case.tensor("output.y"))];
    for (tap, map) in graph.taps().to_vec() {
        let pooled = graph.pool(map).expect("a feature map");
        graph.output(&tap, pooled);
        expected.push((tap.clone(), case.tensor(&format!("output.pooled.{tap}"))));
    }
    Case {
        name: name.to_string(),
        weights: rule_weights(&graph),
        inputs: vec![("x", case.tensor("input.x")), ("t", case.tensor("input.t"))],
        expected,
        graph,
        of_batch: false,
    }
}

/// The mean of a layer for images noised as step 4 of the feature grid says.
fn feature(name: &str) -> Case {
    let case = fixture(name);
    let prefix = "output.feature_k4.";
    let theirs = case.names(prefix).pop().expect("a feature");
    let tap = theirs.strip_prefix(prefix).expect("the prefix").to_string();
    let options = FeatureOptions {
        taps: vec![tap.clone()],
        timestep: Some(4),
        input_u8: false,
        label: false,
        unpooled: false,
    };
    let graph = features_graph(&run_config(&case), &options).expect("a graph");
    Case {
        name: format!("{name}, a feature"),
        weights: rule_weights(&graph),
        inputs: vec![("image", case.tensor("input.image")), ("noise", case.tensor("input.noise"))],
        expected: vec![(tap, case.tensor(&theirs))],
        graph,
        of_batch: false,
    }
}

/// The loss of a training run, its graph as it is trained.
pub fn loss(name: &str) -> (RunConfig, Vec<(&'static str, Tensor)>) {
    let case = fixture(name);
    let inputs = ["image", "noise", "level"].map(|input| (input, case.tensor(&format!("input.{input}"))));
    (run_config(&case).into(), inputs.to_vec())
}

/// Networks, features and losses of small or published networks.
fn all(size: &str) -> Vec<Case> {
    let of = |name: &&str| name.ends_with(size);
    let cases = CASES.into_iter().filter(of).flat_map(|name| {
        let (config, inputs) = loss(name);
        let expected = fixture(name).f32("output.loss").1[0];
        let loss = mean_loss(name, &config, inputs, expected).named(name, "", &[]);
        [network(name), feature(name), loss]
    });
    cases.collect()
}

/// Small networks of configs C, E and G.
pub fn tiny() -> Vec<Case> {
    all("tiny")
}

/// The published networks of configs C, E and G.
pub fn full() -> Vec<Case> {
    all("full")
}
