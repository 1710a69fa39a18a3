//! A run folder, results and features as programs leave them, written by hand.

use std::fs;
use std::path::{Path, PathBuf};

use ddae_report::features::{FeatureView, Neighbour, Sample};
use ddae_report::images::Atlas;
use ddae_report::page::{Picture, Report};
use ddae_report::result::{self, MadeBy};
use ddae_report::run::Run;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A text that would be a script if it were not escaped.
pub const EVIL: &str = "<script>alert(\"x\")</script><img src=x onerror=alert(1)>";

/// Writes a run folder with so many epochs of ten lines each.
pub fn run_folder(folder: &Path, epochs: u64, offset: f64) {
    fs::create_dir_all(folder.join("checkpoints")).expect("created");
    fs::create_dir_all(folder.join("samples")).expect("created");
    fs::write(folder.join("config.yaml"), include_str!("../../../../configs/demo.yaml")).expect("written");
    let log = "[      2.8 s] device      CPU, threads: 2, seed 0\n[      9.0 s] epoch 1/10: loss 0.4, 3.0 images/s\n";
    fs::write(folder.join("log.txt"), log).expect("written");
    let mut lines = String::new();
    for step in 1..=10 * epochs {
        let loss = offset + 1.0 / step as f64;
        let line = json!({ "step": step, "epoch": (step - 1) / 10, "steps": 1, "loss": loss, "lr": 1e-3, "grad_norm": 0.5,
                           "images_per_second": 9.0, "seconds": 1.0, "data_wait": 0.0 });
        lines.push_str(&format!("{line}\n"));
        if step % 10 == 0 {
            let epoch = step / 10;
            let line = json!({ "step": step, "epoch": epoch, "validation_loss": loss + 0.01, "images": 90, "split": "data/test" });
            lines.push_str(&format!("{line}\n"));
            let score = 0.5 + 0.04 * epoch as f64;
            let line =
                json!({ "step": step, "epoch": epoch, "knn_accuracy": score, "protocol": { "k": 20 } });
            lines.push_str(&format!("{line}\n"));
            fs::write(folder.join(format!("samples/epoch_{epoch:04}.png")), png()).expect("written");
        }
    }
    fs::write(folder.join("stats.jsonl"), lines).expect("written");
}

/// A small PNG.
fn png() -> Vec<u8> {
    atlas(2).png().expect("a PNG")
}

fn atlas(count: u8) -> Atlas {
    let mut atlas = Atlas::default();
    for i in 0..count {
        let levels: Vec<u8> =
            (0..64).map(|at| if (at / 8 + at % 8) % 4 == i % 4 { 220 } else { 30 + i }).collect();
        atlas.add(&levels, [1, 8, 8]).expect("added");
    }
    atlas
}

/// What a probe prints that chose among layers and timesteps; `name` is that of the second class.
pub fn probe(name: &str, epoch: u64, accuracy: f64) -> Value {
    let trial = |timestep: u64, layer: u64| {
        let accuracy = 0.9 - 0.002 * timestep as f64 - 0.05 * (layer as f64 - 2.0).abs();
        json!({ "features": format!("t{timestep}/out_{layer}"), "held_out_accuracy": accuracy, "test_accuracy": null, "settings": [] })
    };
    let mut trials: Vec<Value> = [1, 11, 101]
        .into_iter()
        .flat_map(|timestep| (1..=3).map(move |layer| trial(timestep, layer)))
        .collect();
    trials.push(json!({ "features": "t1/out_1+t1/out_2", "held_out_accuracy": 0.85, "test_accuracy": null, "settings": [] }));
    let correct = (accuracy * 100.0).round() as u64;
    let wrong = 100 - correct;
    json!({
        "schema": "ddae.probe/1", "probe": "knn", "features": "t1/out_2", "dim": 64, "accuracy": correct as f64 / 100.0,
        "correct": correct,
        "classes": [
            { "label": 0, "name": "shirt", "samples": 50, "correct": 50, "accuracy": 1.0 },
            { "label": 1, "name": name, "samples": 50, "correct": correct - 50, "accuracy": 0.6 },
            { "label": 2, "name": "never seen", "samples": 0, "correct": 0, "accuracy": null },
        ],
        "confusion": [[50, 0, 0], [wrong, correct - 50, 0], [0, 0, 0]],
        "selection": { "features": "chosen on held-out training samples", "held_out_samples": 80, "trials": trials },
        "protocol": { "k": 20, "metric": "euclidean", "votes": "uniform", "normalise": "l2", "selection": "held-out",
                      "held_out": 0.2, "seed": 7 },
        "train": { "origin": "train.h5", "samples": 400, "views": 1, "attributes": { "epoch": epoch, "tool": "ddae-infer 0.1.0" } },
        "test": { "origin": "test.h5", "samples": 100, "views": 1, "attributes": {} },
        "warnings": ["the features are few"],
        "made_by": { "tool": "ddae-probe 0.1.0", "command": "ddae-probe knn --train train.h5 --test 'test & <b>.h5'", "machine": "2 cores of a CPU" },
    })
}

