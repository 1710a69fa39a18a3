//! Fixture cases of the networks beside the UNet: SODA's encoder and decoder, the noise-conditional classifiers, and the
//! UNet under diffusers' conventions and names.

use std::collections::BTreeMap;

use ddae_model::networks::{
    AttentionNames, DiffusersConfig, NoiseMlpConfig, SodaConfig, UNetConfig, WideResNetConfig, decoder_graph,
    diffusers_sources, noise_mlp_graph, resnet_graph, unet_graph, unit_length, wide_resnet_graph,
};
use ddae_model::tensor::Tensor;
use ddae_model::weights::Weights;

use super::{Case, rule_weights};
use crate::{Fixture, fixture, parameter_shapes, rule_values, rule_weight};

/// Both networks of the case `soda_net`.
pub fn soda_config() -> SodaConfig {
    let mut config = fixture("soda_net").config;
    config.as_object_mut().expect("an object").remove("note");
    serde_json::from_value(config).expect("SODA's networks")
}

/// The ResNet-18 encoder, with its latent scaled to length 1 besides.
pub fn soda_encoder() -> Case {
    let case = fixture("soda_net");
    let mut graph = resnet_graph(&soda_config().encoder).expect("a graph");
    let z = graph.outputs()[0].1;
    let normed = unit_length(&mut graph, z).expect("a latent");
    graph.output("z_normed", normed);
    Case {
        name: "soda_net encoder".to_string(),
        weights: rule_weights(&graph),
        inputs: vec![("x", case.tensor("input.source"))],
        expected: ["z", "z_normed"]
            .map(|name| (name.to_string(), case.tensor(&format!("output.{name}"))))
            .to_vec(),
        graph,
        of_batch: false,
    }
}

/// The decoder on the encoder's latent, one of two masked.
pub fn soda_decoder() -> Case {
    let case = fixture("soda_net");
    let graph = decoder_graph(&soda_config().decoder).expect("a graph");
    Case {
        name: "soda_net decoder".to_string(),
        weights: rule_weights(&graph),
        inputs: vec![
            ("x", case.tensor("input.x")),
            ("t", case.tensor("input.t")),
            ("z", case.tensor("output.z")),
            ("mask", case.tensor("input.mask")),
        ],
        expected: vec![("y".to_string(), case.tensor("output.eps"))],
        graph,
        of_batch: false,
    }
}

/// Both networks of a SODA.
pub fn soda_net() -> Vec<Case> {
    let (encoder, decoder) = (soda_encoder(), soda_decoder());
    vec![encoder.named("soda_net", "encoder.", &[]), decoder.named("soda_net", "decoder.", &[])]
}

/// A small noise-conditional WideResNet.
pub fn wrn_noise() -> Case {
    let case = fixture("wrn_noise");
    let size = |key: &str| case.config[key].as_u64().expect("a number") as usize;
    let config = WideResNetConfig {
        blocks_per_group: size("blocks_per_group"),
        channel_multiplier: size("channel_multiplier"),
        classes: size("classes"),
        ..WideResNetConfig::default()
    };
    let graph = wide_resnet_graph(&config).expect("a graph");
    let mut weights = rule_weights(&graph);
    let bound = 3f64.sqrt();
    let frequencies = rule_values("time_emb.W", 128, -bound, bound).into_iter().map(|w| 16.0 * w).collect();
    weights.insert("time_emb.W", Tensor::f32(&[128], frequencies));
    Case {
        name: "wrn_noise".to_string(),
        weights,
        inputs: vec![("x", case.tensor("input.x")), ("t", case.tensor("input.t"))],
        expected: vec![("logits".to_string(), case.tensor("output.logits"))],
        graph,
        of_batch: false,
    }
    .named("wrn_noise", "", &[])
}

/// The noise-conditional MLP head.
pub fn noise_mlp() -> Case {
    let case = fixture("noise_mlp");
    let config: NoiseMlpConfig = serde_json::from_value(case.config.clone()).expect("a head");
    let graph = noise_mlp_graph(&config).expect("a graph");
    Case {
        name: "noise_mlp".to_string(),
        weights: rule_weights(&graph),
        inputs: vec![("feature", case.tensor("input.feature")), ("t", steps(&case))],
        expected: vec![("logits".to_string(), case.tensor("output.logits"))],
        graph,
        of_batch: false,
    }
}

/// The network of the case `diffusers_ddpm`, from its `config.json`.
pub fn diffusers_config() -> UNetConfig {
    let config = fixture("diffusers_ddpm").config["config"].clone();
    let config: DiffusersConfig = serde_json::from_value(config).expect("a config.json");
    config.unet().expect("a UNet")
}

/// `google/ddpm-cifar10-32` with the features of every layer, its weights by the rule under diffusers' names.
pub fn diffusers_ddpm() -> Case {
    let case = fixture("diffusers_ddpm");
    let config = diffusers_config();
    let mut graph = unet_graph(&config, false).expect("a graph");
    let mut expected = vec![("y".to_string(), case.tensor("output.y"))];
    for (tap, map) in graph.taps().to_vec() {
        let pooled = graph.pool(map).expect("a feature map");
        graph.output(&tap, pooled);
        expected.push((tap.clone(), case.tensor(&format!("output.pooled.{tap}"))));
    }
    Case {
        name: "diffusers_ddpm".to_string(),
        weights: diffusers_weights(&config),
        inputs: vec![("x", case.tensor("input.x")), ("t", steps(&case))],
        expected,
        graph,
        of_batch: false,
    }
}

/// The rule's weights of each tensor that diffusers stores, put together as the name map says.
fn diffusers_weights(config: &UNetConfig) -> Weights {
    let shapes: BTreeMap<String, Vec<usize>> = parameter_shapes("diffusers_ddpm").into_iter().collect();
    let sources = diffusers_sources(config, AttentionNames::among(shapes.keys().map(String::as_str)));
    let joined = |names: &[String]| names.iter().flat_map(|name| rule_weight(name, &shapes[name])).collect();
    sources
        .expect("a name map")
        .into_iter()
        .map(|source| (source.parameter, Tensor::f32(&source.shape, joined(&source.tensors))))
        .collect()
}

/// Timesteps, stored as integers, as the scalar that a network embeds.
fn steps(case: &Fixture) -> Tensor {
    let (shape, steps) = case.i64("input.t");
    Tensor::f32(&shape, steps.into_iter().map(|t| t as f32).collect())
}
