//! Going on from a checkpoint: only with the settings that the run was started with, since the result would otherwise
//! be neither the old run nor a new one.

use std::path::Path;

use ddae_checkpoint::{SharedSteps, TrainingState};
use ddae_model::config::{LrSchedule, RunConfig};
use serde_json::Value;

use super::options::{Amp, Options};
use super::plan::TrainingPlan;
use crate::TrainError;

/// Keys that change nothing about the weights of the steps to come, and `drop_last`, which is compared with the state.
/// `n_epoch` is another one unless the learning rate depends on it.
const FREE: [&str; 9] = [
    "save_dir",
    "save_model",
    "save_per",
    "n_sample",
    "validate_every",
    "validation_images",
    "load_epoch",
    "linear",
    "drop_last",
];

const NEW_RUN: &str = "set it back, or start a new run (--run, with --init to begin with these weights)";

/// Checks that `config` and `options` fit the run that the checkpoint at `path` is of.
///
/// # Errors
/// [`TrainError::Mismatch`] names the first setting that differs.
pub fn check(
    path: &Path,
    saved: &RunConfig,
    state: &TrainingState,
    config: &RunConfig,
    options: &Options,
    data: &str,
) -> Result<(), TrainError> {
    let mismatch = |key: &str, saved: String, given: String| TrainError::Mismatch {
        path: path.to_path_buf(),
        key: key.to_string(),
        saved,
        given,
        advice: NEW_RUN,
    };
    if let Some((key, saved, given)) = difference(saved, config) {
        return Err(mismatch(&key, saved, given));
    }
    let drops_last = config.training().drops_last();
    if drops_last != state.drop_last {
        let (saved, given) = (state.drop_last.to_string(), drops_last.to_string());
        return Err(mismatch("drop_last", saved, given));
    }
    if let Some(seed) = options.seed.filter(|&seed| seed != state.seed) {
        return Err(mismatch("seed", state.seed.to_string(), seed.to_string()));
    }
    if let Some(amp) = options.amp.filter(|amp| amp.to_string() != state.amp) {
        return Err(mismatch("amp", state.amp.clone(), amp.to_string()));
    }
    if state.data != data {
        let named = |digest: &str| format!("{} (digest {digest})", config.dataset());
        return Err(mismatch("dataset", named(&state.data), named(data)));
    }
    Ok(())
}

/// The precision of an earlier run.
///
/// # Errors
/// When this version does not know it.
pub fn amp(path: &Path, state: &TrainingState) -> Result<Amp, TrainError> {
    [Amp::Off, Amp::Bf16, Amp::Fp16].into_iter().find(|amp| amp.to_string() == state.amp).ok_or_else(|| {
        let message = format!("was trained with amp '{}', which this version does not know", state.amp);
        TrainError::Folder { path: path.to_path_buf(), message }
    })
}

/// Has a run go on with steps that are shared out as `plan` says. What changes by it, in a line, where they were shared out
/// otherwise before.
///
/// The same images a step in other parts change nothing but the order of sums. Others are other steps: the epoch goes on behind the
/// images that it has seen, as far as steps can begin there.
pub fn share_anew(plan: &TrainingPlan, state: &mut TrainingState) -> Option<String> {
    let usual = SharedSteps::of_one(plan.config.training().batch_size as u64);
    let (before, now) = (state.shared.unwrap_or(usual), plan.shared().unwrap_or(usual));
    state.shared = plan.shared();
    if before == now {
        return None;
    }
    let parts = |of: &SharedSteps| format!("{} x {}", of.ranks, of.accumulate);
    let mut note =
        format!("ranks       {} (ranks x passes a step) where it was {}: ", parts(&now), parts(&before));
    if (before.batch, before.rate_factor) == (now.batch, now.rate_factor) {
        note.push_str("the same steps, but for the order of sums");
        return Some(note);
    }
    let seen = state.step_in_epoch * before.batch;
    state.step_in_epoch = (seen / now.batch.max(1)).min(plan.steps_per_epoch);
    note.push_str(&format!(
        "{} images a step instead of {}, learning rate x {} instead of x {}, {} steps an epoch",
        now.batch, before.batch, now.rate_factor, before.rate_factor, plan.steps_per_epoch
    ));
    match seen.saturating_sub(state.step_in_epoch * now.batch) {
        0 => {}
        again => note.push_str(&format!("; {again} images of this epoch are seen again")),
    }
    Some(note)
}

