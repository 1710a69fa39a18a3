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
    /// Program and arguments of ours, in groups, run in the folder of the data.
    ours: (&'static str, &'static [&'static [&'static str]]),
    /// Names for `peers.py`, and how many times as fast ours has to be.
    peers: &'static [(&'static str, f64)],
    /// Seconds that ours may take.
    bound: Option<f64>,
    /// Where the answer is in the JSON of ours, and its name in that of a peer; by how much they may differ.
    answers: &'static [(&'static str, &'static str, Tolerance)],
}

/// By how much answers may differ.
#[derive(Clone, Copy, Debug)]
enum Tolerance {
    Absolute(f64),
    Relative(f64),
    /// Ours may be lower by any amount, and higher by this share.
    NoHigher(f64),
}

/// The penalised objective, which is what both minimise: scikit-learn stops at a gradient of 1e-4, above the minimum (of 200
/// classes by 0.3 %), where some of ten thousand test rows are told otherwise.
const LOGISTIC: [(&str, &str, Tolerance); 2] = [
    ("/protocol/mean_training_objective", "objective", Tolerance::NoHigher(1e-4)),
    ("/accuracy", "accuracy", Tolerance::Absolute(5e-3)),
];

/// Rows, features and heads of `heads_speed`, and in how many times the time of one all are wanted.
const HEADS: ([&str; 3], f64) = (["50000", "512", "100"], 3.0);

/// Features that are made up, with their labels.
const TEN_CLASSES: [&str; 8] = [
    "--train",
    "train10.npy",
    "--labels",
    "train10_labels.npy",
    "--test",
    "test10.npy",
    "--test-labels",
    "test10_labels.npy",
];
const TWO_HUNDRED_CLASSES: [&str; 8] = [
    "--train",
    "train200.npy",
    "--labels",
    "train200_labels.npy",
    "--test",
    "test200.npy",
    "--test-labels",
    "test200_labels.npy",
];

const WORKS: [Work; 4] = [
    Work {
        name: "k-NN, 10,000 x 50,000 x 512, k = 200",
        ours: ("ddae-probe", &[&["knn"], &TEN_CLASSES, &["-k", "200", "--json", "--quiet"]]),
        peers: &[("faiss-knn", 1.0), ("scikit-learn-knn", 3.0)],
        bound: None,
        answers: &[("/accuracy", "accuracy", Tolerance::Absolute(1.5e-4))],
    },
    Work {
        name: "logistic regression, 50,000 x 512, 10 classes",
        ours: ("ddae-probe", &[&["logistic"], &TEN_CLASSES, &["--c", "1", "--json", "--quiet"]]),
        peers: &[("scikit-learn-logistic10", 1.0)],
        bound: None,
        answers: &LOGISTIC,
    },
    Work {
        name: "logistic regression, 50,000 x 512, 200 classes",
        ours: ("ddae-probe", &[&["logistic"], &TWO_HUNDRED_CLASSES, &["--c", "1", "--json", "--quiet"]]),
        peers: &[("scikit-learn-logistic200", 1.0)],
        bound: None,
        answers: &LOGISTIC,
    },
    Work {
        name: "Fréchet distance of 2,048 features",
        ours: ("ddae-infer", &[&["fid", "real.npz", "fake.npz", "--json", "--quiet"]]),
        peers: &[("scipy-frechet", 1.0)],
        bound: Some(2.0),
        answers: &[("/fid", "distance", Tolerance::Relative(1e-4))],
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
        let printed = run(command.args(arguments.concat()).current_dir(folder))?;
        times.ours = times.ours.min(start.elapsed().as_secs_f64());
        let ours: Value = serde_json::from_str(&printed).with_context(|| format!("{program}: {printed}"))?;
        for (name, seconds, _) in &mut times.peers {
            interrupt::check()?;
            let start = Instant::now();
            let theirs = peers.run(name, folder)?;
            *seconds = seconds.min(start.elapsed().as_secs_f64());
            for (pointer, key, tolerance) in work.answers {
                agree(ours.pointer(pointer), theirs.get(key), *tolerance)
                    .with_context(|| format!("{}: {pointer} of ours and {key} of {name}", work.name))?;
            }
        }
    }
    Ok(times)
}

