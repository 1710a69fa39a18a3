//! What a case is about, in the project's types: its network, its process, and weights by the fixtures' rule.

use ddae_model::config::Config;
use ddae_model::graph::Graph;
use ddae_model::networks::UNetConfig;
use ddae_model::tensor::Tensor;
use ddae_model::weights::Weights;
use serde_json::json;

use crate::{Fixture, rule_weight};

impl Fixture {
    /// The network of the case.
    pub fn network(&self) -> UNetConfig {
        serde_json::from_value(self.config["network"].clone()).expect("a UNet configuration")
    }

    /// The network and process of the case, in a training run that no test looks at.
    pub fn run_config(&self) -> Config {
        let (network, diffusion) = (&self.config["network"], &self.config["diffusion"]);
        let model_type = if diffusion.get("n_T").is_some() { "DDPM" } else { "EDM" };
        let config = json!({
            "dataset": "cifar", "classes": 10,
            "model_type": model_type, "diffusion": diffusion, "net_type": "UNet", "network": network,
            "n_epoch": 1, "batch_size": 2, "lrate": 1e-4, "ema": 0.9999, "n_sample": 0, "save_dir": "unused",
        });
        // JSON is YAML.
        Config::parse(&config.to_string(), "the case", &[]).expect("a configuration")
    }

    /// A float32 tensor of the case.
    pub fn tensor(&self, name: &str) -> Tensor {
        let (shape, values) = self.f32(name);
        Tensor::f32(&shape, values)
    }
}

/// The parameters of a graph by the fixtures' rule.
pub fn rule_weights(graph: &Graph) -> Weights {
    graph
        .parameters()
        .map(|(_, node)| {
            let shape = node.shape.resolve(1);
            (node.name.clone(), Tensor::f32(&shape, rule_weight(&node.name, &shape)))
        })
        .collect()
}
