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
}

/// Otherwise the checkpoints of the course that was given up would be the furthest.
#[test]
fn a_run_that_went_back_goes_on_from_there() {
    let place = Place::new();
    place.train(&COMMON);
    let file = |name: &str| format!("run/checkpoints/{name}.safetensors");
    let before = ["epoch_0002", "epoch_0003"].map(|name| place.checkpoint(&file(name)));
    // Not trained to the end, as if it had been stopped.
    let back = [&COMMON[..], &["--epochs", "2", "--set", "load_epoch=1"]].concat();
    let ended = place.train(&back);
    for name in ["epoch_0002.safetensors", "epoch_0003.safetensors"] {
        let note = format!("set aside   {name}, which is further: it is {name}.1 now");
        assert!(ended.stderr.contains(&note), "{note:?} in\n{}", ended.stderr);
    }
    assert!(ended.stdout.contains("checkpoint: run/checkpoints/latest.safetensors\n"), "{}", ended.stdout);
    assert_eq!(place.checkpoint(&file("latest")).state.step, 12);
    assert!(!place.path(&file("epoch_0003")).exists());
    for (name, before) in ["epoch_0002", "epoch_0003"].iter().zip(&before) {
        before.assert_same(&place.checkpoint(&format!("{}.1", file(name))));
    }
    let ended = place.train(&[&COMMON[..], &["--resume"]].concat());
    assert!(ended.stderr.contains("epoch_0002.safetensors at step 12 of 18"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("passed over"), "{}", ended.stderr);
    before[1].assert_same(&place.checkpoint(&file("epoch_0003")));

    // Again, with a latest one that is not the end of an epoch.
    fs::remove_file(place.path(&file("latest"))).expect("removed");
    fs::rename(place.path(&file("epoch_0003")), place.path(&file("latest"))).expect("renamed");
    let ended = place.train(&back);
    for (name, now) in [("latest", 1), ("epoch_0002", 2)] {
        let note =
            format!("set aside   {name}.safetensors, which is further: it is {name}.safetensors.{now} now");
        assert!(ended.stderr.contains(&note), "{note:?} in\n{}", ended.stderr);
    }
    before[1].assert_same(&place.checkpoint(&format!("{}.1", file("latest"))));
    assert_eq!(place.checkpoint(&file("latest")).state.step, 12);

    // Nothing is further than the furthest, and all of it is the run's.
    let ended = place.train(&[&COMMON[..], &["--epochs", "2", "--set", "load_epoch=2"]].concat());
    assert!(ended.stdout.starts_with("this run is finished: 2 epochs, 12 steps\n"), "{}", ended.stdout);
    assert!(!ended.stderr.contains("set aside"), "{}", ended.stderr);
    place.train(&[&COMMON[..], &["--epochs", "1", "--force"]].concat());
    let names = fs::read_dir(place.path("run/checkpoints")).expect("a folder").count();
    assert_eq!(names, 3, "epochs 0 and 1, and the latest");
}

/// A checkpoint of another run is none of this one's, however far it is.
#[test]
fn a_strangers_file_is_passed_over() {
    let place = Place::new();
    place.train(&COMMON);
    let other = [&COMMON[..], &["--epochs", "4", "--seed", "5", "--run", "other"]].concat();
    place.train(&other);
    let (from, to) = ("other/checkpoints/epoch_0004.safetensors", "run/checkpoints/mine.safetensors");
    fs::copy(place.path(from), place.path(to)).expect("a copy");
    let ended = place.train(&[&COMMON[..], &["--resume"]].concat());
    assert!(ended.stdout.starts_with("this run is finished: 3 epochs, 18 steps\n"), "{}", ended.stdout);
    let note = "passed over: run/checkpoints/mine.safetensors: is not named like a checkpoint of a run";
    assert!(ended.stderr.contains(note), "{}", ended.stderr);
    assert!(place.path(to).is_file());
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