/// The first key that differs, with both values.
fn difference(saved: &RunConfig, given: &RunConfig) -> Option<(String, String, String)> {
    let as_json = |config: &RunConfig| serde_json::to_value(config).unwrap_or_default();
    let epochs_are_free = saved.training().lr_schedule == LrSchedule::Constant;
    let free = |key: &str| FREE.contains(&key) || (key == "n_epoch" && epochs_are_free);
    first_difference("", &as_json(saved), &as_json(given), &free)
}

fn first_difference(
    path: &str,
    saved: &Value,
    given: &Value,
    free: &impl Fn(&str) -> bool,
) -> Option<(String, String, String)> {
    if let (Value::Object(saved), Value::Object(given)) = (saved, given) {
        let mut keys: Vec<&String> = saved.keys().collect();
        keys.extend(given.keys().filter(|key| !saved.contains_key(*key)));
        return keys.into_iter().find_map(|key| {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            let side = |map: &serde_json::Map<String, Value>| match map.get(key) {
                // JSON has no infinity, and no key here is written as null.
                Some(Value::Null) => Value::from(f64::INFINITY.to_string()),
                other => other.cloned().unwrap_or_default(),
            };
            first_difference(&path, &side(saved), &side(given), free)
        });
    }
    let shown = |value: &Value| match value.as_str() {
        Some("inf") => ".inf".to_string(),
        _ => value.to_string(),
    };
    (saved != given && !free(path) && !path.starts_with("linear."))
        .then(|| (path.to_string(), shown(saved), shown(given)))
}

#[cfg(test)]
mod tests {
    use ddae_model::config::{Config, Override};

    use super::*;

    fn demo(set: &[&str]) -> RunConfig {
        let set: Vec<Override> = set.iter().map(|text| text.parse().expect("key=value")).collect();
        let demo = include_str!("../../../configs/demo.yaml");
        Config::parse(demo, "demo.yaml", &set).expect("a configuration").into()
    }

    #[test]
    fn a_difference_is_named_by_its_path() {
        let found = difference(&demo(&[]), &demo(&["network.dropout=0.2"]));
        let (key, saved, given) = found.expect("a difference");
        assert_eq!((&*key, &*saved, &*given), ("network.dropout", "0.0", "0.2"));
        let (key, ..) = difference(&demo(&[]), &demo(&["network.ch_mults=[1,2,4]"])).expect("a difference");
        assert_eq!(key, "network.ch_mults");
        let longer = ["network.attn_channels_per_head=16"];
        let (key, saved, _) = difference(&demo(&[]), &demo(&longer)).expect("a difference");
        assert_eq!((&*key, &*saved), ("network.attn_channels_per_head", "null"));
    }

    #[test]
    fn no_limit_is_told_from_a_limit() {
        let unclipped = "grad_clip_norm=.inf";
        assert_eq!(difference(&demo(&[unclipped]), &demo(&[unclipped])), None);
        let (key, saved, given) = difference(&demo(&[unclipped]), &demo(&[])).expect("a difference");
        assert_eq!((&*key, &*saved, &*given), ("grad_clip_norm", ".inf", "1.0"));
    }

    #[test]
    fn what_does_not_touch_the_weights_may_change() {
        let changed =
            ["save_dir=elsewhere", "n_sample=4", "linear.lrate=1", "load_epoch=3", "validate_every=0"];
        assert_eq!(difference(&demo(&[]), &demo(&changed)), None);
    }

    #[test]
    fn a_run_may_be_prolonged_unless_its_learning_rate_depends_on_the_end() {
        let constant = "lr_schedule=constant";
        assert_eq!(difference(&demo(&[constant]), &demo(&[constant, "n_epoch=99"])), None);
        let (key, saved, given) =
            difference(&demo(&["n_epoch=8"]), &demo(&["n_epoch=99"])).expect("a difference");
        assert_eq!((&*key, &*saved, &*given), ("n_epoch", "8", "99"));
    }
}
