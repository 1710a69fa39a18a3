//! The last, smaller batch of an epoch: kept as published, and left out by runs that began so.

use std::fs;
use std::path::Path;

use ddae_checkpoint::{Checkpoint, write_tensors};
use serde_json::Value;

use crate::program::Place;

/// 48 images in batches of 10: 4 steps, and one of the 8 that are left.
const COMMON: [&str; 6] = ["--config", "ddpm.yaml", "--set", "n_sample=0", "--set", "batch_size=10"];

#[test]
fn the_last_batch_is_trained_on() {
    let place = Place::new();
    let ended = place.train(&[&COMMON[..], &["--epochs", "2", "--log-every", "1"]].concat());
    let wanted = "2 epochs of 5 steps of 10 images (the last of 8): 10 steps";
    assert!(ended.stderr.contains(wanted), "{}", ended.stderr);
    assert!(ended.stdout.starts_with("trained 2 epochs (10 steps)"), "{}", ended.stdout);
    let state = place.checkpoint("run/checkpoints/epoch_0002.safetensors").state;
    assert_eq!((state.step, state.drop_last), (10, false));
    let kept = fs::read_to_string(place.path("run/config.yaml")).expect("a configuration");
    assert!(kept.contains("drop_last: false"), "{kept}");

    let left_out = ["--epochs", "2", "--set", "drop_last=True", "--run", "dropped"];
    let ended = place.train(&[&COMMON[..], &left_out].concat());
    let wanted = "2 epochs of 4 steps of 10 images (8 left out of each, drop_last): 8 steps";
    assert!(ended.stderr.contains(wanted), "{}", ended.stderr);
    assert!(place.checkpoint("dropped/checkpoints/epoch_0002.safetensors").state.drop_last);
}

#[test]
fn a_run_stopped_before_its_last_batch_goes_on_with_it() {
    let place = Place::new();
    let common = [&COMMON[..], &["--epochs", "40", "--log-every", "1"]].concat();
    let stopped = [&common[..], &["--run", "stopped"]].concat();
    let ended = crate::resume::stop_after(&place, &stopped, "stopped", 9, "INT");
    ended.error(&[130]);
    place.train(&[&common[..], &["--run", "straight"]].concat());
    place.train(&[&stopped[..], &["--resume"]].concat());
    let last = "checkpoints/epoch_0040.safetensors";
    place.checkpoint(&format!("straight/{last}")).assert_same(&place.checkpoint(&format!("stopped/{last}")));
}

/// The checkpoint `from` as earlier versions wrote them.
fn write_as_earlier(from: &Path, to: &Path) {
    let file = Checkpoint::open(from).expect("a checkpoint");
    let mut metadata = file.metadata().clone();
    metadata.remove("ddae.checksums").expect("checksums");
    let mut state: Value = serde_json::from_str(&metadata["ddae.state"]).expect("JSON");
    let fields = state.as_object_mut().expect("an object");
    for field in ["drop_last", "since_line"] {
        fields.remove(field).expect("a field");
    }
    metadata.insert("ddae.state".to_string(), state.to_string());
    let config = metadata["ddae.config"].replace("drop_last: true\n", "");
    assert_ne!(config, metadata["ddae.config"]);
    metadata.insert("ddae.config".to_string(), config);
    let tensors = file.tensors_with_prefix("").expect("tensors");
    write_tensors(to, metadata, tensors.iter()).expect("written");
}

#[test]
fn a_run_of_an_earlier_version_goes_on_as_it_began() {
    let place = Place::new();
    place.train(
        &[&COMMON[..], &["--set", "drop_last=True", "--run", "straight", "--save-every", "1"]].concat(),
    );
    fs::create_dir_all(place.path("old/checkpoints")).expect("a folder");
    let first = "checkpoints/epoch_0001.safetensors";
    write_as_earlier(&place.path("straight").join(first), &place.path("old").join(first));

    let resume = [&COMMON[..], &["--run", "old", "--resume"]].concat();
    let ended = place.run(&[&resume[..], &["--set", "drop_last=False"]].concat());
    let error = ended.error(&[2]);
    assert!(error.contains("was started with drop_last = true, now it is false: set it back"), "{error}");
    let steps = "3 epochs of 4 steps of 10 images (8 left out of each, drop_last): 12 steps";
    let ended = place.train(&[&resume[..], &["--dry-run"]].concat());
    assert!(ended.stdout.contains(steps), "{}", ended.stdout);
    let ended = place.train(&resume);
    assert!(ended.stderr.contains(steps) && ended.stderr.contains("at step 4 of 12"), "{}", ended.stderr);
    let last = "checkpoints/epoch_0003.safetensors";
    place.checkpoint(&format!("straight/{last}")).assert_same(&place.checkpoint(&format!("old/{last}")));

    // One of this version that keeps it does not begin to leave it out.
    place.train(&[&COMMON[..], &["--epochs", "1"]].concat());
    let ended = place.run(&[&COMMON[..], &["--resume", "--set", "drop_last=True"]].concat());
    let error = ended.error(&[2]);
    assert!(error.contains("was started with drop_last = false, now it is true"), "{error}");
}

#[test]
fn a_last_batch_of_one_image_is_refused_where_batches_are_normalised() {
    let place = Place::of("soda");
    let message = "…batch_size is 47, so one of the batches of 48 images of folder/train is a single image, over which batch \
                   normalisation cannot average: set another batch_size, or drop_last=True…";
    place.refuses([(2, "--config soda.yaml --set batch_size=47 --dry-run", message)]);
    place.train(&["--config", "soda.yaml", "--set", "batch_size=47", "--set", "drop_last=True", "--dry-run"]);
    let place = Place::new();
    place.train(&["--config", "ddpm.yaml", "--set", "batch_size=47", "--dry-run"]);
}

/// Lines of `stats.jsonl`: of what they say the same whichever processes made the steps.
fn averages(path: &Path) -> Vec<[Value; 6]> {
    let text = fs::read_to_string(path).expect("statistics");
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    lines
        .map(|line| ["step", "epoch", "steps", "loss", "lr", "grad_norm"].map(|key| line[key].clone()))
        .collect()
}

#[test]
fn a_line_of_statistics_averages_its_whole_interval_after_resuming() {
    let place = Place::new();
    let common = ["--config", "ddpm.yaml", "--set", "n_sample=0", "--save-every", "1", "--log-every", "7"];
    place.train(&common);
    let stats = place.path("run/stats.jsonl");
    let straight = averages(&stats);
    let steps: Vec<_> = straight.iter().map(|line| (line[0].as_u64(), line[2].as_u64())).collect();
    assert_eq!(steps, [(Some(7), Some(7)), (Some(14), Some(7)), (Some(18), Some(4))]);
    // Ended by force after step 12: the line of step 14 is still to come.
    for name in ["epoch_0003", "latest"] {
        fs::remove_file(place.path(&format!("run/checkpoints/{name}.safetensors"))).expect("removed");
    }
    let ended = place.train(&[&common[..], &["--resume"]].concat());
    assert!(ended.stderr.contains("at step 12 of 18"), "{}", ended.stderr);
    assert_eq!(averages(&stats), straight);
}
