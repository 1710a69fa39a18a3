//! Schedulers and what becomes of them, and what is refused by name.

use super::*;
use serde_json::json;

fn with(class: &str, changes: Value) -> Result<ProcessConfig, Refusal> {
    let mut scheduler = json!({ "_class_name": class, "_diffusers_version": "0.30.0" });
    for (key, value) in changes.as_object().into_iter().flatten() {
        scheduler[key] = value.clone();
    }
    process(&scheduler)
}

/// A DDPM as diffusers has it unless told otherwise.
fn plain() -> DdpmConfig {
    DdpmConfig { variance_type: VarianceType::FixedSmall, ..DdpmConfig::published(Timesteps::Index) }
}

#[test]
fn a_scheduler_is_what_it_says_it_is() {
    let unclipped = DdpmConfig { clip_sample: Clip::Unit(false), ..DdpmConfig::published(Timesteps::Index) };
    for (class, changes, expected) in [
        ("DDPMScheduler", json!({}), plain()),
        (
            "DDPMScheduler",
            json!({ "variance_type": "fixed_large", "beta_start": 0.0001, "trained_betas": null }),
            DdpmConfig::published(Timesteps::Index),
        ),
        (
            "DDPMScheduler",
            json!({ "clip_sample": false }),
            DdpmConfig { clip_sample: Clip::Unit(false), ..plain() },
        ),
        (
            "DDPMScheduler",
            json!({ "clip_sample_range": 2.5 }),
            DdpmConfig { clip_sample: Clip::Range(2.5), ..plain() },
        ),
        (
            "DDPMScheduler",
            json!({ "prediction_type": "sample", "num_train_timesteps": 50 }),
            DdpmConfig { prediction: Prediction::Sample, n_t: 50, ..plain() },
        ),
        (
            "DDPMScheduler",
            json!({ "beta_schedule": "squaredcos_cap_v2" }),
            DdpmConfig { betas: Betas::Cosine, ..plain() },
        ),
        ("DDIMScheduler", json!({ "steps_offset": 1 }), DdpmConfig::published(Timesteps::Index)),
        (
            "DDIMScheduler",
            json!({ "rescale_betas_zero_snr": true, "prediction_type": "v_prediction" }),
            DdpmConfig {
                zero_snr: true,
                prediction: Prediction::VPrediction,
                ..DdpmConfig::published(Timesteps::Index)
            },
        ),
        (
            "PNDMScheduler",
            json!({ "beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012 }),
            DdpmConfig { betas: Betas::ScaledLinear([0.00085, 0.012]), ..unclipped.clone() },
        ),
        ("EulerDiscreteScheduler", json!({ "use_karras_sigmas": true }), unclipped.clone()),
        ("DPMSolverMultistepScheduler", json!({ "variance_type": null }), unclipped.clone()),
        // What another class left behind, and what is not set.
        (
            "EulerDiscreteScheduler",
            json!({ "clip_sample": true, "clip_sample_range": 2.0, "timestep_values": null }),
            unclipped.clone(),
        ),
        ("PNDMScheduler", json!({ "rescale_betas_zero_snr": false }), unclipped.clone()),
        ("DDIMScheduler", json!({ "clip_sample": null }), unclipped.clone()),
        (
            "HeunDiscreteScheduler",
            json!({ "clip_sample": true }),
            DdpmConfig::of(1000, Betas::Linear([0.00085, 0.012]), Timesteps::Index),
        ),
        (
            "KDPM2DiscreteScheduler",
            json!({}),
            DdpmConfig { betas: Betas::Linear([0.00085, 0.012]), ..unclipped },
        ),
        ("DDPMScheduler", json!({ "predict_epsilon": true }), plain()),
        (
            "DDPMScheduler",
            json!({ "predict_epsilon": false }),
            DdpmConfig { prediction: Prediction::Sample, ..plain() },
        ),
    ] {
        assert_eq!(with(class, changes.clone()), Ok(ProcessConfig::Ddpm(expected)), "{class} {changes}");
    }
    let edm = EdmConfig { sigma_data: 1.0, sigma_max: 40.0, ..EdmConfig::published() };
    let changes = json!({ "sigma_data": 1.0, "sigma_max": 40.0, "sigma_schedule": "karras" });
    assert_eq!(with("EDMEulerScheduler", changes), Ok(ProcessConfig::Edm(edm)));
}

#[test]
fn what_is_not_known_is_refused_by_name() {
    for (class, changes, message) in [
        (
            "FlowMatchEulerDiscreteScheduler",
            json!({}),
            "it is of a FlowMatchEulerDiscreteScheduler; known are DDPM",
        ),
        ("ScoreSdeVeScheduler", json!({}), "it is of a ScoreSdeVeScheduler"),
        ("CMStochasticIterativeScheduler", json!({}), "it is of a CMStochasticIterativeScheduler"),
        (
            "DDPMScheduler",
            json!({ "beta_schedule": "sigmoid" }),
            "beta_schedule is sigmoid; known are linear",
        ),
        ("DDPMScheduler", json!({ "prediction_type": "flow" }), "prediction_type is flow; known are epsilon"),
        ("DDPMScheduler", json!({ "thresholding": true }), "thresholding is true; only false is known"),
        ("DDPMScheduler", json!({ "trained_betas": [0.1] }), "trained_betas is [0.1]; only null is known"),
        ("DDPMScheduler", json!({ "variance_type": "learned_range" }), "variance_type is learned_range"),
        ("DDPMScheduler", json!({ "rescale_betas_zero_snr": true }), "zero_snr leaves nothing of the image"),
        ("DDPMScheduler", json!({ "clip_sample": "no" }), "clip_sample is \"no\"; it must be true or false"),
        ("DDPMScheduler", json!({ "beta_warp": 1 }), "its key beta_warp is not known"),
        (
            "PNDMScheduler",
            json!({ "rescale_betas_zero_snr": true, "prediction_type": "v_prediction" }),
            "rescale_betas_zero_snr is true, which is nothing to a PNDMScheduler",
        ),
        (
            "DDPMScheduler",
            json!({ "predict_epsilon": true, "prediction_type": "v_prediction" }),
            "predict_epsilon is true, but prediction_type is v_prediction",
        ),
        (
            "DDIMScheduler",
            json!({
                "beta_start": 0.5, "beta_end": 0.9, "num_train_timesteps": 2000, "rescale_betas_zero_snr": true,
                "prediction_type": "v_prediction"
            }),
            "betas leave nothing of the image at timestep",
        ),
        (
            "EulerDiscreteScheduler",
            json!({ "timestep_type": "continuous" }),
            "timestep_type is \"continuous\"",
        ),
        ("DPMSolverMultistepScheduler", json!({ "use_flow_sigmas": true }), "use_flow_sigmas is true"),
        (
            "EDMEulerScheduler",
            json!({ "prediction_type": "v_prediction" }),
            "of an EDM only epsilon is known",
        ),
    ] {
        let found = with(class, changes.clone()).expect_err("not known").problem;
        assert!(found.starts_with(message) || found.contains(message), "{class} {changes}: {found}");
    }
    assert!(process(&json!({})).expect_err("none").problem.contains("_class_name"));
}

/// An option stands for what cannot be read, and not for another process.
#[test]
fn what_is_no_detail_is_told_apart() {
    for (class, changes, is_detail) in [
        ("DDPMScheduler", json!({ "beta_schedule": "sigmoid" }), true),
        ("DDPMScheduler", json!({ "beta_warp": 1 }), true),
        ("DDPMScheduler", json!({ "prediction_type": "flow" }), false),
        ("FlowMatchEulerDiscreteScheduler", json!({}), false),
        ("EDMEulerScheduler", json!({ "prediction_type": "sample" }), false),
    ] {
        assert_eq!(with(class, changes).expect_err("not known").is_detail, is_detail, "{class}");
    }
    let given = ProcessConfig::Ddpm(DdpmConfig::published(Timesteps::Index));
    let found = |class: &str, changes: Value| differences(&with(class, changes).expect("a process"), &given);
    assert_eq!(
        found("DDPMScheduler", json!({ "prediction_type": "v_prediction", "clip_sample": false })),
        ["clip_sample false", "prediction v_prediction", "variance_type fixed_small"]
    );
    assert_eq!(found("EDMEulerScheduler", json!({})), ["model_type EDM"]);
    assert_eq!(found("DDIMScheduler", json!({})), [""; 0]);
}
