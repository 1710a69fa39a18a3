//! What `scheduler_config.json` of diffusers says of the process that a network was trained in.
//!
//! The list is of what is known: schedulers, keys and values that are not on it are refused by name. What only sets the steps
//! of diffusers' own samplers (their spacing, orders, sigmas) says nothing of the network, and is not taken: `ddae-infer` has
//! samplers of its own.

use ddae_model::config::{
    Betas, Clip, DdpmConfig, EdmConfig, Prediction, ProcessConfig, Timesteps, VarianceType,
};
use serde_json::Value;

/// Schedulers of the discrete process, and whether they clip images unless told otherwise.
const DDPM: [(&str, bool); 17] = [
    ("DDPMScheduler", true),
    ("DDPMParallelScheduler", true),
    ("DDIMScheduler", true),
    ("DDIMParallelScheduler", true),
    ("DDIMInverseScheduler", true),
    ("PNDMScheduler", false),
    ("LMSDiscreteScheduler", false),
    ("EulerDiscreteScheduler", false),
    ("EulerAncestralDiscreteScheduler", false),
    ("HeunDiscreteScheduler", false),
    ("KDPM2DiscreteScheduler", false),
    ("KDPM2AncestralDiscreteScheduler", false),
    ("DPMSolverMultistepScheduler", false),
    ("DPMSolverSinglestepScheduler", false),
    ("DPMSolverSDEScheduler", false),
    ("DEISMultistepScheduler", false),
    ("UniPCMultistepScheduler", false),
];

/// Schedulers of EDM's process.
const EDM: [&str; 2] = ["EDMEulerScheduler", "EDMDPMSolverMultistepScheduler"];

/// Keys that say where a file comes from, or set the steps of diffusers' own samplers.
const OF_SAMPLERS: [&str; 33] = [
    "_class_name",
    "_diffusers_version",
    "_name_or_path",
    "timestep_spacing",
    "steps_offset",
    "set_alpha_to_one",
    "set_alpha_to_zero",
    "skip_prk_steps",
    "solver_order",
    "solver_type",
    "solver_p",
    "algorithm_type",
    "lower_order_final",
    "euler_at_final",
    "final_sigmas_type",
    "use_karras_sigmas",
    "use_exponential_sigmas",
    "use_beta_sigmas",
    "use_lu_lambdas",
    "lambda_min_clipped",
    "interpolation_type",
    "noise_sampler_seed",
    "predict_x0",
    "disable_corrector",
    "sigma_schedule",
    "dynamic_thresholding_ratio",
    "sample_max_value",
    "flow_shift",
    "use_dynamic_shifting",
    "time_shift_type",
    "tensor_format",
    "variance_type",
    "clip_sample_range",
];

/// Keys with the only value of which the process is known.
const ONLY: [(&str, &str); 4] = [
    ("trained_betas", "null"),
    ("thresholding", "false"),
    ("use_flow_sigmas", "false"),
    ("timestep_type", "\"discrete\""),
];

/// The process, or what of it is not known.
pub(super) fn process(scheduler: &Value) -> Result<ProcessConfig, String> {
    let class = match &scheduler["_class_name"] {
        Value::String(class) => class.as_str(),
        Value::Null => return Err("it does not say which scheduler it is of (_class_name)".to_string()),
        other => return Err(format!("_class_name is {other}; it must be a name")),
    };
    if EDM.contains(&class) {
        return edm(scheduler);
    }
    match DDPM.iter().find(|(known, _)| *known == class) {
        Some(&(_, clips)) => ddpm(scheduler, class, clips),
        None => {
            let known: Vec<&str> = DDPM.iter().map(|(name, _)| *name).chain(EDM).collect();
            Err(format!("it is of a {class}; known are {}", known.join(", ")))
        }
    }
}

fn ddpm(scheduler: &Value, class: &str, clips: bool) -> Result<ProcessConfig, String> {
    known_keys(
        scheduler,
        &[
            "num_train_timesteps",
            "beta_schedule",
            "beta_start",
            "beta_end",
            "prediction_type",
            "rescale_betas_zero_snr",
            "clip_sample",
            // Of the sigmas that the betas give already.
            "sigma_min",
            "sigma_max",
        ],
    )?;
    // diffusers' own defaults.
    let pair = [number(scheduler, "beta_start", 1e-4)?, number(scheduler, "beta_end", 0.02)?];
    let betas = match text(scheduler, "beta_schedule", "linear")? {
        "linear" => Betas::Linear(pair),
        "scaled_linear" => Betas::ScaledLinear(pair),
        "squaredcos_cap_v2" => Betas::Cosine,
        other => {
            return Err(format!(
                "beta_schedule is {other}; known are linear, scaled_linear and squaredcos_cap_v2"
            ));
        }
    };
    let prediction = match text(scheduler, "prediction_type", "epsilon")? {
        "epsilon" => Prediction::Epsilon,
        "v_prediction" => Prediction::VPrediction,
        "sample" => Prediction::Sample,
        other => {
            return Err(format!("prediction_type is {other}; known are epsilon, v_prediction and sample"));
        }
    };
    let range = number(scheduler, "clip_sample_range", 1.0)?;
    let clip_sample = match flag(scheduler, "clip_sample", clips)? {
        true if range != 1.0 => Clip::Range(range),
        clips => Clip::Unit(clips),
    };
    // Only ancestral sampling adds noise of a variance.
    let variance_type = match text(scheduler, "variance_type", "fixed_small")? {
        _ if !class.starts_with("DDPM") => VarianceType::FixedLarge,
        "fixed_small" => VarianceType::FixedSmall,
        "fixed_large" => VarianceType::FixedLarge,
        other => return Err(format!("variance_type is {other}; known are fixed_small and fixed_large")),
    };
    let process = ProcessConfig::Ddpm(DdpmConfig {
        prediction,
        zero_snr: flag(scheduler, "rescale_betas_zero_snr", false)?,
        clip_sample,
        variance_type,
        ..DdpmConfig::of(whole_number(scheduler, "num_train_timesteps", 1000)?, betas, Timesteps::Index)
    });
    process.check()?;
    Ok(process)
}

