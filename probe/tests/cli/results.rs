//! What successful runs report.

use std::fs;

use serde_json::{Value, json};

use crate::files::{BOTH, CLASSES, Features, folder};
use crate::{probe, report};

fn with<'a>(command: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&[command], BOTH.as_slice(), more].concat()
}

fn accuracy(report: &Value) -> f64 {
    report["accuracy"].as_f64().expect("an accuracy")
}

#[test]
fn the_best_features_are_chosen_on_held_out_samples() {
    let folder = folder();
    for command in ["logistic", "knn"] {
        let report = report(folder.path(), &with(command, &[]));
        assert_eq!(report["features"], "t21/out_7", "{command}");
        assert_eq!(report["dim"], 12);
        assert!(accuracy(&report) > 0.8, "{command}: {report}");
        assert_eq!(report["selection"]["features"], "chosen on held-out training samples");
        assert_eq!(report["selection"]["held_out_samples"], 80);
        let trials = report["selection"]["trials"].as_array().expect("trials");
        assert_eq!(trials.len(), 2);
        assert!(trials[0]["held_out_accuracy"].as_f64() < trials[1]["held_out_accuracy"].as_f64());
        assert_eq!(trials[0]["test_accuracy"], Value::Null, "the test set has no say");
        assert_eq!(report["protocol"]["selection"], "held-out");
        assert_eq!(report["train"]["attributes"]["model"], "0123abcd");
        assert_eq!(report["warnings"], json!([]));
    }
}

#[test]
fn the_published_protocol_chooses_on_the_test_set_and_says_so() {
    let folder = folder();
    for command in ["logistic", "knn"] {
        let report = report(folder.path(), &with(command, &["--protocol", "published"]));
        assert_eq!(report["features"], "t21/out_7", "{command}");
        let trials = report["selection"]["trials"].as_array().expect("trials");
        assert_eq!(trials[1]["test_accuracy"], report["accuracy"], "{command}");
        let warning = report["warnings"][0].as_str().expect("a warning");
        assert!(warning.starts_with("the features were chosen on the test set"), "{warning}");
    }
}

#[test]
fn both_probes_agree_with_their_confusion_matrix() {
    let folder = folder();
    for command in ["logistic", "knn"] {
        let report = report(folder.path(), &with(command, &["--features", "t21/out_7"]));
        let confusion: Vec<Vec<usize>> = serde_json::from_value(report["confusion"].clone()).expect("counts");
        let correct: usize = (0..CLASSES).map(|class| confusion[class][class]).sum();
        assert_eq!(report["correct"], correct);
        assert_eq!(accuracy(&report), correct as f64 / 200.0);
        for (class, name) in ["ant", "bee", "cat", "dog"].iter().enumerate() {
            let row = &report["classes"][class];
            assert_eq!(row["name"], *name);
            assert_eq!(row["samples"], 50);
            assert_eq!(confusion[class].iter().sum::<usize>(), 50);
            assert_eq!(row["accuracy"].as_f64(), Some(confusion[class][class] as f64 / 50.0));
        }
    }
}

#[test]
fn joined_taps_know_what_each_of_them_knows() {
    let folder = tempfile::tempdir().expect("a folder");
    // The noise of the two taps is independent, so together they say more than one.
    for (name, samples) in [("train", 600), ("test", 400)] {
        Features::new(samples, name)
            .keys(&[("t11/out_6", 0.6), ("t11/out_7", 0.6)])
            .write(folder.path(), name);
    }
    let run = |features| {
        accuracy(&report(folder.path(), &with("logistic", &["--features", features, "--c", "0.1"])))
    };
    let (one, other, joined) = (run("t11/out_6"), run("t11/out_7"), run("t11/out_6+t11/out_7"));
    assert!(joined > one.max(other) + 0.05, "{one} {other} {joined}");
    let chosen = report(folder.path(), &with("knn", &["--features", "t11/out_6,t11/out_6+t11/out_7"]));
    assert_eq!(chosen["features"], "t11/out_6+t11/out_7");
    assert_eq!(chosen["dim"], 24);
}

#[test]
fn views_are_averaged_stacked_or_left_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let keys = [("t11/out_6", 0.7)];
    Features::new(400, "train").keys(&keys).views(5).write(folder.path(), "train");
    Features::new(400, "test").keys(&keys).views(5).write(folder.path(), "test");
    for command in ["logistic", "knn"] {
        let run = |views| report(folder.path(), &with(command, &["--views", views]));
        let (first, average, all) = (run("first"), run("average"), run("all"));
        // Independent noise in five views: their mean is a far better feature than one of them.
        assert!(accuracy(&average) > accuracy(&first) + 0.1, "{command}");
        assert!(accuracy(&all) > accuracy(&first) + 0.1, "{command}");
        assert_eq!(first["protocol"]["test_views"], "first of 5");
        assert_eq!(all["protocol"]["train_views"], "all of 5");
        assert_eq!(all["protocol"]["test_views"], "average of 5");
    }
    // With all views there are 2000 training rows to find neighbours in.
    report(folder.path(), &with("knn", &["--views", "all", "-k", "2000"]));
    assert_eq!(probe(folder.path(), &with("knn", &["-k", "401"])).code, Some(1));
}

