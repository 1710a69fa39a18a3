//! Samplers and features in ONNX Runtime, driven by stored noise, against what the published code computed.

use ddae_infer::device::Device;
use ddae_infer::engine::{Engine, Keep, Value};
use ddae_infer::sample::sample_batch;
use ddae_model::tensor::Tensor;
use ddae_tests::cases::samplers::{SamplerCase, ancestral_sample, ddim_samples, edm_samples, soda_sample};
use ddae_tests::{Fixture, fixture, relative_error, tolerance};

use crate::scene::{Export, config, export, export_graph};

fn check_sampler(case: &SamplerCase) {
    let folder = tempfile::tempdir().expect("a folder");
    let network = case.model.architecture.network_graph(false).expect("a network");
    let path = export_graph(folder.path(), "sampler", &case.model.to_yaml(), &network, Export::sampler());
    let mut engine = Engine::open(&path, Device::Cpu).expect("a session");
    let guides: Vec<_> =
        case.guides.iter().map(|(name, tensor)| (*name, Value::from(tensor.clone()))).collect();
    let mut drawn = 0;
    let noise = |draw: usize, values: &mut [f32]| {
        case.noise(draw, values);
        drawn += 1;
    };
    let images =
        sample_batch(&mut engine, &case.plan, case.shape(), &guides, noise, || Ok(())).expect("images");
    case.compare(&images);
    // Noise is drawn where a step adds some, and for the start.
    let added = case.plan.steps.iter().filter(|step| step.noise.is_some()).count();
    assert_eq!(drawn, 1 + usize::from(case.plan.start_churn != 0.0) + added, "{}", case.name);
    assert!(drawn <= case.draws(), "{}", case.name);
}

#[test]
fn samplers() {
    check_sampler(&ancestral_sample());
    check_sampler(&soda_sample());
    ddim_samples().iter().chain(&edm_samples()).for_each(check_sampler);
}

/// The features of a case at its timestep, by a graph that takes the timestep and one that has it built in.
fn check_features(name: &str, timestep: i64, noise: (Vec<usize>, Vec<f32>)) {
    let case: Fixture = fixture(name);
    let config = config(&case.config["network"], &case.config["diffusion"]);
    let stored = case.names("output.feature.");
    let taps: Vec<&str> = stored.iter().filter_map(|name| name.strip_prefix("output.feature.")).collect();
    assert!(taps.len() >= 4);
    let folder = tempfile::tempdir().expect("a folder");
    for fixed in [None, Some(timestep)] {
        let what = Export { timestep: fixed, ..Export::features(&taps) };
        let path = export(folder.path(), "features", &config, what);
        let mut engine = Engine::open(&path, Device::Cpu).expect("a session");
        let batch = noise.0[0];
        let value = |(shape, values): (Vec<usize>, Vec<f32>)| Value::from(Tensor::f32(&shape, values));
        let image = value(case.f32("input.image"));
        let noise = value(noise.clone());
        let timesteps = Value::from(Tensor::i64(&[batch], vec![timestep; batch]));
        let mut inputs = vec![("image", &image), ("noise", &noise)];
        if fixed.is_none() {
            inputs.push(("timestep", &timesteps));
        }
        assert_eq!(engine.inputs().len(), inputs.len());
        let results = engine.run(&inputs, Keep::Host).expect("features");
        assert_eq!(engine.outputs(), taps);
        for (tap, result) in taps.iter().zip(&results) {
            let (shape, theirs) = case.f32(&format!("output.feature.{tap}"));
            let (found, ours) = result.floats().expect("floats");
            assert_eq!(found, shape);
            let error = relative_error(ours, &theirs);
            println!("{name} {tap}, fixed {}: {error:.1e}", fixed.is_some());
            assert!(error <= tolerance::NETWORK, "{name} {tap}: relative error {error:e}");
        }
    }
}

#[test]
fn ddpm_features() {
    let case = fixture("ddpm_loss_features");
    let timestep = case.config["feature_timestep"].as_i64().expect("a number");
    check_features("ddpm_loss_features", timestep, case.f32("input.noise"));
}

#[test]
fn edm_features() {
    let case = fixture("edm_loss_features");
    let step = case.config["feature_step"].as_i64().expect("a number");
    check_features("edm_loss_features", step, case.f32("input.feature_noise.0"));
}
