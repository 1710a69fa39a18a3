//! `ddae-probe noise-mlp`.

use serde_json::{Value, json};

use crate::files::{BOTH, Features};
use crate::{probe, refuses, report};

/// Features whose classes are the farther apart the earlier the timestep, of 16 numbers.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let keys = [("t901/out_6", 0.0), ("t1/out_6", 3.0), ("t1/out_7", 3.0), ("t451/out_6", 1.0)];
    for (name, samples) in [("train", 600), ("test", 200)] {
        Features::new(samples, name).keys(&keys).dim(16).views(2).write(folder.path(), name);
    }
    folder
}

fn run(folder: &tempfile::TempDir, more: &[&str]) -> Value {
    report(folder.path(), &[&["noise-mlp", "--tap", "out_6", "--lr", "0.01"], &BOTH[..], more].concat())
}

#[test]
fn accuracy_falls_with_the_timestep() {
    let folder = folder();
    let found = run(&folder, &[]);
    let timesteps = found["timesteps"].as_array().expect("timesteps");
    let numbers: Vec<i64> = timesteps.iter().filter_map(|at| at["timestep"].as_i64()).collect();
    assert_eq!((numbers, &found["tap"], &found["dim"]), (vec![1, 451, 901], &json!("out_6"), &json!(16)));
    let accuracies: Vec<f64> = timesteps.iter().filter_map(|at| at["accuracy"].as_f64()).collect();
    assert!(accuracies[0] > 0.95 && accuracies[2] < 0.4, "{accuracies:?}");
    assert!(accuracies[1] > accuracies[2] + 0.15 && accuracies[1] < accuracies[0] - 0.05, "{accuracies:?}");
    for at in timesteps {
        let p = at["accuracy"].as_f64().expect("an accuracy");
        let error = at["standard_error"].as_f64().expect("an error");
        assert!((error - (p * (1.0 - p) / 200.0).sqrt()).abs() < 1e-12);
        assert_eq!(at["correct"].as_f64(), Some((p * 200.0).round()));
    }
    // 600 rows are four steps of 128 and one of 88, 15 times.
    assert_eq!(
        (&found["protocol"]["steps"], &found["protocol"]["train_views"]),
        (&json!(75), &json!("drawn"))
    );
    assert_eq!(run(&folder, &[]), found);
    assert_ne!(
        run(&folder, &["--seed", "1"])["protocol"]["last_training_loss"],
        found["protocol"]["last_training_loss"]
    );
    assert_eq!(run(&folder, &["--normalise", "standardise"])["protocol"]["normalise"], "standardise");
    let text = probe(folder.path(), &[&["noise-mlp", "--tap", "out_6", "--epochs", "1"], &BOTH[..]].concat());
    for part in
        ["noise-conditional head on out_6 (16 features)", "  timestep  accuracy\n         1  ", "epochs: 1\n"]
    {
        assert!(text.success().contains(part), "{part} in {text}");
    }
}

#[test]
fn what_says_nothing_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, samples) in [("train", 600), ("test", 200)] {
        let keys = [("t1/out_6", 0.0), ("t2/out_6", 0.0)];
        Features::new(samples, name).keys(&keys).dim(16).write(folder.path(), name);
    }
    let warnings = |test: &str, lr: &str| {
        let line = ["noise-mlp", "--epochs", "1", "--lr", lr, "--train", "train.h5", "--test", test];
        let found = report(folder.path(), &line);
        let warnings = found["warnings"].as_array().expect("warnings").iter();
        warnings.map(|warning| warning.as_str().expect("a text").to_string()).collect::<Vec<_>>()
    };
    let at_chance = "the probe is at chance: ";
    let found = warnings("test.h5", "1e-9");
    assert!(found.len() == 1 && found[0].starts_with(at_chance), "{found:?}");
    let same = "train.h5 and train.h5 hold the same split: the accuracy says nothing about new images";
    let found = warnings("train.h5", "1e-9");
    assert!(found.len() == 2 && found[0] == same && found[1].starts_with(at_chance), "{found:?}");
}

#[test]
fn what_is_no_row_of_timesteps_is_refused() {
    let folder = folder();
    for (name, samples) in [("narrow", 40), ("narrow_test", 40)] {
        let keys = [("t1/out_6", 1.0), ("t2/out_6", 1.0)];
        Features::new(samples, name).keys(&keys).write(folder.path(), name);
    }
    std::fs::write(folder.path().join("a.csv"), "a,b,label\n1,2,0\n2,3,1\n").expect("written");
    let line = |more: &str| format!("noise-mlp --train train.h5 --test test.h5 {more}");
    refuses(
        folder.path(),
        [
            (2, line(""), "the files have several layers: name one with --tap, of out_6, out_7"),
            (2, line("--tap out_9"), "--tap out_9: both files have out_6, out_7"),
            (2, line("--tap out_7"), "t1/out_7 is the only timestep of out_7 in both files…"),
            (2, "noise-mlp --train a.csv --test a.csv".to_string(), "…feature files of ddae-infer…"),
            (2, "noise-mlp --pixels fashion-sample".to_string(), "…feature files of ddae-infer…"),
            (
                1,
                "noise-mlp --train narrow.h5 --test narrow_test.h5".to_string(),
                "12 features: the noise-conditional head…choose another layer with --tap, or use mlp",
            ),
        ],
    );
}
