//! Probes as whole processes, beside what others do the same work with.

use std::fmt::Write;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::Measure;
use super::peers::Peers;
use crate::cargo::run;
use crate::interrupt;

/// A piece of work with those who do it.
struct Work {
    name: &'static str,
    /// Program and arguments of ours, run in the folder of the data.
    ours: (&'static str, &'static [&'static str]),
    /// Names for `peers.py`, and how many times as fast ours has to be.
    peers: &'static [(&'static str, f64)],
    /// Seconds that ours may take.
    bound: Option<f64>,
    /// Where the answer is in the JSON of ours, and its name in that of a peer; by how much they may differ.
    answers: &'static [(&'static str, &'static str, f64)],
}

const WORKS: [Work; 4] = [
    Work {
        name: "k-NN, 10,000 x 50,000 x 512, k = 200",
        ours: (
            "ddae-probe",
            &[
                "knn",
                "--train",
                "train10.npy",
                "--labels",
                "train10_labels.npy",
                "--test",
                "test10.npy",
                "--test-labels",
                "test10_labels.npy",
                "-k",
                "200",
                "--json",
                "--quiet",
            ],
        ),
        peers: &[("faiss-knn", 1.0), ("scikit-learn-knn", 3.0)],
        bound: None,
        answers: &[("/accuracy", "accuracy", 0.0)],
    },
    Work {
        name: "logistic regression, 50,000 x 512, 10 classes",
        ours: (
            "ddae-probe",
            &[
                "logistic",
                "--train",
                "train10.npy",
                "--labels",
                "train10_labels.npy",
                "--test",
                "test10.npy",
                "--test-labels",
                "test10_labels.npy",
                "--c",
                "1",
                "--json",
                "--quiet",
            ],
        ),
        peers: &[("scikit-learn-logistic10", 1.0)],
        bound: None,
        answers: &[("/protocol/mean_training_loss", "loss", 1e-3), ("/accuracy", "accuracy", 2e-3)],
    },
    Work {
        name: "logistic regression, 50,000 x 512, 200 classes",
        ours: (
            "ddae-probe",
            &[
                "logistic",
                "--train",
                "train200.npy",
                "--labels",
                "train200_labels.npy",
                "--test",
                "test200.npy",
                "--test-labels",
                "test200_labels.npy",
                "--c",
                "1",
                "--json",
                "--quiet",
            ],
        ),
        peers: &[("scikit-learn-logistic200", 1.0)],
        bound: None,
        answers: &[("/protocol/mean_training_loss", "loss", 1e-3), ("/accuracy", "accuracy", 2e-3)],
    },
    Work {
        name: "Fréchet distance of 2,048 features",
        ours: ("ddae-infer", &["fid", "real.npz", "fake.npz", "--json", "--quiet"]),
        peers: &[("scipy-frechet", 1.0)],
        bound: Some(2.0),
        answers: &[("/fid", "distance", 1e-4)],
    },
];

