//! The published tables, and how often samplers call the network.

use ddae_model::config::{Betas, Config, DdpmConfig, EdmConfig, Prediction, ProcessConfig, Timesteps};
use ddae_model::diffusion::sampler::{Sampler, ancestral, ddim, heun};
use ddae_model::diffusion::{FeatureOptions, ddpm::Tables, edm, features_graph};
use ddae_tests::{fixture, relative_error, tolerance};

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
        let error = relative_error(&index.beta, &tables.beta[1..]);
        assert!(error <= tolerance::SAMPLER, "{name}: {error:e}");
        let ddim_tables = Tables::ddim(&config);
        assert_eq!(ddim_tables.beta.len(), 1001);
        assert!(ddim_tables.alpha_bar.windows(2).all(|pair| pair[0] > pair[1] && pair[1] >= 0.0));
    }
}

/// What is left of the image at the first, the middle and the last of 1000 timesteps, in float64 by the formulas of the
/// papers: as it is, and rescaled to leave nothing at the last (arXiv 2305.08891, algorithm 1).
#[test]
fn schedules_of_weights_from_elsewhere() {
    for (betas, plain, rescaled) in [
        (
            Betas::Linear([1e-4, 0.02]),
            [0.9999, 0.07779665836502386, 4.0358297653756754e-5],
            [0.9999, 0.07524621570432667, 0.0],
        ),
        (
            Betas::ScaledLinear([0.00085, 0.012]),
            [0.99915, 0.2763326838229746, 0.004660098513077234],
            [0.99915, 0.2410187827573158, 0.0],
        ),
        (
            Betas::Cosine,
            [0.999958715775178, 0.49228517244880304, 2.4287669070348567e-9],
            [0.9999587157751779, 0.4922645385316662, 0.0],
        ),
    ] {
        for (zero_snr, expected) in [(false, plain), (true, rescaled)] {
            let config = DdpmConfig {
                betas,
                zero_snr,
                prediction: Prediction::VPrediction,
                ..DdpmConfig::published(Timesteps::Index)
            };
            let tables = Tables::training(&config);
            for (t, expected) in [0, 500, 999].into_iter().zip(expected) {
                let found = f64::from(tables.alpha_bar[t]);
                assert!((found - expected).abs() <= 1e-6 * expected, "{betas:?} {zero_snr} {t}: {found}");
                let root = f64::from(tables.sqrt_alpha_bar[t]);
                assert!(
                    (root - expected.sqrt()).abs() <= 1e-6 * expected.sqrt(),
                    "{betas:?} {zero_snr} {t}: {root}"
                );
            }
            // Counted from 1, they are the same after the image itself.
            let fraction = Tables::training(&DdpmConfig { timesteps: Timesteps::Fraction, ..config });
            let error = relative_error(&fraction.alpha_bar[1..], &tables.alpha_bar);
            assert!(error <= tolerance::NETWORK, "{betas:?} {zero_snr}: {error:e}");
        }
    }
}

/// Schedules that leave nothing of the image before the last timestep have no numbers.
#[test]
fn schedules_that_end_too_early_are_refused() {
    for (betas, n_t, zero_snr, is_usable) in [
        (Betas::Linear([0.5, 0.9]), 2000, true, false),
        (Betas::Linear([0.5, 0.9]), 2000, false, false),
        (Betas::Linear([1e-4, 0.02]), 1000, true, true),
        (Betas::Linear([1e-4, 0.02]), 1000, false, true),
        (Betas::Cosine, 4000, true, true),
        (Betas::ScaledLinear([0.00085, 0.012]), 1000, true, true),
    ] {
        for timesteps in [Timesteps::Index, Timesteps::Fraction] {
            let prediction = Prediction::VPrediction;
            let config = DdpmConfig { zero_snr, prediction, ..DdpmConfig::of(n_t, betas, timesteps) };
            let checked = ddae_model::config::ProcessConfig::Ddpm(config.clone()).check();
            assert_eq!(checked.is_ok(), is_usable, "{betas:?} {n_t} {zero_snr}: {checked:?}");
            if let Err(message) = checked {
                assert!(message.starts_with("betas leave nothing of the image at timestep"), "{message}");
            } else {
                let tables = Tables::training(&config);
                assert!(tables.beta.iter().chain(&tables.alpha_bar).all(|value| value.is_finite()));
            }
        }
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

#[test]
fn plans_call_the_network_as_often_as_published() {
    let ddpm = DdpmConfig::published(Timesteps::Fraction);
    assert_eq!(ancestral(&ddpm).steps.len(), 1000);
    let plan = ddim(&ddpm, 100, 0.0).unwrap();
    assert_eq!((plan.steps.len(), plan.steps[0].t, plan.steps[99].t), (100, 0.991, 0.001));
    let case = fixture("edm_loss_features");
    let config = case.run_config();
    assert_eq!(heun(edm(&config), 18, 0.0).unwrap().steps.len(), 35);
}

#[test]
fn impossible_settings_are_refused() {
    let config = DdpmConfig::published(Timesteps::Fraction);
    let refused = |steps, eta| ddim(&config, steps, eta).unwrap_err().to_string();
    assert_eq!(refused(0, 0.0), "0 steps: this sampler takes 1 to 1000");
    assert_eq!(refused(1001, 0.0), "1001 steps: this sampler takes 1 to 1000");
    assert_eq!(refused(10, 1.5), "eta is 1.5; it must be in [0, 1]");
    let (ddpm, edm) = (ProcessConfig::Ddpm(config), ProcessConfig::Edm(EdmConfig::published()));
    for (name, process, steps, message) in [
        ("edm", &ddpm, 18, "a DDPM is sampled with ddpm, ddim or dpm-solver, not edm"),
        ("ddim", &edm, 18, "an EDM is sampled with edm or dpm-solver, not ddim"),
        ("ddpm", &edm, 18, "an EDM is sampled with edm or dpm-solver, not ddpm"),
        ("ddpm", &ddpm, 18, "--sampler ddpm takes all 1000 steps; give --sampler ddim for fewer"),
        ("dpm-solver", &ddpm, 1000, "1000 steps: this sampler takes 1 to 999"),
        ("edm", &edm, 1, "1 steps: this sampler takes 2 to 10000"),
    ] {
        let sampler = Sampler::named(name).expect("a sampler");
        assert_eq!(sampler.plan(process, steps, 0.0).unwrap_err().to_string(), message);
    }
    let case = fixture("ddpm_loss_features");
    let options = FeatureOptions {
        taps: vec!["out_1".into()],
        timestep: Some(1001),
        input_u8: false,
        label: false,
        unpooled: false,
    };
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
    let plans = [&fraction, &index].map(ancestral);
    for (k, (a, b)) in plans[0].steps.iter().zip(&plans[1].steps).enumerate() {
        assert_eq!((a.t, b.t), ((1000 - k) as f32 / 1000.0, (999 - k) as f32));
        assert_eq!(a.noise, b.noise);
        for (a, b) in a.coefficients.iter().zip(&b.coefficients) {
            assert!((a - b).abs() <= 1e-4 * b.abs(), "step {k}: {a} and {b}");
        }
    }
    // DDIM ends at the image itself, without a rest of noise.
    let plan = ddim(&index, 10, 0.0).unwrap();
    assert_eq!(
        plan.steps.iter().map(|step| step.t).collect::<Vec<_>>(),
        [900., 800., 700., 600., 500., 400., 300., 200., 100., 0.]
    );
    assert_eq!(plan.steps[9].coefficients, [0.0, 1.0, 0.0, 0.0, 0.0]);
}