#[test]
fn protocols_carry_every_option() {
    let folder = folder();
    let options = ["--features", "t21/out_7", "-k", "7", "--metric", "cosine", "--votes", "distance"];
    let knn = report(
        folder.path(),
        &with("knn", &[options.as_slice(), &["--normalise", "none", "--seed", "5"]].concat()),
    );
    for (name, value) in [("k", json!(7)), ("metric", json!("cosine")), ("votes", json!("distance"))] {
        assert_eq!(knn["protocol"][name], value);
    }
    assert_eq!(knn["protocol"]["normalise"], "none");
    assert_eq!(knn["protocol"]["seed"], 5);
    assert_eq!(knn["protocol"]["stored_as"], "f32");
    let fixed = report(folder.path(), &with("logistic", &["--features", "t21/out_7", "--c", "0.5"]));
    assert_eq!(fixed["protocol"]["c"], 0.5);
    assert_eq!(fixed["protocol"]["c_from"], "given");
    assert_eq!(fixed["protocol"]["converged"], true);
    assert_eq!(fixed["selection"]["held_out_samples"], 0);
    let auto = report(folder.path(), &with("logistic", &["--features", "t21/out_7"]));
    assert_eq!(auto["protocol"]["c_from"], "chosen on held-out training samples");
    assert!(auto["selection"]["trials"][0]["settings"].as_array().expect("settings").len() > 2);
}

#[test]
fn both_solvers_find_the_same_model() {
    let folder = folder();
    let run = |solver| {
        report(folder.path(), &with("logistic", &["--features", "t21/out_7", "--c", "1", "--solver", solver]))
    };
    let (newton, linfa) = (run("newton"), run("linfa"));
    assert_eq!(newton["confusion"], linfa["confusion"]);
    let number = |report: &Value, name: &str| report["protocol"][name].as_f64().expect("a number");
    let [loss, objective] = ["mean_training_loss", "mean_training_objective"];
    assert!((number(&newton, loss) - number(&linfa, loss)).abs() < 1e-4);
    assert!((number(&newton, objective) - number(&linfa, objective)).abs() < 1e-6);
    assert!(number(&newton, objective) > number(&newton, loss) + 1e-4, "the penalty counts");
}

#[test]
fn a_solver_that_is_cut_short_says_so() {
    let folder = folder();
    let report = report(folder.path(), &with("logistic", &["--c", "1", "--max-iterations", "2"]));
    assert_eq!(report["protocol"]["converged"], false);
    assert!(report["warnings"][0].as_str().expect("a warning").contains("raise --max-iterations"));
}

#[test]
fn the_table_and_the_image() {
    let folder = folder();
    let ended = probe(folder.path(), &with("knn", &["--features", "t21/out_7", "--confusion", "out.png"]));
    let table = ended.success();
    for part in [
        "k-nearest neighbours on t21/out_7 (12 features)",
        "  class  accuracy          found\n  ant",
        "    features: given\n    k: 20\n    metric: euclidean\n    votes: uniform\n    normalise: l2\n",
        "    train: train.h5 (400 samples)\n    test: test.h5 (200 samples)\n    model: 0123abcd\n",
        "  confusion matrix: out.png",
    ] {
        assert!(table.contains(part), "{part:?} in\n{table}");
    }
    let next = "next: ddae-probe logistic --train train.h5 --test test.h5 --features t21/out_7";
    assert!(ended.stderr.contains(next), "{ended}");
    let image = image::open(folder.path().join("out.png")).expect("a PNG").into_rgb8();
    assert!(image.width() > 200 && image.height() > 200);
    // The first cell of the diagonal is blue, with more blue than red.
    let blue = image.pixels().filter(|pixel| pixel.0[2] > pixel.0[0].saturating_add(60)).count();
    assert!(blue > 1000, "{blue}");
    let left: Vec<_> = fs::read_dir(folder.path())
        .expect("a folder")
        .map(|entry| entry.expect("a file").file_name())
        .collect();
    assert_eq!(left.len(), 3, "{left:?}");
}

#[test]
fn the_image_holds_hundreds_of_classes() {
    let folder = tempfile::tempdir().expect("a folder");
    for (classes, width) in [(60, 1100), (300, 1300)] {
        for (name, samples) in [("train", 4 * classes), ("test", classes + 7)] {
            Features::new(samples, name)
                .keys(&[("t11/out_6", 4.0)])
                .dim(classes)
                .labels(|i| (i % classes) as i64)
                .write(folder.path(), name);
        }
        let ended = probe(folder.path(), &with("knn", &["-k", "3", "--confusion", "many.png"]));
        assert!(ended.success().contains("more, listed by --json"));
        let image = image::open(folder.path().join("many.png")).expect("a PNG").into_rgb8();
        assert!(image.width() > 900 && image.width() < width, "{}", image.width());
    }
}

#[test]
fn pixels_of_the_built_in_data_set_are_a_baseline() {
    let folder = tempfile::tempdir().expect("a folder");
    let report = report(folder.path(), &["knn", "--pixels", "fashion-sample", "--normalise", "none"]);
    assert_eq!(report["dim"], 784);
    assert_eq!(report["classes"][9]["name"], "Ankle boot");
    assert!(accuracy(&report) > 0.75, "{}", report["accuracy"]);
    assert_eq!(report["train"]["samples"], 6000);
}

#[test]
fn the_same_split_twice_is_pointed_out() {
    let folder = folder();
    let report = report(
        folder.path(),
        &["knn", "--train", "train.h5", "--test", "train.h5", "--features", "t11/out_6"],
    );
    assert!(report["warnings"][0].as_str().expect("a warning").contains("hold the same split"));
}
