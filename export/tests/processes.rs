//! Feature extraction and whole sampling runs through ONNX files, against what the published code computed.

mod onnx;

use ddae_export::lower::Options;
use ddae_model::config::ProcessConfig;
use ddae_model::diffusion::{FeatureOptions, Plan, SamplerKind, features_graph, sampler_graph};
use ddae_model::tensor::Tensor;
use ddae_onnx::runtime::RuntimeError;
use ddae_tests::{fixture, relative_error, rule_weights, tolerance};
use onnx::{load, through_onnx};

fn features_agree(name: &str, noise: &str, timestep: i64) {
    let case = fixture(name);
    let config = case.run_config();
    let taps: Vec<String> = case
        .names("output.feature.")
        .iter()
        .map(|n| n.trim_start_matches("output.feature.").to_string())
        .collect();
    let (shape, image) = case.f32("input.image");
    let (_, noise) = case.f32(noise);
    for fixed in [None, Some(timestep)] {
        let options = FeatureOptions { taps: taps.clone(), timestep: fixed, input_u8: false };
        let graph = features_graph(&config, &options).expect("a graph");
        let mut inputs = vec![
            ("image", Tensor::f32(&shape, image.clone())),
            ("noise", Tensor::f32(&shape, noise.clone())),
        ];
        if fixed.is_none() {
            inputs.push(("timestep", Tensor::i64(&[shape[0]], vec![timestep; shape[0]])));
        }
        let results = through_onnx(&graph, &rule_weights(&graph), &inputs, Options::default());
        assert_eq!(results.len(), taps.len());
        for (tap, tensor) in results {
            let (shape, theirs) = case.f32(&format!("output.feature.{tap}"));
            assert_eq!(tensor.shape(), shape);
            let error = relative_error(tensor.as_f32().expect("f32"), &theirs);
            assert!(error <= tolerance::NETWORK, "{name} {tap}, fixed {fixed:?}: {error:e}");
        }
    }
}

#[test]
fn ddpm_features() {
    features_agree("ddpm_loss_features", "input.noise", 11);
}

#[test]
fn edm_features() {
    features_agree("edm_loss_features", "input.feature_noise.0", 4);
}

fn sampler_agrees(name: &str, kind: SamplerKind) {
    let case = fixture(name);
    let config = case.run_config();
    let plan = match &config.process {
        ProcessConfig::Ddpm(ddpm) => Plan::ddpm(ddpm, kind),
        ProcessConfig::Edm(edm) => Plan::edm(edm, kind),
    };
    let plan = plan.expect("a plan");
    let graph = sampler_graph(&config).expect("a graph");
    let mut network = load(&graph, &rule_weights(&graph), Options::default());
    let shape: [usize; 4] = case.f32("input.noise.0").0.try_into().expect("images");
    let sample = plan.run(
        shape,
        |draw| case.f32(&format!("input.noise.{draw}")).1,
        |inputs| Ok::<_, RuntimeError>(network.run(inputs)?.into_iter().map(|(_, tensor)| tensor).collect()),
    );
    let ours = sample.expect("images").to_f64_vec();
    let error = match kind {
        SamplerKind::Edm { .. } => relative_error(&ours, &case.f64("output.sample").1),
        _ => relative_error(&ours, &case.f32("output.sample").1),
    };
    assert!(error <= tolerance::SAMPLER, "{name}: {error:e}");
}

#[test]
fn ddim_sampling() {
    for eta in [0.0, 0.7] {
        sampler_agrees(&format!("ddim_sample_eta{eta:.1}"), SamplerKind::Ddim { steps: 5, eta });
    }
}

#[test]
fn ancestral_sampling() {
    sampler_agrees("ddpm_sample", SamplerKind::Ddpm);
}

#[test]
fn edm_sampling() {
    for eta in [0.0, 1.0] {
        sampler_agrees(&format!("edm_sample_eta{eta:.1}"), SamplerKind::Edm { steps: 18, eta });
    }
}
