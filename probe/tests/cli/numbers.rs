//! Several numbers from one run: errors, guesses among the best five, several k, seeds and few samples.

use serde_json::{Value, json};

use crate::files::{BOTH, Features, folder};
use crate::{probe, refuses, report};

fn with<'a>(command: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&[command], BOTH.as_slice(), more].concat()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("a number: {value}"))
}

/// √(p (1 - p) / n) of a share and its number of samples.
#[track_caller]
fn check_error(share: &Value, error: &Value, samples: f64) {
    let p = number(share);
    assert!((number(error) - (p * (1.0 - p) / samples).sqrt()).abs() < 1e-12, "{share} ± {error}");
}

#[test]
fn every_accuracy_has_its_standard_error() {
    let folder = folder();
    let found = report(folder.path(), &with("logistic", &["--protocol", "published"]));
    check_error(&found["accuracy"], &found["standard_error"], 200.0);
    for class in found["classes"].as_array().expect("classes") {
        check_error(&class["accuracy"], &class["standard_error"], 50.0);
    }
    for trial in found["selection"]["trials"].as_array().expect("trials") {
        check_error(&trial["held_out_accuracy"], &trial["held_out_standard_error"], 80.0);
        check_error(&trial["test_accuracy"], &trial["test_standard_error"], 200.0);
        for setting in trial["settings"].as_array().expect("settings") {
            check_error(&setting[1], &setting[2], 80.0);
        }
    }
    assert_eq!(found["top_5_accuracy"], Value::Null, "there are four classes");
    let text = probe(folder.path(), &with("logistic", &["--protocol", "published"]));
    let percent = |name: &str| 100.0 * number(&found[name]);
    let expected = format!("  accuracy  {:6.2} % ± {:.2}", percent("accuracy"), percent("standard_error"));
    for part in [expected.as_str(), "(against the best ", "± is one standard error of the test samples' draw"]
    {
        assert!(text.success().contains(part), "{part} in {text}");
    }
}

#[test]
fn a_class_may_be_among_the_best_five() {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, samples) in [("train", 600), ("test", 300)] {
        let features = Features::new(samples, name).keys(&[("t11/out_6", 0.6)]);
        features.labels(|i| (i % 12) as i64).write(folder.path(), name);
    }
    let trained = ["--lr", "0.02"].as_slice();
    for (command, options) in [("logistic", &[][..]), ("linear", trained), ("mlp", trained), ("knn", &[])] {
        let found = report(folder.path(), &with(command, options));
        let (first, top) = (number(&found["accuracy"]), number(&found["top_5_accuracy"]));
        // A guess is right in 5 of 12 cases.
        assert!(top > first + 0.1 && top > 0.55 && top < 1.0, "{command}: {first} {top}");
        check_error(&found["top_5_accuracy"], &found["top_5_standard_error"], 300.0);
    }
    // One neighbour votes for one class.
    let nearest = report(folder.path(), &with("knn", &["-k", "1"]));
    assert_eq!(nearest["top_5_accuracy"], nearest["accuracy"]);
    let text = probe(folder.path(), &with("knn", &[]));
    assert!(text.success().contains("\n  top 5 "), "{text}");
}

#[test]
fn several_k_are_one_search_each_with_its_numbers() {
    let folder = folder();
    let several = ["--features", "t11/out_6", "-k", "1,5:20:15,60"];
    let found = report(folder.path(), &with("knn", &several));
    let settings = found["settings"].as_array().expect("settings");
    assert_eq!(settings.len(), 4);
    let alone = |k: &str| report(folder.path(), &with("knn", &["--features", "t11/out_6", "-k", k]));
    for (setting, k) in settings.iter().zip(["1", "5", "20", "60"]) {
        let alone = alone(k);
        assert_eq!(setting["setting"], format!("k = {k}"));
        assert_eq!(setting["accuracy"], alone["accuracy"], "k = {k}");
        assert_eq!(setting["standard_error"], alone["standard_error"], "k = {k}");
        assert_eq!(alone["settings"], Value::Null);
    }
    // The choice is the best of the held-out samples, whatever the test set says.
    let tried = found["selection"]["trials"][0]["settings"].as_array().expect("tried");
    let best = tried.iter().reduce(|a, b| if number(&b[1]) > number(&a[1]) { b } else { a }).expect("a best");
    assert_eq!(best[0], format!("k = {}", found["protocol"]["k"]));
    assert_eq!(found["protocol"]["k_from"], "chosen on held-out training samples");
    assert_eq!(found["accuracy"], alone(&found["protocol"]["k"].to_string())["accuracy"]);
    let text = probe(folder.path(), &with("knn", &several));
    assert!(text.success().contains("  on the test set\n"), "{text}");
}

