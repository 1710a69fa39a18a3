//! The published UNet: its size, its parts, its text.

use ddae_model::graph::{Graph, Op};
use ddae_model::networks::{UNetConfig, unet_graph};
use ddae_model::reference::run;
use ddae_model::tensor::Tensor;
use ddae_tests::{Fixture, fixture, rule_weights};

fn inputs(graph: &Graph, case: &Fixture) -> Vec<(String, Tensor)> {
    let named = |name: &String| (name.clone(), case.tensor(&format!("input.{name}")));
    graph.inputs().map(|(_, node)| named(&node.name)).collect()
}

/// Runs a graph with the rule's weights and the case's inputs.
fn outputs(graph: &Graph, case: &Fixture) -> Vec<(String, Tensor)> {
    let inputs = inputs(graph, case);
    let inputs: Vec<(&str, Tensor)> = inputs.iter().map(|(n, t)| (n.as_str(), t.clone())).collect();
    run::<f32>(graph, &rule_weights(graph), &inputs).expect("a run")
}

#[test]
fn parameter_counts_are_the_published_ones() {
    let ddpm = fixture("unet_ddpm").network();
    assert_eq!(unet_graph(&ddpm, false).unwrap().parameter_count(), 35_746_307);
    let ddpmpp = fixture("unet_ddpmpp_aug").network();
    assert_eq!(unet_graph(&ddpmpp, true).unwrap().parameter_count(), 56_525_443);
    let plain = UNetConfig { augment_dim: 0, ..ddpmpp };
    assert_eq!(unet_graph(&plain, false).unwrap().parameter_count(), 56_524_291);
}

#[test]
fn a_pruned_network_gives_the_same_features_for_less() {
    let case = fixture("unet_tiny_pp");
    let whole = unet_graph(&case.network(), true).unwrap();
    let both = whole.keep(&["y", "out_2"]).unwrap();
    let pruned = whole.keep(&["out_2"]).unwrap();
    assert_eq!(outputs(&both, &case)[1], outputs(&pruned, &case)[0]);
    assert_eq!(both.flops(), whole.flops());
    assert!(pruned.flops() < whole.flops() / 2, "{} of {}", pruned.flops(), whole.flops());
    assert!(pruned.parameter_count() < whole.parameter_count());
}

#[test]
fn the_published_network_pruned_to_out_6_costs_a_third() {
    let whole = unet_graph(&fixture("unet_ddpm").network(), false).unwrap();
    let pruned = whole.keep(&["out_6"]).unwrap();
    let gain = whole.flops() as f64 / pruned.flops() as f64;
    assert!((2.8..3.0).contains(&gain), "{gain}");
    assert!(pruned.nodes().iter().all(|node| !matches!(node.op, Op::Conv2d { .. }) || node.name != "final"));
}

/// `DDAE_UPDATE_GOLDEN=1 cargo test -p ddae-model` writes the golden file anew, for a change that is meant.
#[test]
fn the_tiny_graph_as_text() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/reference/unet_tiny.txt");
    let text = unet_graph(&fixture("unet_tiny").network(), false).unwrap().to_string();
    if std::env::var_os("DDAE_UPDATE_GOLDEN").is_some() {
        std::fs::write(path, &text).expect("a writable source tree");
    }
    let golden = std::fs::read_to_string(path).expect("the golden file");
    assert_eq!(text.lines().collect::<Vec<_>>(), golden.lines().collect::<Vec<_>>());
}
