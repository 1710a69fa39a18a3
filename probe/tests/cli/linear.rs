//! `ddae-probe linear`.

use serde_json::{Value, json};

use crate::files::{BOTH, Features, folder};
use crate::{probe, refuses, report};

fn linear<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["linear"], BOTH.as_slice(), more].concat()
}

fn accuracy(report: &Value) -> f64 {
    report["accuracy"].as_f64().expect("an accuracy")
}

#[test]
fn presets_learn_what_features_tell() {
    let folder = folder();
    for (preset, normalise, norm) in [
        ("ddae", "none", "none"),
        ("soda", "l2", "without scale and shift, eps 1e-6"),
        ("dit", "none", "none"),
    ] {
        let options = ["--preset", preset, "--features", "t21/out_7", "--lr", "0.02"];
        let report = report(folder.path(), &linear(&options));
        assert!(accuracy(&report) > 0.8, "{preset}: {}", report["accuracy"]);
        assert_eq!(report["probe"], "linear");
        let protocol = &report["protocol"];
        assert_eq!(protocol["preset"], format!("{preset} but for learning_rate"));
        assert_eq!((&protocol["normalise"], &protocol["batch_norm"]), (&json!(normalise), &json!(norm)));
        let epochs = if preset == "dit" { 30 } else { 15 };
        // 400 rows are three steps of 128 and one of 16.
        assert_eq!((&protocol["epochs"], &protocol["steps"]), (&json!(epochs), &json!(4 * epochs)));
        assert_eq!(protocol["schedule"], "cosine to 0, stepped per epoch");
        assert!(protocol["last_training_loss"].as_f64().is_some_and(|loss| loss < 1.0), "{protocol}");
        assert_eq!(report["warnings"], json!([]));
        assert_eq!(report["confusion"][0].as_array().map(Vec::len), Some(4));
    }
}

#[test]
fn features_are_chosen_as_for_other_probes() {
    let folder = folder();
    let chosen = report(folder.path(), &linear(&["--lr", "0.02"]));
    assert_eq!(chosen["features"], "t21/out_7");
    assert_eq!(chosen["selection"]["held_out_samples"], 80);
    let published = report(folder.path(), &linear(&["--lr", "0.02", "--protocol", "published"]));
    assert_eq!(published["selection"]["trials"][1]["test_accuracy"], published["accuracy"]);
}

#[test]
fn a_seed_gives_the_same_numbers_and_another_others() {
    let folder = folder();
    let run =
        |seed| report(folder.path(), &linear(&["--features", "t11/out_6", "--epochs", "3", "--seed", seed]));
    let (first, again, other) = (run("7"), run("7"), run("8"));
    assert_eq!(first, again);
    assert_eq!(first["protocol"]["training_seed"], 7);
    let loss = |report: &Value| report["protocol"]["last_training_loss"].as_f64();
    assert_ne!(loss(&first), loss(&other));
}

#[test]
fn views_are_drawn_anew_in_every_epoch() {
    let folder = tempfile::tempdir().expect("a folder");
    let keys = [("t11/out_6", 0.7)];
    Features::new(300, "train").keys(&keys).views(6).dim(60).write(folder.path(), "train");
    Features::new(300, "test").keys(&keys).views(6).dim(60).write(folder.path(), "test");
    let run = |views| report(folder.path(), &linear(&["--views", views, "--lr", "0.01", "--epochs", "60"]));
    let (drawn, first, average, all) = (run("drawn"), run("first"), run("average"), run("all"));
    assert_eq!(drawn["protocol"]["train_views"], "drawn of 6");
    assert_eq!(drawn["protocol"]["test_views"], "first of 6");
    assert_eq!(report(folder.path(), &linear(&["--epochs", "1"]))["protocol"]["train_views"], "drawn of 6");
    // Six noisy views of each sample teach more than one, on the same test rows; the mean of test views has less noise.
    assert!(accuracy(&drawn) > accuracy(&first) + 0.03, "{} {}", drawn["accuracy"], first["accuracy"]);
    assert!(accuracy(&average) > accuracy(&drawn) && accuracy(&all) > accuracy(&drawn));
    assert_eq!(all["protocol"]["steps"].as_u64(), Some(60 * 15));
    assert_eq!(drawn["protocol"]["steps"].as_u64(), Some(60 * 3));
}

#[test]
fn single_settings_replace_those_of_a_preset() {
    let folder = folder();
    let options = ["--features", "t21/out_7", "--preset", "soda", "--epochs", "2", "--batch", "50"];
    let found = report(
        folder.path(),
        &linear(&[&options[..], &["--normalise", "standardise", "--batch-norm", "off"]].concat()),
    );
    let protocol = &found["protocol"];
    assert_eq!(protocol["preset"], "soda but for epochs, batch, normalise, batch_norm");
    assert_eq!((&protocol["batch_norm"], &protocol["steps"]), (&json!("none"), &json!(16)));
    assert_eq!(protocol["normalise"], "standardise");
    // What says nothing is no change.
    let options = ["--features", "t21/out_7", "--epochs", "15", "--batch-norm", "off"];
    assert_eq!(report(folder.path(), &linear(&options))["protocol"]["preset"], "ddae");
}

#[test]
fn the_table_lists_the_protocol() {
    let folder = folder();
    let ended = probe(folder.path(), &linear(&["--features", "t21/out_7", "--seed", "3"]));
    let table = ended.success();
    for part in [
        "linear probe on t21/out_7 (12 features)",
        "    preset: ddae\n    normalise: none\n    batch norm: none\n    optimiser: adam, betas 0.9 and 0.999, eps 1e-8\n    \
         learning rate: 0.001\n    schedule: cosine to 0, stepped per epoch\n    epochs: 15\n    batch: 128\n",
        "    training seed: 3\n",
    ] {
        assert!(table.contains(part), "{part:?} in\n{table}");
    }
    let next = "next: ddae-probe knn --train train.h5 --test test.h5 --features t21/out_7";
    assert!(ended.stderr.contains(next), "{ended}");
}

#[test]
fn features_that_say_nothing_are_pointed_out() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["train", "test"] {
        Features::new(2000, name).keys(&[("t11/out_6", 0.0)]).write(folder.path(), name);
    }
    let found = report(folder.path(), &linear(&["--lr", "0.0001"]));
    let warning = found["warnings"][0].as_str().expect("a warning");
    assert!(warning.starts_with("the probe is at chance: its loss in the last epoch is 1."), "{warning}");
}

#[test]
fn trainings_that_cannot_be_are_refused() {
    let cases = [
        (2, "--lr 0", "--lr '0': a number above 0 is wanted…"),
        (2, "--lr inf", "…a number above 0 is wanted…"),
        (2, "--epochs 0", "…a whole number of at least 1 is wanted…"),
        (2, "--batch 0", "…a whole number of at least 1 is wanted…"),
        (2, "--preset simclr", "…ddae, soda or dit is wanted…"),
        (
            1,
            "--preset soda --batch 1",
            "…400 training row(s) in batches of 1: batch normalisation needs at least 2 rows in a batch…",
        ),
        (1, "--lr 1e38", "…the training diverged: its loss is …"),
    ];
    let line = |more| format!("linear --train train.h5 --test test.h5 --features t21/out_7 {more}");
    refuses(folder().path(), cases.map(|(code, more, wanted)| (code, line(more), wanted)));
}
