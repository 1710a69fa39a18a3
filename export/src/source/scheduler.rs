//! What `scheduler_config.json` of diffusers says of the process that a network was trained in.
//!
//! The list is of what is known: schedulers, keys and values that are not on it are refused by name. What only sets the steps
//! of diffusers' own samplers (their spacing, orders, sigmas) says nothing of the network, and is not taken: `ddae-infer` has
//! samplers of its own.

use std::collections::BTreeSet;

use ddae_model::config::{
    Betas, Clip, DdpmConfig, EdmConfig, Prediction, ProcessConfig, Timesteps, VarianceType,
};
use serde_json::Value;

/// A scheduler of the discrete process.
struct Scheduler {
    class: &'static str,
    /// Whether it clips images unless told otherwise; none where it has no such key, and never clips.
    clips: Option<bool>,
    /// Whether it knows `rescale_betas_zero_snr`.
    rescales: bool,
    /// The first and last variance unless told otherwise.
    betas: [f64; 2],
}

const fn scheduler(class: &'static str, clips: Option<bool>, rescales: bool, betas: [f64; 2]) -> Scheduler {
    Scheduler { class, clips, rescales, betas }
}

/// The variances of DDPM, and those of Stable Diffusion.
const PUBLISHED: [f64; 2] = [1e-4, 0.02];
const STABLE: [f64; 2] = [0.00085, 0.012];

/// As diffusers 0.42 has them.
const DDPM: [Scheduler; 17] = [
    scheduler("DDPMScheduler", Some(true), true, PUBLISHED),
    scheduler("DDPMParallelScheduler", Some(true), true, PUBLISHED),
    scheduler("DDIMScheduler", Some(true), true, PUBLISHED),
    scheduler("DDIMParallelScheduler", Some(true), true, PUBLISHED),
    scheduler("DDIMInverseScheduler", Some(true), true, PUBLISHED),
    scheduler("PNDMScheduler", None, false, PUBLISHED),
    scheduler("LMSDiscreteScheduler", None, false, PUBLISHED),
    scheduler("EulerDiscreteScheduler", None, true, PUBLISHED),
    scheduler("EulerAncestralDiscreteScheduler", None, true, PUBLISHED),
    scheduler("HeunDiscreteScheduler", Some(false), false, STABLE),
    scheduler("KDPM2DiscreteScheduler", None, false, STABLE),
    scheduler("KDPM2AncestralDiscreteScheduler", None, false, STABLE),
    scheduler("DPMSolverMultistepScheduler", None, true, PUBLISHED),
    scheduler("DPMSolverSinglestepScheduler", None, false, PUBLISHED),
    scheduler("DPMSolverSDEScheduler", None, false, STABLE),
    scheduler("DEISMultistepScheduler", None, false, PUBLISHED),
    scheduler("UniPCMultistepScheduler", None, true, PUBLISHED),
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

/// Why a scheduler is not taken.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Refusal {
    pub problem: String,
    /// Whether it is a detail that is not read, and not another process or another prediction.
    pub is_detail: bool,
}

impl From<String> for Refusal {
    fn from(problem: String) -> Refusal {
        Refusal { problem, is_detail: true }
    }
}

impl Refusal {
    fn other(problem: String) -> Refusal {
        Refusal { problem, is_detail: false }
    }
}

/// The process, or what of it is not known.
pub(super) fn process(scheduler: &Value) -> Result<ProcessConfig, Refusal> {
    let class = match &scheduler["_class_name"] {
        Value::String(class) => class.as_str(),
        Value::Null => {
            return Err("it does not say which scheduler it is of (_class_name)".to_string().into());
        }
        other => {
            let other = excerpt(&other.to_string());
            return Err(format!("_class_name is {other}; it must be a name").into());
        }
    };
    if EDM.contains(&class) {
        return edm(scheduler);
    }
    match DDPM.iter().find(|known| known.class == class) {
        Some(known) => ddpm(scheduler, known),
        None => {
            let known: Vec<&str> = DDPM.iter().map(|known| known.class).chain(EDM).collect();
            let class = excerpt(class);
            Err(Refusal::other(format!("it is of a {class}; known are {}", known.join(", "))))
        }
    }
}

/// The keys of a process that are others in `given`, with their values.
pub(super) fn differences(process: &ProcessConfig, given: &ProcessConfig) -> Vec<String> {
    let [process, given] = [process, given].map(|process| serde_json::to_value(process).unwrap_or_default());
    if process["model_type"] != given["model_type"] {
        return vec![format!("model_type {}", process["model_type"].as_str().unwrap_or_default())];
    }
    let [process, given] = [&process, &given].map(|process| process["diffusion"].as_object());
    let keys: BTreeSet<&String> = process.into_iter().chain(given).flat_map(|keys| keys.keys()).collect();
    let shown = |key: &String| match process.and_then(|keys| keys.get(key)) {
        Some(Value::String(text)) => format!("{key} {text}"),
        Some(value) => format!("{key} {value}"),
        // What a configuration does not write is as it is elsewhere.
        None => format!("{key} as usual"),
    };
    let is_other =
        |key: &&String| process.and_then(|keys| keys.get(*key)) != given.and_then(|keys| keys.get(*key));
    keys.into_iter().filter(is_other).map(shown).collect()
}

