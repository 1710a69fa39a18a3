//! Several networks that a process opens at once, the first of it among them.

mod onnx;

use std::process::Command;
use std::sync::Barrier;

use ddae_model::config::ModelConfig;
use ddae_model::diffusion::latent_graph;
use ddae_model::networks::{Architecture, VaeEncoderConfig};
use ddae_tests::rule_weights;

/// The domain of this project's operators is entered in ONNX Runtime's table for the process by the first session,
/// which no two may do at once: seen in one of some hundred runs, so processes are many and short.
#[test]
fn the_first_networks_of_a_process_may_be_opened_at_once() {
    for round in 0..20 {
        let program = std::env::current_exe().expect("this test");
        let output = Command::new(program)
            .args(["--exact", "opened_at_once", "--ignored"])
            .output()
            .expect("it starts");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "round {round}: {text}");
        assert!(text.contains("1 passed"), "round {round}: {text}");
    }
}

#[test]
#[ignore = "one process of the test above"]
fn opened_at_once() {
    let config = VaeEncoderConfig {
        block_out_channels: vec![8, 8, 16, 16],
        norm_num_groups: 4,
        ..VaeEncoderConfig::sd_vae_ft_mse(16, 16)
    };
    let graph = latent_graph(&ModelConfig::of(Architecture::VaeEncoder(config)), false).expect("a graph");
    let weights = rule_weights(&graph);
    let start = Barrier::new(6);
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                start.wait();
                onnx::load(&graph, &weights);
            });
        }
    });
}
