//! EDM2's networks through the reference interpreter, against what the published code computed.

use std::collections::HashMap;

use ddae_model::checkpoint::{Checkpoint, LayoutKind, WeightSet, write_tensors};
use ddae_model::graph::{Init, Op};
use ddae_model::networks::architecture::{Given, Shapes};
use ddae_model::networks::{Architecture, Edm2Config, UNetCConfig, UNetEConfig, UNetGConfig};
use ddae_model::reference::run;
use ddae_model::tensor::Tensor;
use ddae_tests::edm2::{self, CASES};
use ddae_tests::imported::Case;
use ddae_tests::published::stored;
use ddae_tests::{fixture, parameter_shapes};

fn outputs(case: &Case) -> Vec<(String, Tensor)> {
    run::<f32>(&case.graph, &case.weights, &case.inputs).expect("a run")
}

#[test]
fn the_small_networks() {
    for name in &CASES[..3] {
        for case in [edm2::network(name), edm2::feature(name)] {
            case.check(&outputs(&case));
        }
        let case = edm2::loss(name);
        case.check_mean(&outputs(&case));
    }
}

/// The loss's graph holds every parameter and buffer.
#[test]
fn names_shapes_and_counts_are_the_published_ones() {
    for name in CASES {
        let mut published = parameter_shapes(name);
        published.sort();
        assert_eq!(stored(&edm2::loss(name).graph), published, "{name}");
        // Counted with the frequencies and phases, without the loss.
        let network = stored(&edm2::network(name).graph);
        let count: usize = network.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
        assert_eq!(fixture(name).config["parameters"].as_u64(), Some(count as u64), "{name}");
    }
}

#[test]
fn sizes_that_cannot_be_are_named() {
    let published = Edm2Config::published;
    let errors = [
        (Edm2Config { n_blocks: 1, ..published() }, "n_blocks is 1; it must be 2 to 1000"),
        (
            Edm2Config { image_shape: [3, 32, 4], ..published() },
            "32x4 pictures cannot be halved 3 times (4 ch_mults)",
        ),
        (Edm2Config { n_channels: 0, ..published() }, "n_channels is 0; it must be at least 1"),
        (
            Edm2Config { attn_channels_per_head: Some(96), ..published() },
            "attn_channels_per_head is 96, which does not divide 256 channels",
        ),
    ];
    for (config, message) in errors {
        assert_eq!(UNetGConfig(config).check().unwrap_err(), message);
    }
    // Only the norms of C and E want multiples of 32.
    let narrow = || Edm2Config { n_channels: 12, ..published() };
    let message = "n_channels is 12; it must be a multiple of 32 (GroupNorm has 32 groups)";
    assert_eq!(UNetCConfig(narrow()).check().unwrap_err(), message);
    assert_eq!(UNetEConfig(narrow()).check().unwrap_err(), message);
    assert_eq!(UNetGConfig(narrow()).check(), Ok(()));
    let graph = Architecture::UNetC(UNetCConfig(narrow())).network_graph(false);
    assert_eq!(graph.unwrap_err().to_string(), format!("network: {message}"));
}

/// Weights start as PyTorch's in config C, and as standard normals where they are normalised.
#[test]
fn initial_weights() {
    for case in &CASES[..3] {
        let graph = edm2::loss(case).graph;
        for (_, node) in graph.parameters() {
            let Op::Parameter { init, trained } = &node.op else { continue };
            let fan_in: usize = node.shape.resolve(1).iter().skip(1).product();
            let expected = match node.name.rsplit('.').next() {
                Some("frequencies") => Init::Normal { std: 1.0 },
                Some("phases") => Init::Uniform { bound: 0.5 },
                Some("g") if node.name == "final.1.g" => Init::Zeros,
                Some("g") => Init::Ones,
                _ if *case == "edm2c_tiny" => Init::Uniform { bound: 1.0 / (fan_in as f64).sqrt() },
                _ => Init::Normal { std: 1.0 },
            };
            assert_eq!(*init, expected, "{case} {}", node.name);
            assert_eq!(*trained, !node.name.contains(".fourier."), "{case} {}", node.name);
        }
    }
}

/// A checkpoint as EDM2's training writes it: network and uncertainty beside each other, averaged and in training.
#[test]
fn published_checkpoints_hold_the_network_and_its_loss() {
    let loss = edm2::loss("edm2g_tiny");
    let named = |root: &str| -> Vec<(String, Tensor)> {
        let stored = loss.weights.iter().map(|(name, tensor)| {
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
    let found = Architecture::recognise(&shapes, &given).expect("a network");
    assert_eq!(found.architecture, edm2::architecture(&fixture("edm2g_tiny")));
    assert_eq!(found.architecture.unused(found.names, &shapes).expect("a graph"), [""; 0]);

    let network = edm2::network("edm2g_tiny");
    assert_eq!(file.weights(WeightSet::Ema, &network.graph).expect("the network"), network.weights);
    assert_eq!(file.weights(WeightSet::Ema, &loss.graph).expect("the network and its loss"), loss.weights);
    let in_training = file.weights(WeightSet::Model, &loss.graph).expect("the network and its loss");
    for (name, tensor) in in_training.iter() {
        let whole = loss.weights.get(name).expect("a tensor").as_f32().expect("f32");
        let halves: Vec<f32> = whole.iter().map(|x| 0.5 * x).collect();
        assert_eq!(tensor.as_f32(), Some(&halves[..]), "{name}");
    }
}
