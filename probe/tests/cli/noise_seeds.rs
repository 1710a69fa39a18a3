//! Several feature files of one job with other seeds of the noise.

use std::path::Path;

use serde_json::{Value, json};

use crate::files::Features;
use crate::{probe, refuses, report};

/// Training and test features with noise of a seed, weakly told apart.
fn write(folder: &Path, seed: u64, name: &str) {
    for (split, samples) in [("train", 400), ("test", 200)] {
        let features = Features::new(samples, split).keys(&[("t11/out_6", 0.6)]);
        features.attribute("seed", json!(seed)).write(folder, &format!("{split}{name}"));
    }
}

fn deviation(values: &[f64]) -> f64 {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (values.len() - 1) as f64).sqrt()
}

const THREE: &str = "--train train0.h5 train1.h5 train2.h5 --test test0.h5 test1.h5 test2.h5";

fn run(folder: &Path, line: &str) -> Value {
    report(folder, &line.split_whitespace().collect::<Vec<_>>())
}

#[test]
fn noise_and_probe_deviations_are_told_apart() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    (0..3).for_each(|seed| write(path, seed, &seed.to_string()));
    let options = "--epochs 3 --lr 0.02";
    let found = run(path, &format!("linear {THREE} {options} --seeds 2"));
    let seeds = &found["seeds"];
    let accuracies: Vec<f64> =
        seeds["accuracies"].as_array().expect("a list").iter().filter_map(Value::as_f64).collect();
    // Each is what it is alone.
    for noise in 0..3 {
        for seed in 0..2 {
            let alone =
                format!("linear --train train{noise}.h5 --test test{noise}.h5 {options} --seed {seed}");
            assert_eq!(run(path, &alone)["accuracy"], json!(accuracies[2 * noise + seed]), "{noise} {seed}");
        }
    }
    assert_eq!(seeds["noise_seeds"][2], json!({ "train": 2, "test": 2 }));
    let squared =
        |groups: [Vec<f64>; 3]| groups.iter().map(|group| deviation(group).powi(2)).sum::<f64>() / 3.0;
    let by_noise = [0, 1, 2].map(|noise| accuracies[2 * noise..2 * noise + 2].to_vec());
    let of_probe = squared(by_noise).sqrt();
    let by_probe = [0, 1].map(|seed| deviation(&[0, 2, 4].map(|first| accuracies[first + seed])).powi(2));
    let of_noise = ((by_probe[0] + by_probe[1]) / 2.0).sqrt();
    let number = |name: &str| seeds[name].as_f64().expect("a number");
    assert!((number("noise_deviation") - of_noise).abs() < 1e-12 && of_noise > 0.0, "{seeds}");
    assert!((number("probe_deviation") - of_probe).abs() < 1e-12, "{seeds}");
    assert!(number("deviation") >= of_noise.max(of_probe) - 1e-12, "{seeds}");

    // A probe that draws nothing has the noise's deviation alone.
    let found = run(path, &format!("knn {THREE} -k 5"));
    let seeds = &found["seeds"];
    assert_eq!((seeds["noise_deviation"] == seeds["deviation"], seeds.get("probe_deviation")), (true, None));
    // As typed once for each file.
    let again = run(
        path,
        "knn --train train0.h5 --test test0.h5 --train train1.h5 --test test1.h5 --train train2.h5 --test test2.h5 -k 5",
    );
    assert_eq!((&again["seeds"], &again["confusion"]), (&found["seeds"], &found["confusion"]));
    let printed =
        probe(path, &format!("linear {THREE} {options} --seeds 2").split_whitespace().collect::<Vec<_>>());
    let text = printed.success().to_string();
    assert!(text.contains("(mean and standard deviation of 3 of the noise x 2 of the probe)"), "{text}");
    assert!(
        text.contains(" by the noise alone, ± ") && text.contains(" by the probe's seed alone"),
        "{text}"
    );
}

#[test]
fn files_that_differ_in_more_than_the_seed_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    write(path, 0, "0");
    write(path, 1, "1");
    write(path, 0, "same");
    let other = Features::new(400, "train").attribute("seed", json!(7)).keys(&[("t11/out_6", 0.6)]);
    other.attribute("model", json!("ffff")).write(path, "other");
    let other = Features::new(200, "test").attribute("seed", json!(7)).keys(&[("t11/out_6", 0.6)]);
    other.attribute("model", json!("ffff")).write(path, "otest");
    Features::new(400, "train").views(2).attribute("seed", json!(7)).write(path, "views");
    Features::new(400, "train").attribute("noise_stream", Value::Null).write(path, "still");
    for (split, samples) in [("train", 400), ("test", 200)] {
        for seed in 0..2 {
            let two = Features::new(samples, split).keys(&[("t11/out_6", 0.6), ("t11/out_7", 0.6)]);
            two.attribute("seed", json!(seed)).write(path, &format!("{split}_two{seed}"));
        }
    }
    Features::new(400, "train")
        .labels(|row| (row % 3) as i64)
        .attribute("seed", json!(7))
        .write(path, "labels");
    std::fs::write(path.join("a.csv"), "label,x\n0,1\n1,2\n").expect("written");
    let line = |train: &str, test: &str| format!("linear --train {train} --test {test} --epochs 1");
    refuses(
        path,
        [
            (
                2,
                line("train0.h5 train1.h5", "test0.h5"),
                "…--train names 2 files and --test 1: one of --test is wanted for each…",
            ),
            (
                2,
                line("train0.h5 trainsame.h5", "test0.h5 test1.h5"),
                "…train0.h5 and trainsame.h5 have the same seed, 0…",
            ),
            (
                2,
                line("train0.h5 train1.h5", "test0.h5 testsame.h5"),
                "…test0.h5 and testsame.h5 have the same seed, 0…",
            ),
            (
                2,
                line("train0.h5 labels.h5", "test0.h5 test1.h5"),
                "…train0.h5 and labels.h5 hold other images or labels…",
            ),
            (
                1,
                line("train0.h5 other.h5", "test0.h5 test1.h5"),
                "…other.h5 and test1.h5 do not belong together: attribute model is…",
            ),
            (
                1,
                line("train0.h5 other.h5", "test0.h5 otest.h5"),
                "…train0.h5 and other.h5 do not belong together: attribute model is \"0123abcd\" in the first and \"ffff\"…",
            ),
            (
                1,
                line("train0.h5 views.h5", "test0.h5 test1.h5"),
                "…train0.h5 and views.h5 do not belong together: attribute number of views is 1 in the first and 2…",
            ),
            (
                2,
                line(
                    "train_two0.h5:t11/out_6 train_two1.h5:t11/out_7",
                    "test_two0.h5:t11/out_6 test_two1.h5:t11/out_7",
                ),
                "…gives the features t11/out_6 and …gives t11/out_7: several files are to differ in their noise alone…",
            ),
            (
                2,
                line("still.h5 still.h5", "test0.h5 test1.h5"),
                "…nothing in the features of still.h5 is drawn…",
            ),
            (
                2,
                line("a.csv a.csv", "a.csv a.csv"),
                "…a.csv does not say its seed: only files of ddae-infer do…",
            ),
            (
                2,
                "noise-mlp --train train0.h5 train1.h5 --test test0.h5 test1.h5".to_string(),
                "…--train and --test name 2 files each, and one is wanted here…",
            ),
        ],
    );
}
