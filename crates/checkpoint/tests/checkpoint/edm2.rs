//! Checkpoints of EDM2's published code.

use std::collections::HashMap;

use ddae_checkpoint::{Checkpoint, LayoutKind, WeightSet, write_tensors};
use ddae_model::diffusion::loss_graph;
use ddae_model::networks::recognition::{Given, Recognised, Shapes};
use ddae_model::tensor::Tensor;
use ddae_tests::cases::edm2;
use ddae_tests::{fixture, rule_weights};

/// A checkpoint as EDM2's training writes it: network and uncertainty beside each other, averaged and in training.
#[test]
fn published_checkpoints_hold_the_network_and_its_loss() {
    let graph = loss_graph(&edm2::loss("edm2g_tiny").0, false).expect("a graph");
    let weights = rule_weights(&graph);
    let named = |root: &str| -> Vec<(String, Tensor)> {
        let stored = weights.iter().map(|(name, tensor)| {
            let part = if name.starts_with("reweight_mlp.") { "" } else { "nn_model." };
            (format!("{root}{part}{name}"), tensor.clone())
        });
        stored.collect()
    };
    let mut average = named("EMA.ema_model.");
    average.push(("EMA.step".to_string(), Tensor::f32(&[1], vec![7.0])));
    let training: Vec<(String, Tensor)> = named("MODEL.module.")
        .into_iter()
        .map(|(name, tensor)| {
            let halves = tensor.as_f32().expect("f32").iter().map(|x| 0.5 * x).collect();
            (name, Tensor::f32(tensor.shape(), halves))
        })
        .collect();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model_1999.safetensors");
    let tensors = average.iter().chain(&training).map(|(name, tensor)| (name.as_str(), tensor));
    write_tensors(&path, HashMap::new(), tensors).expect("a file");

    let file = Checkpoint::open(&path).expect("a checkpoint");
    assert_eq!(file.layout().kind(), LayoutKind::Ddae);
    let parameters = file.parameters(WeightSet::Ema).expect("the average");
    let shapes: Shapes =
        parameters.into_iter().map(|(name, tensor)| (name.to_string(), tensor.shape().to_vec())).collect();
    let given = Given { image_size: Some([16, 16]), head_channels: Some(32), ..Given::default() };
    let found = Recognised::only(&shapes, &given).expect("a network");
    assert_eq!(found.architecture, edm2::architecture(&fixture("edm2g_tiny")));
    assert_eq!(found.architecture.unused(found.names, &shapes).expect("a graph"), [""; 0]);

    let network = edm2::network("edm2g_tiny");
    assert_eq!(file.weights(WeightSet::Ema, &network.graph).expect("the network"), network.weights);
    assert_eq!(file.weights(WeightSet::Ema, &graph).expect("the network and its loss"), weights);
    let in_training = file.weights(WeightSet::Model, &graph).expect("the network and its loss");
    for (name, tensor) in in_training.iter() {
        let whole = weights.get(name).expect("a tensor").as_f32().expect("f32");
        let halves: Vec<f32> = whole.iter().map(|x| 0.5 * x).collect();
        assert_eq!(tensor.as_f32(), Some(&halves[..]), "{name}");
    }
}