/// What `contrastive` prints.
pub fn contrastive(epoch: u64) -> Value {
    let of = |layer: u64| json!({ "features": format!("t11/out_{layer}"), "dim": 64, "alignment": 0.2 + 0.1 * layer as f64 - 0.01 * epoch as f64, "uniformity": -2.5 });
    json!({
        "schema": "ddae.contrastive/1", "features": [of(1), of(2)], "pictures": 90, "batch": 64,
        "noisings": "the first two of 2 views of views.h5", "stored_as": "f32", "attributes": { "epoch": epoch }, "warnings": [],
    })
}

/// What a probe prints that learned from so many samples of each class, drawn three times.
pub fn shots(name: &str, shots: u64, accuracy: f64) -> Value {
    let mut value = probe(name, 4, accuracy);
    value["features"] = json!("t1/out_2");
    value["selection"]["trials"] = json!([]);
    value["protocol"]["shots"] = json!(shots);
    let accuracies = [accuracy - 0.02, accuracy, accuracy + 0.02];
    value["seeds"] =
        json!({ "first_seed": 7, "accuracies": accuracies, "mean": accuracy, "deviation": 0.02 });
    value
}

/// What `noise-mlp` prints.
pub fn noise(tap: &str) -> Value {
    let of = |timestep: u64| json!({ "timestep": timestep, "accuracy": 0.9 - 0.001 * timestep as f64, "standard_error": 0.03, "correct": 9 });
    json!({
        "schema": "ddae.noise_probe/1", "tap": tap, "dim": 64, "timesteps": [of(1), of(101), of(501)],
        "protocol": { "epochs": 15, "seed": 3 },
        "train": { "origin": "noised.h5", "samples": 400, "views": 4, "attributes": {} },
        "test": { "origin": "noised_test.h5", "samples": 100, "views": 1, "attributes": {} },
        "warnings": [],
    })
}

fn features() -> FeatureView {
    let neighbour = |i: usize| Neighbour {
        key: format!("train/{i:03}.png"),
        class: i % 2,
        distance: 0.1 * (i + 1) as f64,
        image: Some(i % 30),
    };
    let sample = |i: usize| Sample {
        key: format!("{EVIL}/{i:03}.png"),
        class: i % 2,
        predicted: if i % 7 == 3 { 1 - i % 2 } else { i % 2 },
        image: Some(i % 30),
        neighbours: (0..8).map(neighbour).collect(),
    };
    let place = |i: usize| [(i % 2) as f64 * 4.0 + (i as f64 * 0.7).sin(), (i as f64 * 1.3).cos()];
    FeatureView {
        train: "train.h5".into(),
        test: "test.h5".into(),
        features: "t11/out_2".into(),
        dim: 64,
        total: 100,
        base: 400,
        classes: vec!["shirt".into(), EVIL.into()],
        samples: (0..30).map(sample).collect(),
        k: 20,
        pca: Some(((0..30).map(place).collect(), [0.5, 0.25])),
        tsne: Some(((0..30).map(place).collect(), 9.0)),
        atlas: atlas(30),
        ..FeatureView::default()
    }
}

/// A folder that keeps files.
pub struct Place(TempDir);

impl Place {
    pub fn new() -> Place {
        Place(tempfile::tempdir().expect("a folder"))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        fs::write(self.path(name), text).expect("written");
        self.path(name)
    }

    pub fn run(&self, name: &str, epochs: u64, offset: f64) -> Run {
        run_folder(&self.path(name), epochs, offset);
        Run::read(&self.path(name)).expect("a run")
    }
}

/// How a page says that it was made.
pub fn made_by() -> MadeBy {
    let text = str::to_string;
    MadeBy {
        tool: text("ddae-probe 0.1.0"),
        command: text("ddae-probe report runs/demo"),
        machine: text("2 cores of a CPU"),
    }
}

/// A report with everything: two runs, results at two checkpoints, features with images.
pub fn whole(place: &Place) -> Report {
    let runs = vec![place.run("demo", 4, 0.05), place.run("wide <b>", 6, 0.03)];
    let results = [
        probe(EVIL, 2, 0.8),
        probe(EVIL, 4, 0.86),
        contrastive(2),
        contrastive(4),
        shots(EVIL, 10, 0.6),
        shots(EVIL, 100, 0.7),
        noise(EVIL),
        noise("out_3"),
    ];
    let results = results.map(|result| result.to_string()).join("\n");
    let mut results = result::read(&place.write("r.json", results)).expect("results");
    result::name(&mut results);
    Report {
        title: format!("demo {EVIL}"),
        made_by: made_by(),
        runs,
        results,
        features: Some(features()),
        real: Some(Picture { caption: "2 images".into(), png: png() }),
        noised: vec![Picture { caption: format!("noise {EVIL}"), png: png() }],
        notes: vec![format!("a note {EVIL}")],
    }
}
