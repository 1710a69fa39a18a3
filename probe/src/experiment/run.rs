//! One experiment: choices, and the accuracy on the test set.

use ddae_classify::labels::Classes;
use serde_json::{Map, Value, json};

use super::{Classified, ExperimentPlan, Probe, Progress, Selection, Tables, Tuned};
use crate::error::{ProbeError, Result};
use crate::held_out::{HeldOut, few_shot};
use crate::paired::Discordant;
use crate::report::{Measured, Report, SelectionReport, Trial, standard_error};
use crate::source::ProbeSource;
use crate::source::feature_set::FeatureSet;
use crate::source::samples::Samples;
use crate::source::table::{Table, Views};

/// Chooses features and settings, fits on the whole training set and measures on the test set.
///
/// # Errors
/// When features do not exist or cannot be read, labels do not agree, or a probe learns nothing.
pub fn run<P: Probe>(
    source: &ProbeSource,
    probe: &P,
    plan: &ExperimentPlan,
    progress: &mut dyn Progress,
) -> Result<Report> {
    let candidates = if plan.features.is_empty() { source.available() } else { &plan.features };
    for features in candidates {
        source.check(features)?;
    }
    let classes = Classes::of(source.train.labels())?;
    let truth = classes.indices(source.test.labels(), source.test.origin())?;
    let on_test = candidates.len() > 1 && plan.selection == Selection::Published;
    let subset = plan.shots.map(|shots| few_shot(source.train.labels(), shots, plan.seed)).transpose()?;
    let subset = subset.as_deref();
    let held_out = held_out_if_needed(source, probe, plan, candidates.len(), subset)?;
    let tuned = match &held_out {
        Some(part) => {
            let tuned = tune(&source.train, probe, plan.views, candidates, part, progress)?;
            tuned.into_iter().map(Some).collect()
        }
        None => candidates.iter().map(|_| None).collect::<Vec<_>>(),
    };
    let settings: Vec<Option<P::Setting>> =
        tuned.iter().map(|tuned| tuned.as_ref().map(|tuned| tuned.setting)).collect();
    let classify = |features: &[FeatureSet], settings: &[_], progress: &mut dyn Progress| {
        let tables = features.iter().map(|features| {
            let learn = Table::new(&source.train, features, plan.views, subset)?;
            let measure = Table::new(&source.test, features, plan.views.for_test(), None)?;
            Ok(Tables { learn, measure })
        });
        probe.classify(&tables.collect::<Result<Vec<_>>>()?, settings, progress)
    };
    let mut classified = match on_test {
        true => classify(candidates, &settings, progress)?,
        false => Vec::new(),
    };
    let on_test_set: Vec<f64> = classified.iter().map(|found| correct(found, &truth)).collect();
    let accuracy = |number: usize| match on_test {
        true => on_test_set[number],
        false => tuned[number].as_ref().map_or(0.0, |tuned| tuned.accuracy),
    };
    // The first of the best: `max_by` would take the last.
    let best = (0..candidates.len()).reduce(|a, b| if accuracy(b) > accuracy(a) { b } else { a });
    let Some(best) = best else {
        return Err(ProbeError::Empty { origin: source.train.origin().to_string() });
    };
    let against_best: Vec<Discordant> = classified
        .iter()
        .map(|found| Discordant::of(&truth, &classified[best].ranks.best(), &found.ranks.best()))
        .collect();
    let classified = match on_test {
        true => classified.swap_remove(best),
        false => {
            let (features, setting) = (&candidates[best..=best], &settings[best..=best]);
            classify(features, setting, progress)?.swap_remove(0)
        }
    };
    let held_out_samples = held_out.as_ref().map_or(0, |part| part.measure.len());
    let trials = candidates.iter().zip(tuned).enumerate().map(|(number, (features, tuned))| {
        let held_out_accuracy = tuned.as_ref().map(|tuned| tuned.accuracy);
        let test_accuracy = on_test_set.get(number).copied();
        let of_held_out = |accuracy| standard_error(accuracy, held_out_samples);
        Trial {
            features: features.to_string(),
            held_out_accuracy,
            held_out_standard_error: held_out_accuracy.map(of_held_out),
            test_accuracy,
            test_standard_error: test_accuracy.map(|accuracy| standard_error(accuracy, truth.len())),
            samples: None,
            against_best: against_best.get(number).filter(|_| number != best).cloned(),
            settings: tuned.map_or_else(Vec::new, |tuned| {
                let tried = tuned.tried.into_iter();
                tried.map(|(setting, accuracy)| (setting, accuracy, of_held_out(accuracy))).collect()
            }),
        }
    });
    let choice = SelectionReport {
        features: match (candidates.len(), plan.selection) {
            (1, _) if plan.features.is_empty() => "the only ones",
            (1, _) => "given",
            (_, Selection::HeldOut) => "chosen on held-out training samples",
            (_, Selection::Published) => "chosen on the test set",
        },
        held_out_samples,
        trials: trials.collect(),
    };
    let measured = Measured { truth: &truth, ranks: &classified.ranks, by_setting: &classified.by_setting };
    let mut report = Report::new(probe, source, &candidates[best], &classes, &measured, choice)?;
    report.protocol = protocol(plan, source, classified.protocol);
    if let Some(subset) = subset {
        report.protocol.insert("training_samples".to_string(), json!(subset.len()));
    }
    report.warnings.extend(classified.warnings);
    Ok(report)
}