#[test]
fn votes_may_have_a_temperature() {
    let folder = folder();
    let run = |more: &[&str]| {
        report(folder.path(), &with("knn", &[&["--features", "t11/out_6", "-k", "50"], more].concat()))
    };
    let euclidean = run(&["--votes", "temperature"]);
    assert_eq!(
        (&euclidean["protocol"]["votes"], &euclidean["protocol"]["temperature"]),
        (&json!("temperature"), &json!(0.07))
    );
    let cosine = run(&["--votes", "temperature", "--metric", "cosine", "--normalise", "none"]);
    assert_eq!(euclidean["confusion"], cosine["confusion"]);
    // So low that the nearest decides alone.
    let [hot, cold] = ["10", "1e-9"].map(|t| run(&["--votes", "temperature", "--temperature", t]));
    let nearest = report(folder.path(), &with("knn", &["--features", "t11/out_6", "-k", "1"]));
    assert_eq!(cold["confusion"], nearest["confusion"]);
    assert_ne!(hot["confusion"], cold["confusion"]);
    let line = |more| format!("knn --train train.h5 --test test.h5 --features t11/out_6 {more}");
    refuses(
        folder.path(),
        [
            (2, line("--temperature 0.1"), "…--temperature is that of --votes temperature: give both"),
            (2, line("--votes temperature --temperature 0"), "…a number above 0 is wanted…"),
            (
                2,
                line("--votes temperature --normalise none"),
                "…weighs by the cosine: give --metric cosine or --normalise l2",
            ),
            (2, line("-k 5,5"), "…5 is asked for twice…"),
            (2, line("-k 5,0"), "…whole numbers of at least 1 are wanted…"),
            (1, line("-k 5,401"), "…k = 401…only 320 training rows…"),
        ],
    );
}

#[test]
fn seeds_give_mean_and_deviation() {
    let folder = folder();
    let options = ["--features", "t11/out_6", "--epochs", "2", "--lr", "0.02"];
    let found =
        report(folder.path(), &with("linear", &[&options[..], &["--seeds", "4", "--seed", "7"]].concat()));
    let seeds = &found["seeds"];
    assert_eq!(seeds["first_seed"], 7);
    let accuracies: Vec<f64> =
        seeds["accuracies"].as_array().expect("accuracies").iter().map(number).collect();
    assert_eq!(accuracies.len(), 4);
    for (accuracy, seed) in accuracies.iter().zip(["7", "8", "9", "10"]) {
        let alone = report(folder.path(), &with("linear", &[&options[..], &["--seed", seed]].concat()));
        assert_eq!(number(&alone["accuracy"]), *accuracy);
        assert_eq!(alone["seeds"], Value::Null);
    }
    assert_eq!(found["accuracy"], accuracies[0]);
    let mean = accuracies.iter().sum::<f64>() / 4.0;
    let deviation = (accuracies.iter().map(|a| (a - mean).powi(2)).sum::<f64>() / 3.0).sqrt();
    assert!(deviation > 0.0 && (number(&seeds["deviation"]) - deviation).abs() < 1e-12, "{seeds}");
    assert!((number(&seeds["mean"]) - mean).abs() < 1e-12, "{seeds}");
    let text = probe(folder.path(), &with("linear", &[&options[..], &["--seeds", "4"]].concat()));
    assert!(text.success().contains("(mean and standard deviation of 4)"), "{text}");
}

