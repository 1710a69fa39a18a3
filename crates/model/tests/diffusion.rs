//! The published tables, features and sampling runs, computed by the reference interpreter.

use ddae_model::config::{Betas, Config, DdpmConfig, EdmConfig, ProcessConfig, Timesteps};
use ddae_model::diffusion::{
    FeatureOptions, Plan, SamplerKind, ddpm::Tables, edm, features_graph, sampler_graph,
};
use ddae_model::reference;
use ddae_model::tensor::Tensor;
use ddae_tests::{fixture, relative_error, rule_weights, tolerance};

fn ddpm(config: &Config) -> &DdpmConfig {
    let ProcessConfig::Ddpm(ddpm) = &config.process else { panic!("a DDPM") };
    ddpm
}

fn edm(config: &Config) -> &EdmConfig {
    let ProcessConfig::Edm(edm) = &config.process else { panic!("an EDM") };
    edm
}

#[test]
fn ddpm_tables_are_the_published_ones() {
    let case = fixture("ddpm_tables");
    let config: DdpmConfig = serde_json::from_value(case.config["diffusion"].clone()).unwrap();
    for (name, ours) in [("ddpm", Tables::training(&config)), ("ddim", Tables::ddim(&config))] {
        // Elementwise, from timestep 1 on: near timestep 0 a small error in 1 - alpha_bar would hide in the norm.
        for (column, values) in [
            ("alpha_t", &ours.alpha),
            ("alphabar_t", &ours.alpha_bar),
            ("sqrtab", &ours.sqrt_alpha_bar),
            ("sqrtmab", &ours.sqrt_one_minus_alpha_bar),
        ] {
            let (_, theirs) = case.f32(&format!("output.{name}.{column}"));
            assert_eq!(values.len(), theirs.len());
            for (t, (a, b)) in values.iter().zip(&theirs).enumerate() {
                assert!((a - b).abs() <= 2e-6 * b.abs(), "{name} {column}[{t}]: {a} and {b}");
            }
        }
        let (_, theirs) = case.f32(&format!("output.{name}.sqrt_beta_t"));
        let roots: Vec<f32> = ours.beta.iter().map(|b| b.sqrt()).collect();
        assert!(relative_error(&roots, &theirs) < 1e-6);
    }
}

#[test]
fn curved_schedules_are_the_published_ones() {
    let case = fixture("beta_schedules");
    for (name, betas) in [("cosine", Betas::Cosine), ("inverted", Betas::Inverted)] {
        let config = DdpmConfig { betas, ..DdpmConfig::published(Timesteps::Fraction) };
        let tables = Tables::training(&config);
        assert_eq!(tables.beta[0], 0.0);
        // The last variances of the inverted schedule come out of the rounding of its arc cosine.
        let (_, theirs) = case.f32(&format!("output.{name}_1000"));
        let error = relative_error(&tables.beta[1..], &theirs);
        assert!(error <= tolerance::SAMPLER, "{name}: {error:e}");
        let alpha_bar: Vec<f64> = theirs
            .iter()
            .scan(1.0, |product, &beta| {
                *product *= 1.0 - f64::from(beta);
                Some(*product)
            })
            .collect();
        let error = relative_error(&tables.alpha_bar[1..], &alpha_bar);
        assert!(error <= tolerance::NETWORK, "{name}: {error:e}");
        // Counted from 0, they are the same without the first.
        let index = Tables::training(&DdpmConfig { timesteps: Timesteps::Index, ..config.clone() });
        assert_eq!(index.beta, tables.beta[1..]);
        let ddim = Tables::ddim(&config);
        assert_eq!(ddim.beta.len(), 1001);
        assert!(ddim.alpha_bar.windows(2).all(|pair| pair[0] > pair[1] && pair[1] >= 0.0));
    }
}

#[test]
fn edm_grid_is_the_published_one() {
    let case = fixture("edm_loss_features");
    let (_, theirs) = case.f64("output.schedule");
    let config = case.run_config();
    let ours = edm::grid(edm(&config), edm::FEATURE_STEPS);
    assert_eq!(ours.len(), theirs.len());
    for (a, b) in ours.iter().zip(&theirs) {
        // The published code takes its roots in float32.
        assert!((a - b).abs() <= 1e-6 * b.abs(), "{a} and {b}");
    }
    let rising = edm::feature_sigmas(edm(&config));
    assert_eq!((rising[0], rising[1], rising[18]), (0.0, ours[17], ours[0]));
}

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
        let graph = features_graph(&config, &options).unwrap();
        let mut inputs = vec![
            ("image", Tensor::f32(&shape, image.clone())),
            ("noise", Tensor::f32(&shape, noise.clone())),
        ];
        if fixed.is_none() {
            inputs.push(("timestep", Tensor::i64(&[shape[0]], vec![timestep; shape[0]])));
        }
        let results = reference::run::<f32>(&graph, &rule_weights(&graph), &inputs).unwrap();
        assert_eq!(results.len(), taps.len());
        for (tap, tensor) in results {
            let (shape, theirs) = case.f32(&format!("output.feature.{tap}"));
            assert_eq!(tensor.shape(), shape);
            let error = relative_error(tensor.as_f32().unwrap(), &theirs);
            assert!(error <= tolerance::NETWORK, "{name} {tap}: {error:e}");
        }
    }
}

#[test]
fn ddpm_features_are_the_published_ones() {
    features_agree("ddpm_loss_features", "input.noise", 11);
}

#[test]
fn edm_features_are_the_published_ones() {
    features_agree("edm_loss_features", "input.feature_noise.0", 4);
}