/// Whether two answers are the same.
fn agree(ours: Option<&Value>, theirs: Option<&Value>, tolerance: Tolerance) -> Result<()> {
    let (Some(ours), Some(theirs)) = (ours.and_then(Value::as_f64), theirs.and_then(Value::as_f64)) else {
        bail!("{ours:?} and {theirs:?} are not two numbers")
    };
    let (difference, allowed) = match tolerance {
        Tolerance::Absolute(allowed) => ((ours - theirs).abs(), allowed),
        Tolerance::Relative(share) => ((ours - theirs).abs(), share * theirs.abs()),
        Tolerance::NoHigher(share) => (ours - theirs, share * theirs.abs()),
    };
    if difference.is_nan() || difference > allowed {
        bail!("{ours} and {theirs} are not the same")
    }
    Ok(())
}

/// What `heads_speed` prints last: seconds of one head, and of all.
#[derive(Debug, serde::Deserialize)]
pub struct Heads {
    heads: usize,
    one: f64,
    all: f64,
}

/// Times the linear heads of all layers of a file against one of them, once: it takes minutes and 11 GB on the disk.
pub fn measure_heads(measure: &Measure) -> Result<Heads> {
    eprintln!("# Measuring linear heads side by side, once");
    let printed = run(Command::new(measure.programs.path("heads_speed")?).args(HEADS.0))?;
    let last = printed.lines().last().unwrap_or_default();
    serde_json::from_str(last).with_context(|| format!("heads_speed printed {last}"))
}

/// Their times as text.
pub fn heads_table(Heads { heads, one, all }: &Heads) -> String {
    let ratio = all / one;
    format!(
        "{heads} linear heads of one file: {all:.1} s, {ratio:.1} times as long as one ({one:.1} s), at most {}: {}\n",
        HEADS.1,
        outcome(ratio <= HEADS.1)
    )
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
    fn heads_are_held_against_one() {
        let text = |all| heads_table(&Heads { heads: 100, one: 2.0, all });
        assert_eq!(
            text(90.0),
            "100 linear heads of one file: 90.0 s, 45.0 times as long as one (2.0 s), at most 3: missed\n"
        );
        assert!(text(6.0).ends_with(": met\n"));
    }

    #[test]
    fn answers_that_differ_are_told() {
        use Tolerance::{Absolute, NoHigher, Relative};

        let message =
            |ours: Value, theirs: Value, tolerance| message_of(agree(Some(&ours), Some(&theirs), tolerance));
        assert_eq!(message(json!(0.5), json!(0.51), Absolute(1e-3)), "0.5 and 0.51 are not the same");
        assert!(agree(Some(&json!(1.184)), Some(&json!(1.188)), NoHigher(1e-4)).is_ok());
        assert_eq!(message(json!(1.188), json!(1.184), NoHigher(1e-4)), "1.188 and 1.184 are not the same");
        assert_eq!(message(json!(0.5), json!(0.5002), Absolute(1.5e-4)), "0.5 and 0.5002 are not the same");
        assert_eq!(
            message(json!(0.001), json!(0.00101), Relative(1e-3)),
            "0.001 and 0.00101 are not the same"
        );
        assert!(message(json!(null), json!(1.0), Absolute(1.0)).ends_with("are not two numbers"));
        assert!(agree(Some(&json!(0.9)), Some(&json!(0.9001)), Absolute(1.5e-4)).is_ok());
        assert!(agree(Some(&json!(100.0)), Some(&json!(100.5)), Relative(1e-2)).is_ok());
    }
}