fn edm(scheduler: &Value) -> Result<ProcessConfig, String> {
    known_keys(
        scheduler,
        &["num_train_timesteps", "prediction_type", "sigma_min", "sigma_max", "sigma_data", "rho"],
    )?;
    let prediction = text(scheduler, "prediction_type", "epsilon")?;
    if prediction != "epsilon" {
        return Err(format!("prediction_type is {prediction}; of an EDM only epsilon is known"));
    }
    let published = EdmConfig::published();
    let process = ProcessConfig::Edm(EdmConfig {
        sigma_min: number(scheduler, "sigma_min", 0.002)?,
        sigma_max: number(scheduler, "sigma_max", 80.0)?,
        sigma_data: number(scheduler, "sigma_data", 0.5)?,
        rho: number(scheduler, "rho", 7.0)?,
        ..published
    });
    process.check()?;
    Ok(process)
}

/// Refuses keys that are neither `own` nor known to change nothing, and values that are not known.
fn known_keys(scheduler: &Value, own: &[&str]) -> Result<(), String> {
    for (key, value) in scheduler.as_object().into_iter().flatten() {
        let only = ONLY.iter().find(|(known, _)| known == key);
        let written = value.to_string();
        match only {
            Some((_, wanted)) if value.is_null() || written == *wanted => {}
            Some((_, wanted)) => {
                let found: String = written.chars().take(60).collect();
                return Err(format!("{key} is {found}; only {wanted} is known"));
            }
            None if own.contains(&key.as_str()) || OF_SAMPLERS.contains(&key.as_str()) => {}
            None => return Err(format!("its key {} is not known", key.escape_debug())),
        }
    }
    Ok(())
}

fn text<'v>(scheduler: &'v Value, key: &str, default: &'v str) -> Result<&'v str, String> {
    match &scheduler[key] {
        Value::Null => Ok(default),
        Value::String(text) => Ok(text),
        other => Err(format!("{key} is {other}; it must be a name")),
    }
}

fn flag(scheduler: &Value, key: &str, default: bool) -> Result<bool, String> {
    match &scheduler[key] {
        Value::Null => Ok(default),
        Value::Bool(flag) => Ok(*flag),
        other => Err(format!("{key} is {other}; it must be true or false")),
    }
}

/// A number under a key of a configuration.
pub(super) fn number(config: &Value, key: &str, default: f64) -> Result<f64, String> {
    let found = &config[key];
    let number = if found.is_null() { Some(default) } else { found.as_f64() };
    number.ok_or_else(|| format!("{key} is {found}; it must be a number"))
}

/// A whole number under a key of a configuration.
pub(super) fn whole_number(config: &Value, key: &str, default: usize) -> Result<usize, String> {
    let found = &config[key];
    let whole = || found.as_u64().and_then(|number| usize::try_from(number).ok());
    let number = if found.is_null() { Some(default) } else { whole() };
    number.ok_or_else(|| format!("{key} is {found}; it must be a whole number"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn with(class: &str, changes: Value) -> Result<ProcessConfig, String> {
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
        let unclipped =
            DdpmConfig { clip_sample: Clip::Unit(false), ..DdpmConfig::published(Timesteps::Index) };
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
            ("DPMSolverMultistepScheduler", json!({ "variance_type": null }), unclipped),
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
            (
                "DDPMScheduler",
                json!({ "prediction_type": "flow" }),
                "prediction_type is flow; known are epsilon",
            ),
            ("DDPMScheduler", json!({ "thresholding": true }), "thresholding is true; only false is known"),
            (
                "DDPMScheduler",
                json!({ "trained_betas": [0.1] }),
                "trained_betas is [0.1]; only null is known",
            ),
            ("DDPMScheduler", json!({ "variance_type": "learned_range" }), "variance_type is learned_range"),
            (
                "DDPMScheduler",
                json!({ "rescale_betas_zero_snr": true }),
                "zero_snr leaves nothing of the image",
            ),
            (
                "DDPMScheduler",
                json!({ "clip_sample": "no" }),
                "clip_sample is \"no\"; it must be true or false",
            ),
            ("DDPMScheduler", json!({ "beta_warp": 1 }), "its key beta_warp is not known"),
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
            let found = with(class, changes.clone()).expect_err("not known");
            assert!(found.starts_with(message) || found.contains(message), "{class} {changes}: {found}");
        }
        assert!(process(&json!({})).expect_err("none").contains("_class_name"));
    }
}