fn ddpm(scheduler: &Value, known: &Scheduler) -> Result<ProcessConfig, Refusal> {
    let class = known.class;
    known_keys(
        scheduler,
        &[
            "num_train_timesteps",
            "beta_schedule",
            "beta_start",
            "beta_end",
            "prediction_type",
            "predict_epsilon",
            "rescale_betas_zero_snr",
            "clip_sample",
            // Of the sigmas that the betas give already.
            "sigma_min",
            "sigma_max",
        ],
    )?;
    // diffusers' own defaults.
    let [first, last] = known.betas;
    let pair = [number(scheduler, "beta_start", first)?, number(scheduler, "beta_end", last)?];
    let betas = match text(scheduler, "beta_schedule", "linear")? {
        "linear" => Betas::Linear(pair),
        "scaled_linear" => Betas::ScaledLinear(pair),
        "squaredcos_cap_v2" => Betas::Cosine,
        other => {
            let other = excerpt(other);
            return Err(format!(
                "beta_schedule is {other}; known are linear, scaled_linear and squaredcos_cap_v2"
            )
            .into());
        }
    };
    let zero_snr = match (flag(scheduler, "rescale_betas_zero_snr", false)?, known.rescales) {
        (true, false) => {
            let message = format!("rescale_betas_zero_snr is true, which is nothing to a {class}");
            return Err(message.into());
        }
        (zero_snr, _) => zero_snr,
    };
    // A key that another scheduler left behind says nothing.
    let clip_sample = match known.clips {
        None => Clip::Unit(false),
        Some(default) => {
            let range = number(scheduler, "clip_sample_range", 1.0)?;
            match flag(scheduler, "clip_sample", default)? {
                true if range != 1.0 => Clip::Range(range),
                clips => Clip::Unit(clips),
            }
        }
    };
    // Only ancestral sampling adds noise of a variance.
    let variance_type = match text(scheduler, "variance_type", "fixed_small")? {
        _ if !class.starts_with("DDPM") => VarianceType::FixedLarge,
        "fixed_small" => VarianceType::FixedSmall,
        "fixed_large" => VarianceType::FixedLarge,
        other => {
            let other = excerpt(other);
            return Err(format!("variance_type is {other}; known are fixed_small and fixed_large").into());
        }
    };
    let process = ProcessConfig::Ddpm(DdpmConfig {
        prediction: prediction(scheduler)?,
        zero_snr,
        clip_sample,
        variance_type,
        ..DdpmConfig::of(whole_number(scheduler, "num_train_timesteps", 1000)?, betas, Timesteps::Index)
    });
    process.check()?;
    Ok(process)
}

/// What the network finds. Older files say it by `predict_epsilon`.
fn prediction(scheduler: &Value) -> Result<Prediction, Refusal> {
    let older = match &scheduler["predict_epsilon"] {
        Value::Null => None,
        Value::Bool(is_epsilon) => Some(if *is_epsilon { "epsilon" } else { "sample" }),
        other => {
            let other = excerpt(&other.to_string());
            return Err(Refusal::other(format!("predict_epsilon is {other}; it must be true or false")));
        }
    };
    let found = text(scheduler, "prediction_type", older.unwrap_or("epsilon"))?;
    if older.is_some_and(|older| older != found) {
        let (older, found) = (&scheduler["predict_epsilon"], excerpt(found));
        return Err(Refusal::other(format!("predict_epsilon is {older}, but prediction_type is {found}")));
    }
    match found {
        "epsilon" => Ok(Prediction::Epsilon),
        "v_prediction" => Ok(Prediction::VPrediction),
        "sample" => Ok(Prediction::Sample),
        other => Err(Refusal::other(format!(
            "prediction_type is {}; known are epsilon, v_prediction and sample",
            excerpt(other)
        ))),
    }
}

fn edm(scheduler: &Value) -> Result<ProcessConfig, Refusal> {
    known_keys(
        scheduler,
        &["num_train_timesteps", "prediction_type", "sigma_min", "sigma_max", "sigma_data", "rho"],
    )?;
    let prediction = text(scheduler, "prediction_type", "epsilon")?;
    if prediction != "epsilon" {
        let prediction = excerpt(prediction);
        let problem = format!("prediction_type is {prediction}; of an EDM only epsilon is known");
        return Err(Refusal::other(problem));
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
                return Err(format!("{key} is {}; only {wanted} is known", excerpt(&written)));
            }
            // What is not set changes nothing.
            None if value.is_null() => {}
            None if own.contains(&key.as_str()) || OF_SAMPLERS.contains(&key.as_str()) => {}
            None => return Err(format!("its key {} is not known", excerpt(key))),
        }
    }
    Ok(())
}

fn text<'v>(scheduler: &'v Value, key: &str, default: &'v str) -> Result<&'v str, String> {
    match &scheduler[key] {
        Value::Null => Ok(default),
        Value::String(text) => Ok(text),
        other => Err(format!("{key} is {}; it must be a name", excerpt(&other.to_string()))),
    }
}

/// A truth under a key of a configuration; `null` is none, as in Python.
pub(super) fn flag(config: &Value, key: &str, default: bool) -> Result<bool, String> {
    match config.get(key) {
        None => Ok(default),
        Some(Value::Null) => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(other) => Err(format!("{key} is {}; it must be true or false", excerpt(&other.to_string()))),
    }
}

/// The beginning of what a file says, in one line.
pub(super) fn excerpt(text: &str) -> String {
    text.chars().take(60).collect::<String>().escape_debug().to_string().replace("\\\"", "\"")
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
mod tests;
