//! What is not in a report, and which command makes it.

use ddae_base::shell;
use serde::Serialize;

use super::Report;
use super::blocks::{Block, Section};
use crate::result::{Measured, place};

/// A part that is not there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// What it would show.
    pub part: String,
    /// Why it is not there.
    pub reason: String,
    /// The command that makes it, or the option that takes it.
    pub command: String,
}

/// Everything that a report could have and this one has not.
pub(super) fn find(report: &Report) -> Vec<Missing> {
    let mut found = Vec::new();
    let mut add = |part: &str, reason: &str, command: String| {
        found.push(Missing { part: part.to_string(), reason: reason.to_string(), command });
    };
    let first = report.runs.first().map_or_else(|| "RUN".to_string(), |run| shell::word(&run.folder));
    // Classifiers have no features to export.
    let of_features = match report.runs.is_empty() {
        true => Some("RUN".to_string()),
        false => report.runs.iter().find(|run| !run.is_classifier()).map(|run| shell::word(&run.folder)),
    };
    if report.runs.is_empty() {
        add("loss curves and samples", "no run was given", "ddae-probe report RUN".to_string());
    }
    for run in &report.runs {
        let folder = shell::word(&run.folder);
        if run.losses.is_empty() {
            add(
                &format!("{}: loss curve", run.name),
                "stats.jsonl has no line",
                format!("ddae-train list {folder}"),
            );
        }
        if run.validations.is_empty() {
            let command = format!("{} --validate-every 1 --hold-out 0.05", run.command_into("NEW"));
            add(&format!("{}: validation losses", run.name), "none was measured while it trained", command);
        }
        if run.sheets.is_empty() && !run.is_classifier() {
            let command = format!(
                "ddae-export {folder} --graph sampler -o sampler.onnx && ddae-infer sample sampler.onnx --seeds 0-63 --sheet samples.png -o images"
            );
            add(&format!("{}: sheets of samples", run.name), "samples/ has none (n_sample 0)", command);
        }
    }
    if let Some(run) = of_features {
        of_run_with_features(report, &run, &mut add);
    }
    if report.real.is_none() {
        let command = format!("ddae-probe report {first} --data SOURCE");
        add("real images", "no data set was given", command);
    }
    found
}

/// What features of a run would add; `run` is its folder, a word of a shell.
fn of_run_with_features(report: &Report, run: &str, add: &mut impl FnMut(&str, &str, String)) {
    let probes: Vec<_> = report
        .results
        .iter()
        .filter_map(|result| match result {
            Measured::Probe(probe) => Some(probe),
            _ => None,
        })
        .collect();
    let extract = format!(
        "ddae-export {run} --graph features --taps all -o features.onnx && ddae-infer features features.onnx --split train \
         -o train && ddae-infer features features.onnx --split test -o test"
    );
    if probes.is_empty() {
        let command =
            format!("{extract} && ddae-probe knn --train train.h5 --test test.h5 --json > knn.json");
        add("accuracies", "no result was given with --probe", command);
    }
    let is_grid = |trials: &[crate::result::Trial]| {
        trials.iter().filter(|trial| place(&trial.features).is_some()).count() > 1
    };
    if !probes.iter().any(|probe| is_grid(&probe.selection.trials)) {
        let command = format!("ddae-probe grid {run} -o grid.json");
        add("accuracy by layer and timestep", "no result chose among several features", command);
    }
    if !report.results.iter().any(|result| matches!(result, Measured::Noise(_))) {
        let command = "ddae-infer features features.onnx --split train --timesteps 1:951:50 -o noised_train && ddae-infer features \
                       features.onnx --split test --timesteps 1:951:50 -o noised_test && ddae-probe noise-mlp --train \
                       noised_train.h5 --test noised_test.h5 --json > noise.json";
        add("accuracy against noise", "no result of noise-mlp was given with --probe", command.to_string());
    }
    if !report.results.iter().any(|result| matches!(result, Measured::Contrast(_))) {
        let command = "ddae-infer features features.onnx --split train --views 2 -o views && ddae-probe contrastive views.h5 --json > contrastive.json";
        add(
            "alignment and uniformity",
            "no result of contrastive was given with --probe",
            command.to_string(),
        );
    }
    match &report.features {
        None => add(
            "features in a plane and nearest neighbours",
            "no features were given",
            "ddae-probe report --train train.h5 --test test.h5".to_string(),
        ),
        Some(view) if view.atlas.is_empty() => {
            let features = [&view.train, &view.test].map(shell::word);
            let command =
                format!("ddae-probe report --train {} --test {} --data SOURCE", features[0], features[1]);
            add("images of the samples", "no data set was given", command);
        }
        Some(_) => {}
    }
}

pub(super) fn section(missing: &[Missing]) -> Option<Section> {
    let blocks =
        if missing.is_empty() { Vec::new() } else { vec![Block::Missing { parts: missing.to_vec() }] };
    Section::new(
        "missing",
        "Not in this report",
        "What a report can show beside this, and what makes it.",
        blocks,
    )
}
