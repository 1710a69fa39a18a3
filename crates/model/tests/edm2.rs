//! EDM2's networks: sizes and initial weights.

use ddae_model::diffusion::loss_graph;
use ddae_model::graph::{Init, Op};
use ddae_model::networks::{Architecture, Edm2Config, UNetCConfig, UNetEConfig, UNetGConfig};
use ddae_tests::cases::edm2::{self, CASES, architecture};
use ddae_tests::cases::stored;
use ddae_tests::fixture;

#[test]
fn counts_are_the_published_ones() {
    for name in CASES {
        let case = fixture(name);
        // Counted with the frequencies and phases, without the loss.
        let network = stored(&architecture(&case).network_graph(false).expect("a graph"));
        let count: usize = network.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
        assert_eq!(case.config["parameters"].as_u64(), Some(count as u64), "{name}");
    }
}

#[test]
fn sizes_that_cannot_be_are_named() {
    let published = Edm2Config::published;
    let errors = [
        (Edm2Config { n_blocks: 1, ..published() }, "n_blocks is 1; it must be 2 to 1000"),
        (
            Edm2Config { image_shape: [3, 32, 4], ..published() },
            "32x4 images cannot be halved 3 times (4 ch_mults)",
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
        let graph = loss_graph(&edm2::loss(case).0, false).expect("a graph");
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