/// The share of test samples whose class was found.
fn correct(classified: &Classified, truth: &[usize]) -> f64 {
    let found = classified.ranks.best().iter().zip(truth).filter(|(found, class)| found == class).count();
    found as f64 / truth.len().max(1) as f64
}

/// What is chosen on a held-out part, if anything: features, or a setting of the probe; and how to do without.
pub(super) fn open_choice<P: Probe>(
    probe: &P,
    plan: &ExperimentPlan,
    candidates: usize,
) -> Option<(&'static str, &'static str)> {
    if candidates > 1 && plan.selection == Selection::HeldOut {
        return Some(("features", "name one with --features"));
    }
    probe.open_setting()
}

/// Draws the held-out part if anything is chosen there.
fn held_out_if_needed<P: Probe>(
    source: &ProbeSource,
    probe: &P,
    plan: &ExperimentPlan,
    candidates: usize,
    subset: Option<&[usize]>,
) -> Result<Option<HeldOut>> {
    let Some((purpose, advice)) = open_choice(probe, plan, candidates) else { return Ok(None) };
    let labels = source.train.labels();
    let Some(subset) = subset else {
        return HeldOut::draw(labels, plan.held_out, plan.seed, purpose, advice).map(Some);
    };
    let labels: Vec<i64> = subset.iter().map(|&sample| labels[sample]).collect();
    let HeldOut { fit, measure } = HeldOut::draw(&labels, plan.held_out, plan.seed, purpose, advice)?;
    let of = |positions: Vec<usize>| positions.into_iter().map(|position| subset[position]).collect();
    Ok(Some(HeldOut { fit: of(fit), measure: of(measure) }))
}

/// Learns from one part of the training set and measures on the other.
///
/// # Errors
/// When features cannot be read or nothing can be learned.
pub(crate) fn tune<P: Probe>(
    train: &Samples,
    probe: &P,
    views: Views,
    candidates: &[FeatureSet],
    part: &HeldOut,
    progress: &mut dyn Progress,
) -> Result<Vec<Tuned<P::Setting>>> {
    let tables = candidates.iter().map(|features| {
        let learn = Table::new(train, features, views, Some(&part.fit))?;
        let measure = Table::new(train, features, views.for_test(), Some(&part.measure))?;
        Ok(Tables { learn, measure })
    });
    probe.tune(&tables.collect::<Result<Vec<_>>>()?, progress)
}

/// The protocol: the probe's part and what all probes share.
fn protocol(
    plan: &ExperimentPlan,
    source: &ProbeSource,
    mut protocol: Map<String, Value>,
) -> Map<String, Value> {
    for (name, value) in [
        ("train_views", describe_views(plan.views, source.train.views())),
        ("test_views", describe_views(plan.views.for_test(), source.test.views())),
        ("stored_as", json!(source.train.dtype())),
        ("selection", json!(plan.selection.name())),
        ("held_out", json!(plan.held_out)),
        ("seed", json!(plan.seed)),
    ] {
        protocol.insert(name.to_string(), value);
        if let Some(read_as) = source.train.read_as().filter(|_| name == "stored_as") {
            protocol.insert("read_as".to_string(), json!(read_as));
        }
    }
    if let Some(shots) = plan.shots {
        protocol.insert("shots".to_string(), json!(shots));
    }
    protocol
}

fn describe_views(views: Views, count: usize) -> Value {
    if count == 1 { json!("the only one") } else { json!(format!("{} of {count}", views.name())) }
}
