//! Scores of the tiny data set, whose classes are easily told apart.

use serde_json::Value;

use crate::formats::decode_png;
use crate::tiny::{TEST, trained, with};

/// One of three classes.
const CHANCE: f64 = 1.0 / 3.0;

fn score(line: &str) -> Value {
    trained().run(line).json()
}

#[track_caller]
fn accuracy(report: &Value) -> f64 {
    report["accuracy"].as_f64().unwrap_or_else(|| panic!("no accuracy: {report}"))
}

#[test]
fn probes_tell_the_classes_apart() {
    for line in [
        "ddae-probe logistic --train train.h5 --test test.h5 --json",
        "ddae-probe logistic --train train.h5 --test test.h5 --features t11/out_2+t1/out_3 --c 1 --json",
        "ddae-probe knn --train train.h5 --test test.h5 -k 5 --json",
        "ddae-probe knn --train train.h5 --test test.h5 -k 5 --metric cosine --votes distance --json",
    ] {
        let report = score(line);
        assert!(accuracy(&report) > 0.9, "{line}: {report}");
    }
}

#[test]
fn pixels_are_the_baseline() {
    for line in [
        "ddae-probe logistic --pixels folder --root data --json",
        "ddae-probe knn --pixels folder --root data -k 5 --json",
    ] {
        let report = score(line);
        assert!(accuracy(&report) > 0.9, "{line}: {report}");
        assert_eq!(report["features"], "pixels", "{report}");
    }
}

#[test]
fn every_number_is_of_the_test_set() {
    let report = score("ddae-probe knn --train train.h5 --test test.h5 -k 5 --features t11/out_2 --json");
    let counts: Vec<u64> = report["confusion"]
        .as_array()
        .expect("a matrix")
        .iter()
        .flat_map(|row| row.as_array().expect("a row").iter().map(|n| n.as_u64().expect("a count")))
        .collect();
    assert_eq!(counts.iter().sum::<u64>(), 3 * TEST as u64, "{report}");
    let right = counts[0] + counts[4] + counts[8];
    assert!((accuracy(&report) - right as f64 / 30.0).abs() < 1e-9, "{report}");
    assert!(accuracy(&report) > CHANCE);
}

#[test]
fn a_confusion_matrix_is_drawn_and_the_next_command_is_right() {
    let place = with(&["train.h5", "test.h5"]);
    let ended = place.run("ddae-probe logistic --train train.h5 --test test.h5 --confusion matrix.png");
    assert!(ended.success().contains("confusion matrix: matrix.png"), "{ended}");
    let image = decode_png(&place.read("matrix.png"));
    assert!(image.width() > 100 && image.height() > 100);
    let next = ended.stderr.lines().find_map(|line| line.strip_prefix("next: ")).expect("a next command");
    assert!(place.done(&format!("{next} -k 5")).starts_with("k-nearest neighbours on "));
}

#[test]
fn the_same_probe_twice_prints_the_same() {
    for method in ["logistic", "knn"] {
        let line = format!("ddae-probe {method} --train train.h5 --test test.h5");
        assert_eq!(trained().done(&line), trained().done(&line));
    }
}