/// The best times of one work.
pub struct Times {
    name: &'static str,
    ours: f64,
    bound: Option<f64>,
    /// Name, seconds, how many times as fast ours has to be.
    peers: Vec<(&'static str, f64, f64)>,
}

/// Times every work in rounds in which ours and the others take turns, the best of which counts, and compares the
/// answers.
pub fn measure(measure: &Measure) -> Result<Vec<Times>> {
    let peers = Peers::install()?;
    // So that the temporary folder goes away on Ctrl-C.
    interrupt::listen();
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let folder = folder.path();
    eprintln!("# Making features in {}", folder.display());
    peers.run("make", folder)?;
    WORKS.iter().map(|work| time(work, measure, &peers, folder)).collect()
}

fn time(work: &Work, measure: &Measure, peers: &Peers, folder: &Path) -> Result<Times> {
    eprintln!("# Measuring {}, {} rounds", work.name, measure.rounds);
    let (program, arguments) = work.ours;
    let mut times = Times {
        name: work.name,
        ours: f64::INFINITY,
        bound: work.bound,
        peers: work.peers.iter().map(|&(name, ratio)| (name, f64::INFINITY, ratio)).collect(),
    };
    for _ in 0..measure.rounds {
        interrupt::check()?;
        let start = Instant::now();
        let mut command = Command::new(measure.programs.path(program)?);
        let printed = run(command.args(arguments).current_dir(folder))?;
        times.ours = times.ours.min(start.elapsed().as_secs_f64());
        let ours: Value = serde_json::from_str(&printed).with_context(|| format!("{program}: {printed}"))?;
        for (name, seconds, _) in &mut times.peers {
            interrupt::check()?;
            let start = Instant::now();
            let theirs = peers.run(name, folder)?;
            *seconds = seconds.min(start.elapsed().as_secs_f64());
            for (pointer, key, difference) in work.answers {
                agree(ours.pointer(pointer), theirs.get(key), *difference)
                    .with_context(|| format!("{}: {pointer} of ours and {key} of {name}", work.name))?;
            }
        }
    }
    Ok(times)
}

/// Whether two answers are the same up to a relative difference; of accuracies, one of ten thousand may be another, where
/// votes tie or neighbours are equally far.
fn agree(ours: Option<&Value>, theirs: Option<&Value>, difference: f64) -> Result<()> {
    let (Some(ours), Some(theirs)) = (ours.and_then(Value::as_f64), theirs.and_then(Value::as_f64)) else {
        bail!("{ours:?} and {theirs:?} are not two numbers")
    };
    if (ours - theirs).abs() > difference * theirs.abs() + 3e-4 {
        bail!("{ours} and {theirs} are not the same")
    }
    Ok(())
}

/// The times as text.
pub fn table(times: &[Times]) -> String {
    let mut text = "probes, whole processes, the best of the rounds\n".to_string();
    let mut line = |what: &str, seconds: f64, verdict: String| {
        // Writing into a string cannot fail.
        let _ = write!(text, "{}", format!("\n  {what:48}{seconds:>8.2} s   {verdict}").trim_end());
    };
    for times in times {
        let verdict = times.bound.map(|bound| format!("at most {bound}: {}", outcome(times.ours <= bound)));
        line(times.name, times.ours, verdict.unwrap_or_default());
        for (name, seconds, wanted) in &times.peers {
            let ratio = seconds / times.ours;
            let verdict = format!("{ratio:.2} times ours, at least {wanted}: {}", outcome(ratio >= *wanted));
            line(&format!("  {name}"), *seconds, verdict);
        }
    }
    text
}

fn outcome(met: bool) -> &'static str {
    if met { "met" } else { "missed" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::message_of;
    use serde_json::json;

    #[test]
    fn times_are_held_against_each_other() {
        let times = [
            Times {
                name: "neighbours",
                ours: 2.0,
                bound: None,
                peers: vec![("a", 1.9, 1.0), ("b", 6.0, 3.0)],
            },
            Times { name: "distance", ours: 2.5, bound: Some(2.0), peers: vec![] },
        ];
        let spaced = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let lines: Vec<String> = table(&times).lines().skip(2).map(spaced).collect();
        assert_eq!(
            lines,
            [
                "neighbours 2.00 s",
                "a 1.90 s 0.95 times ours, at least 1: missed",
                "b 6.00 s 3.00 times ours, at least 3: met",
                "distance 2.50 s at most 2: missed",
            ]
        );
    }

    #[test]
    fn answers_that_differ_are_told() {
        let message = |ours: Value, theirs: Value, difference| {
            message_of(agree(Some(&ours), Some(&theirs), difference))
        };
        assert_eq!(message(json!(0.5), json!(0.51), 1e-3), "0.5 and 0.51 are not the same");
        assert!(message(json!(null), json!(1.0), 1.0).ends_with("are not two numbers"));
        assert!(agree(Some(&json!(100.0)), Some(&json!(100.5)), 1e-2).is_ok());
    }
}
