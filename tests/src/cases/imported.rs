//! Fixture cases of networks whose weights others publish: DiT, Stable Diffusion's encoder, the FID Inception. Each
//! interpreter runs a case's graph and has its outputs compared.

use ddae_model::graph::Graph;
use ddae_model::networks::{
    DitConfig, InceptionConfig, VaeEncoderConfig, dit_graph, inception_graph, vae_encoder_graph,
};
use ddae_model::tensor::Tensor;
use ddae_model::weights::Weights;

use super::{Case, rule_weights};
use crate::{Fixture, fixture, rule_values};

/// The configuration of the case `dit`.
pub fn dit_config() -> DitConfig {
    let mut config = fixture("dit").config;
    config.as_object_mut().expect("an object").remove("note");
    serde_json::from_value(config).expect("a DiT configuration")
}

/// The small DiT with the features of its layers.
pub fn dit(stored_positions: bool, with_label: bool) -> Case {
    let case = fixture("dit");
    let config = DitConfig { stored_positions, ..dit_config() };
    let mut graph = dit_graph(&config, with_label).expect("a graph");
    let mut expected = vec![("y".to_string(), case.tensor("output.out"))];
    for (tap, tokens) in graph.taps().to_vec() {
        let pooled = graph.mean(tokens, &[1]).expect("tokens");
        graph.output(&tap, pooled);
        let theirs = case.tensor(&format!("output.pooled.{tap}"));
        expected.push((tap, theirs));
    }
    let mut weights = rule_weights(&graph);
    if stored_positions {
        weights.insert("pos_embed", case.tensor("output.pos_embed"));
    }
    let mut inputs = vec![("x", case.tensor("input.x")), ("t", integers(&case, "input.t"))];
    if with_label {
        inputs.push(("label", integers(&case, "input.y")));
    }
    let name = format!("dit (stored positions: {stored_positions}, label: {with_label})");
    let ignored: &[&str] = if stored_positions { &[] } else { &["pos_embed"] };
    Case { name, graph, weights, inputs, expected, of_batch: false }.named("dit", "", ignored)
}

/// With and without stored positions and labels.
pub fn dits() -> Vec<Case> {
    [(true, true), (true, false), (false, true), (false, false)].map(|(a, b)| dit(a, b)).to_vec()
}

/// The encoder of `sd-vae-ft-mse` on an image of 64 x 64.
pub fn vae_encoder() -> Case {
    let case = fixture("vae_encoder");
    let graph = vae_encoder_graph(&VaeEncoderConfig::sd_vae_ft_mse(64, 64)).expect("a graph");
    Case {
        name: "vae_encoder".to_string(),
        weights: rule_weights(&graph),
        inputs: vec![("x", case.tensor("input.image"))],
        expected: vec![("moments".to_string(), case.tensor("output.moments"))],
        graph,
        of_batch: false,
    }
    .named("vae_encoder", "", &[])
}

/// The FID Inception on images of 32 x 32, with the wider range of its convolutions' weights.
pub fn fid_inception() -> Case {
    let case = fixture("fid_inception");
    let config = InceptionConfig { image_size: [32, 32], classifier: false };
    let graph = inception_graph(&config).expect("a graph");
    Case {
        name: "fid_inception".to_string(),
        weights: inception_weights(&graph),
        inputs: vec![("image", case.tensor("input.image"))],
        expected: vec![("pool".to_string(), case.tensor("output.pool"))],
        graph,
        of_batch: false,
    }
    .named("fid_inception", "", &["fc.weight", "fc.bias"])
}

/// The weights of a graph of Inception, those of more than one dimension between the wider bounds.
pub fn inception_weights(graph: &Graph) -> Weights {
    let widened = |(name, tensor): (String, Tensor)| {
        let shape = tensor.shape().to_vec();
        if shape.len() < 2 {
            return (name, tensor);
        }
        let (count, fan_in): (usize, usize) = (shape.iter().product(), shape[1..].iter().product());
        let bound = (7.5 / fan_in as f64).sqrt();
        let values = rule_values(&name, count, -bound, bound);
        (name, Tensor::f32(&shape, values))
    };
    rule_weights(graph).into_iter().map(widened).collect()
}

fn integers(case: &Fixture, name: &str) -> Tensor {
    let (shape, values) = case.i64(name);
    Tensor::i64(&shape, values)
}
