//! `--predictions`, `--compare` and `ddae-probe compare`.

use std::fs;

use serde_json::Value;

use crate::files::{BOTH, Features, folder};
use crate::{probe, refuses, report};

fn with<'a>(command: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&[command], BOTH.as_slice(), more].concat()
}

/// The rows of a table of predictions: label and prediction.
fn rows(text: &str) -> Vec<[i64; 2]> {
    let number =
        |line: &str, column| line.split(',').nth(column).expect("a column").parse().expect("a number");
    text.lines().skip(1).map(|line| [number(line, 1), number(line, 2)]).collect()
}

#[test]
fn predictions_are_those_of_the_confusion_matrix() {
    let folder = folder();
    let found = report(folder.path(), &with("knn", &["--features", "t11/out_6", "--predictions", "a.csv"]));
    let text = fs::read_to_string(folder.path().join("a.csv")).expect("a table");
    assert!(text.starts_with("sample,label,prediction\n0,0,"), "{text}");
    let mut confusion = vec![vec![0; 4]; 4];
    for [label, prediction] in rows(&text) {
        confusion[label as usize][prediction as usize] += 1;
    }
    assert_eq!(found["confusion"], serde_json::json!(confusion));
}

#[test]
fn two_probes_are_compared_sample_by_sample() {
    let folder = folder();
    for (features, file) in [
        ("t11/out_6", "a.parquet"),
        ("t21/out_7", "b.parquet"),
        ("t11/out_6", "a.csv"),
        ("t21/out_7", "b.csv"),
    ] {
        probe(folder.path(), &with("knn", &["--features", features, "--predictions", file])).success();
    }
    let found = report(folder.path(), &["compare", "a.parquet", "b.parquet"]);
    let [a, b] =
        ["a.csv", "b.csv"].map(|name| rows(&fs::read_to_string(folder.path().join(name)).expect("a table")));
    let mut counts = [[0_u64; 2]; 2];
    for ([label, first], [_, second]) in a.into_iter().zip(b) {
        counts[usize::from(first == label)][usize::from(second == label)] += 1;
    }
    assert_eq!([&found["neither"], &found["only_second"]], counts[0].each_ref().map(|n| n));
    assert_eq!([&found["only_first"], &found["both"]], counts[1].each_ref().map(|n| n));
    assert_eq!(
        (&found["samples"], &found["first"]["features"]),
        (&Value::from(200), &Value::from("t11/out_6"))
    );
    assert!(found["p_value"].as_f64().is_some_and(|p| p < 1e-6 && p > 0.0), "{found}");
    assert!(found["difference"].as_f64().is_some_and(|difference| difference < -0.2), "{found}");
    assert_eq!(found["warnings"], serde_json::json!([]));
    // A table of text says nothing of the images.
    let tables = report(folder.path(), &["compare", "a.csv", "b.parquet"]);
    assert_eq!(tables["p_value"], found["p_value"]);
    assert!(
        tables["warnings"][0]
            .as_str()
            .expect("a warning")
            .starts_with("nothing says that both are of the same images")
    );
    let text = probe(folder.path(), &["compare", "a.parquet", "b.parquet"]);
    for part in [
        "compared on 200 samples",
        "a.parquet (knn on t11/out_6)",
        "  difference\n",
        "(McNemar's exact test, two-sided)",
    ] {
        assert!(text.success().contains(part), "{part:?} in {text}");
    }
    // In the run itself, and among the features of the published protocol.
    let run = report(folder.path(), &with("knn", &["--features", "t11/out_6", "--compare", "b.parquet"]));
    assert_eq!(run["comparison"]["p_value"], found["p_value"]);
    assert_eq!(run["comparison"]["first"]["name"], "this run");
    let published = report(folder.path(), &with("knn", &["--protocol", "published"]));
    let trials = &published["selection"]["trials"];
    assert_eq!(trials[0]["against_best"]["p_value"], found["p_value"]);
    assert_eq!(trials[0]["against_best"]["only_second"], found["only_first"]);
    assert_eq!(trials[1]["against_best"], Value::Null);
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let folder = folder();
    Features::new(100, "test").keys(&[("t11/out_6", 1.0)]).write(folder.path(), "short");
    Features::new(200, "other").keys(&[("t11/out_6", 1.0)]).write(folder.path(), "other");
    for (test, file) in [("test.h5", "a.parquet"), ("short.h5", "short.csv"), ("other.h5", "other.parquet")] {
        let line =
            ["knn", "--train", "train.h5", "--test", test, "--features", "t11/out_6", "--predictions", file];
        probe(folder.path(), &line).success();
    }
    fs::write(folder.path().join("no.csv"), "sample,label\n0,1\n").expect("written");
    let mut lines = vec!["sample,label,prediction".to_string()];
    lines.extend((0..200).rev().map(|sample| format!("{sample},{},0", sample % 4)));
    fs::write(folder.path().join("turned.csv"), lines.join("\n")).expect("written");
    let line = |more: &str| format!("knn --train train.h5 --test test.h5 --features t11/out_6 {more}");
    refuses(
        folder.path(),
        [
            (
                1,
                "compare a.parquet short.csv".to_string(),
                "a.parquet and short.csv are not predictions of the same samples: 200 samples and 100;…",
            ),
            (
                1,
                "compare a.parquet other.parquet".to_string(),
                "…they say that they are of different images;…",
            ),
            (1, "compare a.parquet no.csv".to_string(), "no.csv: there is no column prediction;…"),
            (1, "compare a.parquet absent.csv".to_string(), "…absent.csv…"),
            (
                2,
                "compare a.parquet train.h5".to_string(),
                "train.h5: predictions are written as .csv or .parquet…",
            ),
            (2, line("--predictions a.npy"), "a.npy: predictions are written as .csv or .parquet…"),
            (1, line("--predictions absent/a.csv"), "…--predictions…folder absent…"),
            (
                1,
                line("--compare short.csv"),
                "this run and short.csv are not predictions of the same samples…",
            ),
            (1, line("--compare no.csv"), "no.csv: there is no column prediction;…"),
            // Before the work, which cannot be done either.
            (
                1,
                line("-k 5000 --compare short.csv"),
                "this run and short.csv are not predictions of the same samples: 200 samples and 100;…",
            ),
            (
                1,
                line("-k 5000 --compare other.parquet"),
                "this run and other.parquet…they say that they are of different images;…",
            ),
            (1, line("-k 5000 --compare a.parquet"), "…k = 5000…"),
            (
                1,
                "compare turned.csv a.parquet".to_string(),
                "turned.csv: sample is 199 in row 0: samples from 0 on are wanted…",
            ),
        ],
    );
}
