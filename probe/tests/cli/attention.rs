//! `ddae-probe attention`.

use std::path::Path;

use serde_json::{Value, json};

use crate::files::{BOTH, Features, folder};
use crate::{refuses, report};

/// Maps of 3 features at 2x2 places, or of 4 tokens: the class's number is shifted.
fn maps(folder: &Path, shape: &str) {
    for (split, samples) in [("train", 400), ("test", 200)] {
        let maps = Features::new(samples, split).keys(&[("t11/out_6", 1.5), ("t21/out_6", 0.1)]);
        let maps = maps.attribute("taps", json!(["out_6"])).attribute("pooling", json!("none"));
        maps.attribute("tap_shapes", json!([shape])).views(2).write(folder, split);
    }
}

fn with<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["attention"], BOTH.as_slice(), more].concat()
}

fn accuracy(report: &Value) -> f64 {
    report["accuracy"].as_f64().expect("an accuracy")
}

#[test]
fn maps_and_tokens_are_looked_over() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = ["--features", "t11/out_6", "--lr", "0.02", "--seed", "3", "--epochs", "30"];
    for (shape, dim, heads) in [("3x2x2", 3, "3"), ("4x3", 3, "1"), ("2x6", 6, "2")] {
        maps(folder.path(), shape);
        let found = report(folder.path(), &with(&[&options[..], &["--heads", heads]].concat()));
        let protocol = &found["protocol"];
        assert_eq!((&found["probe"], &found["dim"]), (&json!("attention"), &json!(12)), "{shape}");
        assert_eq!(protocol["place_dim"], json!(dim), "{shape}");
        assert_eq!(protocol["heads"].to_string(), heads);
        assert_eq!(protocol["train_views"], "drawn of 2");
        assert_eq!(protocol["training_seed"], 3);
        assert_eq!(report(folder.path(), &with(&[&options[..], &["--heads", heads]].concat())), found);
        for normalise in ["l2", "standardise"] {
            let more = ["--heads", heads, "--normalise", normalise, "--batch-norm", "on", "--views", "all"];
            let found = report(folder.path(), &with(&[&options[..], &more].concat()));
            assert_eq!(found["protocol"]["normalise"], normalise);
        }
    }
    // Of tokens of 6 the class shows in one number of one of two tokens, which attention finds.
    let found = report(folder.path(), &with(&options));
    assert!(accuracy(&found) > 0.6, "{}", found["accuracy"]);
}

#[test]
fn features_are_chosen_and_repeated_as_for_other_heads() {
    let folder = tempfile::tempdir().expect("a folder");
    maps(folder.path(), "2x6");
    let found = report(folder.path(), &with(&["--lr", "0.02", "--seeds", "2", "--predictions", "p.csv"]));
    assert_eq!(found["features"], "t11/out_6");
    assert_eq!(found["selection"]["trials"].as_array().map(Vec::len), Some(2));
    assert_eq!(found["seeds"]["accuracies"].as_array().map(Vec::len), Some(2));
    assert!(folder.path().join("p.csv").is_file());
}

#[test]
fn what_is_no_map_is_refused() {
    let line = |more: &str| format!("attention --train train.h5 --test test.h5 {more}");
    refuses(
        folder().path(),
        [
            (
                2,
                line("--features t21/out_7"),
                "…t21/out_7 of train.h5 are no maps, and an attention-pooled head wants their places…",
            ),
            (2, line("--heads 0"), "…a whole number of at least 1 is wanted…"),
        ],
    );
    let folder = tempfile::tempdir().expect("a folder");
    maps(folder.path(), "2x6");
    refuses(
        folder.path(),
        [
            (
                1,
                line("--features t11/out_6 --heads 4"),
                "…4 heads do not divide 6 features: give --heads 1, 2, 3 or 6…",
            ),
            (2, line("--features t11/out_6+t21/out_6"), "…t11/out_6+t21/out_6 of train.h5 are no maps…"),
            (
                2,
                "attention --pixels fashion-sample".to_string(),
                "…pixels of fashion-sample/train are no maps…",
            ),
        ],
    );
    // A shape that is not that of the row is none.
    maps(folder.path(), "5x3");
    refuses(folder.path(), [(2, line("--features t11/out_6"), "…are no maps…")]);
}
