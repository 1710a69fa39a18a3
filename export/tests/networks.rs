//! The published networks through their ONNX files in ONNX Runtime, against what the published code computed.

mod onnx;

use ddae_export::lower::Options;
use ddae_model::networks::unet_graph;
use ddae_tests::{fixture, relative_error, rule_weights, tolerance};
use onnx::through_onnx;

/// Exports the network with all its features and compares each with the case's tensors. Without the label only `y`
/// was recorded, under `without_label`.
fn check(case: &str, with_label: bool, y: &str) {
    let fixture = fixture(case);
    let mut graph = unet_graph(&fixture.network(), with_label).expect("a graph");
    let mut expected = vec![("y".to_string(), format!("output.{y}"))];
    if y == "y" {
        for theirs in fixture.names("output.map.") {
            expected.push((theirs.replace("output.map.", ""), theirs));
        }
        for (name, map) in graph.taps().to_vec() {
            let pooled = graph.pool(map).expect("a mean");
            graph.output(&format!("pooled_{name}"), pooled);
            expected.push((format!("pooled_{name}"), format!("output.pooled.{name}")));
        }
    }
    let names: Vec<&str> = expected.iter().map(|(ours, _)| ours.as_str()).collect();
    let graph = graph.keep(&names).expect("the outputs");
    let weights = rule_weights(&graph);
    let mut inputs = vec![("x", fixture.tensor("input.x")), ("t", fixture.tensor("input.t"))];
    if with_label {
        inputs.push(("augment_label", fixture.tensor("input.augment_label")));
    }
    let outputs = through_onnx(&graph, &weights, &inputs, Options::default());
    assert_eq!(outputs.len(), expected.len());
    for ((name, tensor), (ours, theirs)) in outputs.iter().zip(&expected) {
        let (shape, expected) = fixture.f32(theirs);
        assert_eq!((name, tensor.shape()), (ours, shape.as_slice()), "{case}");
        let error = relative_error(tensor.as_f32().expect("f32"), &expected);
        println!("{case} {name}: {error:.1e}");
        assert!(error <= tolerance::NETWORK, "{case} {name}: relative error {error:e}");
    }
}

#[test]
fn unet_tiny() {
    check("unet_tiny", false, "y");
}

#[test]
fn unet_tiny_pp() {
    check("unet_tiny_pp", true, "y");
    check("unet_tiny_pp", false, "without_label");
}

#[test]
fn unet_ddpm() {
    check("unet_ddpm", false, "y");
}

#[test]
fn unet_ddpmpp_aug() {
    check("unet_ddpmpp_aug", true, "y");
    check("unet_ddpmpp_aug", false, "without_label");
}
