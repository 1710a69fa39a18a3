//! Networks against the published code.

use ddae_model::graph::{Graph, Op};
use ddae_model::networks::{UNetConfig, unet_graph};
use ddae_model::reference::run;
use ddae_model::tensor::Tensor;
use ddae_tests::{Fixture, fixture, parameter_shapes, relative_error, rule_weights, tolerance};

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

fn assert_close(what: &str, ours: &Tensor, (shape, theirs): (Vec<usize>, Vec<f32>)) {
    assert_eq!(ours.shape(), shape, "{what}");
    let error = relative_error(ours.as_f32().expect("f32"), &theirs);
    assert!(error <= tolerance::NETWORK, "{what}: relative error {error:e}");
}

/// Checks a case's output and every feature it stores, and its parameters' names and shapes.
fn check_case(name: &str) {
    let case = fixture(name);
    let config = case.network();
    let mut graph = unet_graph(&config, config.augment_dim > 0).expect("a graph");

    let mut parameters: Vec<_> =
        graph.parameters().map(|(_, node)| (node.name.clone(), node.shape.resolve(1))).collect();
    let mut published = parameter_shapes(name);
    parameters.sort();
    published.sort();
    assert_eq!(parameters, published, "{name}");

    let taps = graph.taps().to_vec();
    assert_eq!(taps.len(), config.ch_mults.len() * (config.n_blocks + 1), "{name}");
    assert_eq!(case.names("output.pooled.").len(), taps.len(), "{name}");
    for (tap, value) in &taps {
        graph.output(&format!("map.{tap}"), *value);
        let pooled = graph.pool(*value).expect("a feature map");
        graph.output(&format!("pooled.{tap}"), pooled);
    }
    let stored = case.names("output.");
    let mut compared = 0;
    for (output, ours) in outputs(&graph, &case) {
        let key = format!("output.{output}");
        if stored.contains(&key) {
            assert_close(&format!("{name} {output}"), &ours, case.f32(&key));
            compared += 1;
        }
    }
    let without_label = "output.without_label".to_string();
    if stored.contains(&without_label) {
        let graph = unet_graph(&config, false).expect("a graph");
        assert_close(
            &format!("{name} without label"),
            &outputs(&graph, &case)[0].1,
            case.f32(&without_label),
        );
        compared += 1;
    }
    assert_eq!(compared, stored.len(), "{name}: every stored output is compared");
}

#[test]
fn unet_tiny() {
    check_case("unet_tiny");
}

#[test]
fn unet_tiny_pp() {
    check_case("unet_tiny_pp");
}

#[test]
fn unet_ddpm() {
    check_case("unet_ddpm");
}

#[test]
fn unet_ddpmpp_aug() {
    check_case("unet_ddpmpp_aug");
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