fn sampler_agrees(name: &str, plan: impl Fn(&Config) -> Plan) {
    let case = fixture(name);
    let config = case.run_config();
    let graph = sampler_graph(&config).unwrap();
    let weights = rule_weights(&graph);
    let shape: [usize; 4] = case.f32("input.noise.0").0.try_into().unwrap();
    let sample = plan(&config).run(
        shape,
        |draw| case.f32(&format!("input.noise.{draw}")).1,
        |inputs| {
            let results = reference::run::<f32>(&graph, &weights, inputs)?;
            Ok::<_, reference::RunError>(results.into_iter().map(|(_, tensor)| tensor).collect())
        },
    );
    let ours = sample.unwrap().to_f64_vec();
    let error = match case.config["network"]["augment_dim"].as_u64() {
        Some(_) => relative_error(&ours, &case.f64("output.sample").1),
        None => relative_error(&ours, &case.f32("output.sample").1),
    };
    assert!(error <= tolerance::SAMPLER, "{name}: {error:e}");
}

#[test]
fn ddim_sampling_is_the_published_one() {
    for eta in [0.0, 0.7] {
        sampler_agrees(&format!("ddim_sample_eta{eta:.1}"), |config| {
            Plan::ddpm(ddpm(config), SamplerKind::Ddim { steps: 5, eta }).unwrap()
        });
    }
}

#[test]
fn ancestral_sampling_is_the_published_one() {
    sampler_agrees("ddpm_sample", |config| Plan::ddpm(ddpm(config), SamplerKind::Ddpm).unwrap());
}

#[test]
fn edm_sampling_is_the_published_one() {
    for eta in [0.0, 1.0] {
        sampler_agrees(&format!("edm_sample_eta{eta:.1}"), |config| {
            Plan::edm(edm(config), SamplerKind::Edm { steps: 18, eta }).unwrap()
        });
    }
}

#[test]
fn plans_call_the_network_as_often_as_published() {
    let ddpm = DdpmConfig::published(Timesteps::Fraction);
    assert_eq!(Plan::ddpm(&ddpm, SamplerKind::Ddpm).unwrap().steps.len(), 1000);
    let ddim = Plan::ddpm(&ddpm, SamplerKind::Ddim { steps: 100, eta: 0.0 }).unwrap();
    assert_eq!((ddim.steps.len(), ddim.steps[0].t, ddim.steps[99].t), (100, 0.991, 0.001));
    let case = fixture("edm_loss_features");
    let config = case.run_config();
    assert_eq!(Plan::edm(edm(&config), SamplerKind::Edm { steps: 18, eta: 0.0 }).unwrap().steps.len(), 35);
}

#[test]
fn impossible_settings_are_refused() {
    let config = DdpmConfig::published(Timesteps::Fraction);
    let refused = |kind| Plan::ddpm(&config, kind).unwrap_err().to_string();
    assert_eq!(refused(SamplerKind::Ddim { steps: 0, eta: 0.0 }), "0 steps: this sampler takes 1 to 1000");
    assert_eq!(
        refused(SamplerKind::Ddim { steps: 1001, eta: 0.0 }),
        "1001 steps: this sampler takes 1 to 1000"
    );
    assert_eq!(refused(SamplerKind::Ddim { steps: 10, eta: 1.5 }), "eta is 1.5; it must be in [0, 1]");
    assert_eq!(
        refused(SamplerKind::Edm { steps: 18, eta: 0.0 }),
        "a DDPM is sampled with ddpm or ddim, not edm"
    );
    let case = fixture("ddpm_loss_features");
    let options = FeatureOptions { taps: vec!["out_1".into()], timestep: Some(1001), input_u8: false };
    let message = features_graph(&case.run_config(), &options).unwrap_err().to_string();
    assert_eq!(message, "timestep: 1001 is outside 1..=1000 of this process");
    let options = FeatureOptions { taps: vec!["out_9".into()], ..options };
    let message =
        features_graph(&case.run_config(), &FeatureOptions { timestep: None, ..options }).unwrap_err();
    assert_eq!(message.to_string(), "no layer 'out_9' in this network; it has out_1, out_2, out_3, out_4");
}

/// Counted from 0, the timesteps are the same ones: ancestral sampling differs only in what the network is told.
#[test]
fn timesteps_that_are_indices_are_the_same_process() {
    let (fraction, index) =
        (DdpmConfig::published(Timesteps::Fraction), DdpmConfig::published(Timesteps::Index));
    let (ours, theirs) = (Tables::training(&fraction), Tables::training(&index));
    assert_eq!((ours.beta.len(), theirs.beta.len()), (1001, 1000));
    for t in [0, 1, 500, 999] {
        let (a, b) = (ours.alpha_bar[t + 1], theirs.alpha_bar[t]);
        assert!((a / b - 1.0).abs() < 1e-5, "{t}: {a} and {b}");
    }
    let plans = [&fraction, &index].map(|config| Plan::ddpm(config, SamplerKind::Ddpm).unwrap());
    for (k, (a, b)) in plans[0].steps.iter().zip(&plans[1].steps).enumerate() {
        assert_eq!((a.t, b.t), ((1000 - k) as f32 / 1000.0, (999 - k) as f32));
        assert_eq!(a.noise, b.noise);
        for (a, b) in a.coefficients.iter().zip(&b.coefficients) {
            assert!((a - b).abs() <= 1e-4 * b.abs(), "step {k}: {a} and {b}");
        }
    }
    // DDIM ends at the image itself, without a rest of noise.
    let ddim = Plan::ddpm(&index, SamplerKind::Ddim { steps: 10, eta: 0.0 }).unwrap();
    assert_eq!(
        ddim.steps.iter().map(|step| step.t).collect::<Vec<_>>(),
        [900., 800., 700., 600., 500., 400., 300., 200., 100., 0.]
    );
    assert_eq!(ddim.steps[9].coefficients, [0.0, 1.0, 0.0, 0.0]);
}
