//! Which checkpoint a run goes on from and names: the furthest whole one.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::program::Place;

const COMMON: [&str; 6] = ["--config", "ddpm.yaml", "--set", "n_sample=0", "--save-every", "1"];

fn damage(path: &Path) {
    let mut bytes = fs::read(path).expect("a checkpoint");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    // In place: `latest` is the same file.
    fs::write(path, bytes).expect("damaged");
}

/// Ended between writing the last checkpoint and naming it.
#[test]
fn a_stale_latest_is_not_recommended() {
    let place = Place::new();
    place.train(&COMMON);
    let latest = place.path("run/checkpoints/latest.safetensors");
    let stale = || {
        fs::remove_file(&latest).expect("removed");
        fs::hard_link(place.path("run/checkpoints/epoch_0001.safetensors"), &latest).expect("named");
    };
    stale();
    let ended = place.train(&[&COMMON[..], &["--resume"]].concat());
    assert!(ended.stdout.starts_with("this run is finished: 3 epochs, 18 steps\n"), "{}", ended.stdout);
    assert!(ended.stdout.contains("checkpoint: run/checkpoints/latest.safetensors\n"), "{}", ended.stdout);
    assert!(ended.stderr.contains("repaired    latest.safetensors"), "{}", ended.stderr);
    assert_eq!(place.checkpoint("run/checkpoints/latest.safetensors").state.step, 18);

    stale();
    let ended = place.train(&[&COMMON[..], &["--resume", "--json"]].concat());
    let summary: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    let named = summary["checkpoint"].as_str().expect("a checkpoint");
    assert_eq!(place.checkpoint(named).state.step, 18);

    // Where an earlier epoch is asked for, the furthest keeps the name, and what is named is what was asked for.
    let ended = place.train(&[&COMMON[..], &["--epochs", "2", "--set", "load_epoch=2"]].concat());
    assert!(
        ended.stdout.contains("checkpoint: run/checkpoints/epoch_0002.safetensors\n"),
        "{}",
        ended.stdout
    );
    assert_eq!(place.checkpoint("run/checkpoints/latest.safetensors").state.step, 18);
}

#[test]
fn a_damaged_checkpoint_is_passed_over() {
    let place = Place::new();
    place.train(&COMMON);
    let last = "run/checkpoints/epoch_0003.safetensors";
    let before = place.checkpoint(last);
    damage(&place.path(last));
    let ended = place.train(&[&COMMON[..], &["--resume"]].concat());
    for part in [
        "passed over: run/checkpoints/epoch_0003.safetensors: is damaged: 'record.y' has the checksum ",
        "passed over: run/checkpoints/latest.safetensors: is damaged: 'record.y' has the checksum ",
        "epoch_0002.safetensors at step 12 of 18",
    ] {
        assert!(ended.stderr.contains(part), "{part:?} in\n{}", ended.stderr);
    }
    before.assert_same(&place.checkpoint(last));
    before.assert_same(&place.checkpoint("run/checkpoints/latest.safetensors"));
}

#[test]
fn a_damaged_checkpoint_that_is_asked_for_is_refused() {
    let place = Place::new();
    place.train(&COMMON);
    damage(&place.path("run/checkpoints/epoch_0002.safetensors"));
    let ended = place.run(&[&COMMON[..], &["--set", "load_epoch=2"]].concat());
    let error = ended.error(&[1]);
    assert!(error.contains("epoch_0002.safetensors: is damaged: 'record.y' has the checksum "), "{error}");
    assert!(error.ends_with("take another checkpoint"), "{error}");
}
