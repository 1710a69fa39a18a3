//! Features and latents of networks whose weights others publish, through their ONNX files in ONNX Runtime, against the
//! reference interpreter.

mod onnx;

use ddae_model::config::{Betas, DdpmConfig, ModelConfig, ProcessConfig, Timesteps};
use ddae_model::diffusion::{FeatureOptions, latent_graph, model_features_graph};
use ddae_model::graph::Graph;
use ddae_model::networks::{Architecture, VaeEncoderConfig};
use ddae_model::reference::run;
use ddae_model::tensor::Tensor;
use ddae_model::weights::Weights;
use ddae_tests::cases::imported::dit_config;
use ddae_tests::{relative_error, rule_values, rule_weights, tolerance};
use onnx::through_onnx;

/// Numbers with a mean of 0 and a deviation of 1.
fn numbers(name: &str, shape: &[usize]) -> Tensor {
    let bound = 3f64.sqrt();
    Tensor::f32(shape, rule_values(name, shape.iter().product(), -bound, bound))
}

/// Checks that ONNX Runtime computes what the reference interpreter does.
fn assert_like_reference(graph: &Graph, weights: &Weights, inputs: &[(&str, Tensor)]) {
    let expected = run::<f32>(graph, weights, inputs).expect("a run");
    let found = through_onnx(graph, weights, inputs);
    assert_eq!(found.len(), expected.len());
    for ((name, ours), (expected_name, theirs)) in found.iter().zip(&expected) {
        assert_eq!((name, ours.shape()), (expected_name, theirs.shape()));
        let error = relative_error(ours.as_f32().expect("f32"), theirs.as_f32().expect("f32"));
        assert!(error <= tolerance::NETWORK, "{name}: relative error {error:e}");
    }
}

/// With a timestep of each sample's own, and with a fixed one, where all modulation is the same for every sample.
#[test]
fn dit_features() {
    let process = DdpmConfig::of(1000, Betas::Linear([1e-4, 0.02]), Timesteps::Index);
    let process = Some(ProcessConfig::Ddpm(process));
    let model = ModelConfig { process, ..ModelConfig::of(Architecture::DiT(dit_config())) };
    let taps = vec!["layer-0".to_string(), "layer-2".to_string()];
    for timestep in [None, Some(121)] {
        let options = FeatureOptions { taps: taps.clone(), timestep, ..FeatureOptions::default() };
        let graph = model_features_graph(&model, &options).expect("a graph");
        let shape = [3, 4, 16, 16];
        let mut inputs = vec![("latent", numbers("latent", &shape)), ("noise", numbers("noise", &shape))];
        if timestep.is_none() {
            inputs.push(("timestep", Tensor::i64(&[3], vec![0, 121, 999])));
        }
        assert_like_reference(&graph, &rule_weights(&graph), &inputs);
    }
}

#[test]
fn latents() {
    let config = VaeEncoderConfig {
        block_out_channels: vec![8, 8, 16, 16],
        norm_num_groups: 4,
        use_quant_conv: true,
        ..VaeEncoderConfig::sd_vae_ft_mse(24, 40)
    };
    let graph = latent_graph(&ModelConfig::of(Architecture::VaeEncoder(config)), false).expect("a graph");
    let image = Tensor::f32(&[2, 3, 24, 40], rule_values("image", 2 * 3 * 24 * 40, 0.0, 1.0));
    let inputs = [("image", image), ("noise", numbers("noise", &[2, 4, 3, 5]))];
    assert_like_reference(&graph, &rule_weights(&graph), &inputs);
}