/// Several seeds of what is not drawn would have a deviation of 0, which says nothing.
#[test]
fn seeds_of_nothing_are_refused() {
    let folder = folder();
    let one = "--train train.h5 --test test.h5 --features t11/out_6 --seeds 3";
    let all = "--train train.h5 --test test.h5 --seeds 2";
    let refused = "--seeds 3: nothing is drawn here, so that all seeds give the same: leave out --seeds, or give --shots, or \
                   several features to choose from on held-out samples";
    refuses(
        folder.path(),
        [
            (2, format!("knn {one}"), refused),
            (2, format!("logistic --c 1 {one}"), refused),
            (2, format!("knn {all} --protocol published"), "--seeds 2: nothing is drawn here…"),
        ],
    );
    for drawn in [
        format!("knn {one} --shots 30"),
        format!("knn {one} -k 3,5"),
        format!("logistic {one}"),
        format!("knn {all}"),
        format!("linear {one} --epochs 1"),
        format!("logistic {all} --protocol published"),
    ] {
        let found = report(folder.path(), &drawn.split_whitespace().collect::<Vec<_>>());
        assert!(found["seeds"]["deviation"].is_number(), "{drawn}");
    }
}

#[test]
fn few_samples_of_each_class_are_drawn_by_each_seed() {
    let folder = folder();
    let run = |shots: &str| {
        report(folder.path(), &with("logistic", &["--features", "t21/out_7", "--c", "1", "--shots", shots]))
    };
    let (few, more) = (run("2"), run("40"));
    for (found, shots) in [(&few, 2), (&more, 40)] {
        assert_eq!(found["protocol"]["shots"], shots);
        assert_eq!(found["protocol"]["training_samples"], 4 * shots);
        assert_eq!(found["seeds"]["accuracies"].as_array().map(Vec::len), Some(5));
    }
    assert!(number(&few["seeds"]["mean"]) < number(&more["seeds"]["mean"]) - 0.05);
    assert!(number(&few["seeds"]["deviation"]) > 0.0);
    // What is held out for choices is drawn among them.
    let chosen = report(folder.path(), &with("knn", &["--shots", "10", "-k", "3", "--seeds", "1"]));
    assert_eq!(chosen["selection"]["held_out_samples"], 8);
    assert_eq!((&chosen["protocol"]["training_samples"], &chosen["seeds"]), (&json!(40), &Value::Null));
    let line = |more| format!("knn --train train.h5 --test test.h5 --features t11/out_6 {more}");
    refuses(
        folder.path(),
        [
            (1, line("--shots 101"), "…class 0 has 100 training samples, and --shots 101 asks for more…"),
            (1, line("--shots 4"), "…k = 20, but there are only 16 training rows…"),
            (2, line("--shots 0"), "…a whole number of at least 1 is wanted…"),
            (2, line("--seeds 0"), "…a whole number from 1 to 1000 is wanted…"),
        ],
    );
}

#[test]
fn the_grid_of_c_is_told_and_grows() {
    let folder = folder();
    let found = report(folder.path(), &with("logistic", &["--features", "t21/out_7"]));
    let grid = found["protocol"]["c_grid"].as_str().expect("a grid");
    assert!(grid.contains(" in steps of 10"), "{grid}");
    let tried = found["selection"]["trials"][0]["settings"].as_array().expect("tried");
    let values: Vec<f64> = tried
        .iter()
        .map(|tried| {
            tried[0]
                .as_str()
                .and_then(|text| text.strip_prefix("C = "))
                .expect("a C")
                .parse()
                .expect("a number")
        })
        .collect();
    assert!(
        values.is_sorted() && values.windows(2).all(|pair| (pair[1] / pair[0] - 10.0).abs() < 1e-9),
        "{values:?}"
    );
}
