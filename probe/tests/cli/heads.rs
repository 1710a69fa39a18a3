//! The heads of many features, trained side by side.

use std::process::{Command, Stdio};
use std::sync::PoisonError;

use ddae_tests::programs::Running;
use serde_json::Value;

use crate::files::{BOTH, Features};
use crate::{FILES, probe, report};

const KEYS: [(&str, f32); 6] = [
    ("t1/out_1", 0.1),
    ("t1/out_2", 0.3),
    ("t11/out_1", 0.6),
    ("t11/out_2", 0.9),
    ("t21/out_1", 0.4),
    ("t21/out_2", 0.2),
];

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    Features::new(400, "train").keys(&KEYS).views(2).write(folder.path(), "train");
    Features::new(200, "test").keys(&KEYS).views(2).write(folder.path(), "test");
    folder
}

/// One run over all features gives each head what it gets alone.
#[test]
fn each_is_what_it_is_alone() {
    let folder = folder();
    for command in ["linear", "mlp"] {
        let options = ["--protocol", "published", "--lr", "0.02", "--epochs", "4", "--preset", "soda"];
        let all = report(folder.path(), &[&[command], &BOTH[..], &options[..]].concat());
        assert_eq!(all["features"], "t11/out_2", "{command}");
        let trials = all["selection"]["trials"].as_array().expect("trials");
        assert_eq!(trials.len(), KEYS.len());
        for (trial, (key, _)) in trials.iter().zip(KEYS) {
            assert_eq!(trial["features"], key);
            let alone = [&[command], &BOTH[..], &options[..], &["--features", key]].concat();
            let alone = report(folder.path(), &alone);
            assert_eq!(trial["test_accuracy"], alone["accuracy"], "{command} {key}");
            assert_eq!(trial["test_standard_error"], alone["standard_error"], "{command} {key}");
        }
    }
}

/// The number of threads and the memory that is free change nothing.
#[test]
fn how_many_are_trained_at_a_time_changes_nothing() {
    let folder = folder();
    let run = |threads: &str, memory: &str| -> Value {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ddae-probe"));
        command.arg("linear").args(BOTH).args(["--json", "--epochs", "3"]).current_dir(folder.path());
        command.env("RAYON_NUM_THREADS", threads).env("DDAE_MEMORY", memory).stdin(Stdio::null());
        let nobody_writes = FILES.write().unwrap_or_else(PoisonError::into_inner);
        let running = Running::start(&mut command);
        drop(nobody_writes);
        running.wait().json()
    };
    let one = run("1", "unlimited");
    assert_eq!(run("5", "unlimited"), one);
    assert_eq!(run("5", "64MiB"), one);
}

#[test]
fn a_head_that_fails_is_told_by_its_own_words() {
    let folder = folder();
    let line = [&["linear"], &BOTH[..], &["--lr", "1e38"]].concat();
    let ended = probe(folder.path(), &line);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("the training diverged: its loss is"), "{ended}");
}
