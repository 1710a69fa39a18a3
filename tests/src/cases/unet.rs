//! The UNet in its published variants.

use ddae_model::networks::unet_graph;

use super::{Case, rule_weights};
use crate::fixture;

/// Output, features and maps with the label that the network takes, and the output without it.
fn unet(name: &str) -> Vec<Case> {
    let fixture = fixture(name);
    let config = fixture.network();
    let with_label = config.augment_dim > 0;
    let mut graph = unet_graph(&config, with_label).expect("a graph");
    let taps = graph.taps().to_vec();
    assert_eq!(taps.len(), config.ch_mults.len() * (config.n_blocks + 1), "{name}");
    assert_eq!(fixture.names("output.pooled.").len(), taps.len(), "{name}");
    let maps = fixture.names("output.map.");
    let mut expected = vec![("y".to_string(), fixture.tensor("output.y"))];
    for (tap, map) in taps {
        let pooled = graph.pool(map).expect("a feature map");
        graph.output(&format!("pooled.{tap}"), pooled);
        expected.push((format!("pooled.{tap}"), fixture.tensor(&format!("output.pooled.{tap}"))));
        if maps.contains(&format!("output.map.{tap}")) {
            graph.output(&format!("map.{tap}"), map);
            expected.push((format!("map.{tap}"), fixture.tensor(&format!("output.map.{tap}"))));
        }
    }
    let mut inputs = vec![("x", fixture.tensor("input.x")), ("t", fixture.tensor("input.t"))];
    let mut cases = Vec::new();
    if with_label {
        let graph = unet_graph(&config, false).expect("a graph");
        let expected = vec![("y".to_string(), fixture.tensor("output.without_label"))];
        let (name, weights) = (format!("{name} without label"), rule_weights(&graph));
        cases.push(Case { name, weights, inputs: inputs.clone(), expected, graph, of_batch: false });
        inputs.push(("augment_label", fixture.tensor("input.augment_label")));
    }
    let compared: usize = cases.iter().map(|case| case.expected.len()).sum::<usize>() + expected.len();
    assert_eq!(compared, fixture.names("output.").len(), "{name}: every stored output is compared");
    let case = Case {
        name: name.to_string(),
        weights: rule_weights(&graph),
        inputs,
        expected,
        graph,
        of_batch: false,
    };
    cases.push(case.named(name, "", &[]));
    cases
}

/// A small UNet.
pub fn unet_tiny() -> Vec<Case> {
    unet("unet_tiny")
}

/// A small UNet with residual resampling and an augmentation label.
pub fn unet_tiny_pp() -> Vec<Case> {
    unet("unet_tiny_pp")
}

/// The published DDPM UNet.
pub fn unet_ddpm() -> Vec<Case> {
    unet("unet_ddpm")
}

/// The published DDPM++ UNet with an augmentation label.
pub fn unet_ddpmpp_aug() -> Vec<Case> {
    unet("unet_ddpmpp_aug")
}
