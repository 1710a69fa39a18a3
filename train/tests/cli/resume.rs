//! Stopping and going on.

use std::fs;
use std::path::Path;

use ddae_tests::programs::{Ended, Running};

use crate::program::Place;

/// Runs `arguments` until `stats.jsonl` in `run` has a line about step `step`, then sends the signal.
pub fn stop_after(place: &Place, arguments: &[&str], run: &str, step: u64, signal: &str) -> Ended {
    let stats = place.path(run).join("stats.jsonl");
    let running = Running::start(&mut place.command(arguments)).wait_until(|| steps(&stats) >= step);
    running.signal(signal).wait()
}

/// The last step that the statistics tell of.
pub fn steps(stats: &Path) -> u64 {
    let text = fs::read_to_string(stats).unwrap_or_default();
    let last = text.lines().last().and_then(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    last.and_then(|line| line["step"].as_u64()).unwrap_or(0)
}

/// Enough steps that a signal comes in the middle.
const LONG: [&str; 6] = ["--epochs", "12", "--log-every", "1", "--set", "n_sample=0"];

fn resumes_bit_for_bit(config: &str, amp: &str) {
    let place = Place::new();
    let common = [&["--config", config, "--amp", amp], &LONG[..]].concat();
    place.train(&[&common[..], &["--run", "straight"]].concat());

    let stopped = [&common[..], &["--run", "stopped"]].concat();
    // An epoch has 6 steps: the signal comes in the middle of one, most of the time.
    let ended = stop_after(&place, &stopped, "stopped", 8, "INT");
    let error = ended.error(&[130]);
    assert!(error.starts_with("error: stopped after step "), "{error}");
    assert!(error.contains("Go on with: "), "{error}");
    assert!(error.ends_with(" --resume"), "{error}");
    let middle = place.checkpoint("stopped/checkpoints/latest.safetensors").state;
    assert!((8..72).contains(&middle.step), "{middle:?}");
    assert_eq!(middle.step, middle.epoch * 6 + middle.step_in_epoch);

    place.train(&[&stopped[..], &["--resume"]].concat());
    let last = "checkpoints/epoch_0012.safetensors";
    let straight = place.checkpoint(&format!("straight/{last}"));
    assert_eq!(straight.state.step, 72);
    straight.assert_same(&place.checkpoint(&format!("stopped/{last}")));
    assert_eq!(steps(&place.path("stopped/stats.jsonl")), 72);
    let text = fs::read_to_string(place.path("stopped/stats.jsonl")).expect("statistics");
    assert_eq!(text.lines().count(), 72, "one line per step, none twice");
}

#[test]
fn a_stopped_run_ends_like_one_that_was_not() {
    resumes_bit_for_bit("ddpm.yaml", "off");
}

#[test]
fn a_stopped_run_in_bf16_with_augmentation_does_too() {
    resumes_bit_for_bit("edm.yaml", "bf16");
}

#[test]
fn a_stopped_run_in_fp16_goes_on_with_its_scale() {
    resumes_bit_for_bit("ddpm.yaml", "fp16");
}

#[test]
fn a_killed_run_goes_on_from_its_last_checkpoint() {
    let place = Place::new();
    let common = [&["--config", "ddpm.yaml", "--save-every", "1"], &LONG[..]].concat();
    place.train(&[&common[..], &["--run", "straight"]].concat());
    let killed = [&common[..], &["--run", "killed"]].concat();
    let ended = stop_after(&place, &killed, "killed", 14, "KILL");
    assert_eq!(ended.code, None);
    // What a process leaves that is killed while it writes.
    let left = [
        "latest.safetensors.partial",
        "latest.safetensors.0123456789abcdef.partial",
        "latest.safetensors.lock",
    ]
    .map(|name| format!("killed/checkpoints/{name}"));
    place.write(&left[0], "half a checkpoint");
    place.write(&left[1], "half a checkpoint");
    place.write(&left[2], "");
    // And what is somebody else's.
    let mine = ["mine.safetensors.partial", ".tmpAbCdEf"].map(|name| format!("killed/checkpoints/{name}"));
    mine.iter().for_each(|name| place.write(name, "kept"));
    // The run folder's own configuration is used where none is given.
    place.train(&["--run", "killed", "--resume", "--save-every", "1", "--log-every", "1"]);
    assert!(!left.iter().any(|name| place.path(name).exists()));
    assert!(mine.iter().all(|name| place.path(name).is_file()));
    let last = "checkpoints/epoch_0012.safetensors";
    place.checkpoint(&format!("straight/{last}")).assert_same(&place.checkpoint(&format!("killed/{last}")));
}

#[test]
fn an_unreadable_checkpoint_is_passed_over() {
    let place = Place::new();
    let common = ["--config", "ddpm.yaml", "--set", "n_sample=0"];
    place.train(&[&common[..], &["--save-every", "1"]].concat());
    let before = place.checkpoint("run/checkpoints/epoch_0003.safetensors");
    for name in ["latest", "epoch_0003"] {
        let path = place.path(&format!("run/checkpoints/{name}.safetensors"));
        let bytes = fs::read(&path).expect("a checkpoint");
        fs::remove_file(&path).expect("removed");
        fs::write(&path, &bytes[..bytes.len() / 2]).expect("truncated");
    }
    let ended = place.train(&[&common[..], &["--resume"]].concat());
    assert!(
        ended.stderr.contains("epoch_0003.safetensors: is not a complete safetensors file"),
        "{}",
        ended.stderr
    );
    assert!(ended.stderr.contains("epoch_0002.safetensors at step 12 of 18"), "{}", ended.stderr);
    before.assert_same(&place.checkpoint("run/checkpoints/epoch_0003.safetensors"));
}

/// Wherever a process is ended before its first checkpoint, the same command goes on: what starts jobs anew would otherwise try
/// for ever.
#[test]
fn a_run_without_a_checkpoint_begins_again() {
    let place = Place::new();
    let common = ["--config", "ddpm.yaml", "--set", "n_sample=0", "--epochs", "1", "--log-every", "1"];
    place.train(&[&common[..], &["--run", "straight"]].concat());
    let last = "checkpoints/epoch_0001.safetensors";
    let straight = place.checkpoint(&format!("straight/{last}"));
    let stats = "{\"step\":1,\"epoch\":0,\"steps\":1,\"loss\":9.0,\"lr\":0.001,\"grad_norm\":0.5,\"images_per_second\":1.0,\
                 \"seconds\":1.0,\"data_wait\":0.0}\n";
    for (run, folders, files) in [
        ("log", &[][..], &[("log.txt", "")][..]),
        ("folders", &["checkpoints"], &[("log.txt", "")]),
        ("steps", &["checkpoints", "samples"], &[("log.txt", ""), ("stats.jsonl", stats)]),
        (
            "half",
            &["checkpoints"],
            &[("log.txt", ""), ("checkpoints/epoch_0000.safetensors.0123456789abcdef.partial", "half")],
        ),
    ] {
        fs::create_dir(place.path(run)).expect("created");
        folders.iter().for_each(|name| fs::create_dir(place.path(run).join(name)).expect("created"));
        files.iter().for_each(|(name, text)| place.write(&format!("{run}/{name}"), text));
        let ended = place.train(&[&common[..], &["--run", run, "--resume"]].concat());
        let said = "resume      no checkpoint was written yet: at step 0, with new weights";
        assert!(ended.stderr.contains(said), "{run}: {}", ended.stderr);
        straight.assert_same(&place.checkpoint(&format!("{run}/{last}")));
        let text = fs::read_to_string(place.path(run).join("stats.jsonl")).expect("statistics");
        assert_eq!(text.lines().count(), 6, "{run}: one line per step, none twice");
    }
    let refused = |said: &str, set: &str| {
        fs::create_dir_all(place.path("other/checkpoints")).expect("created");
        place.write("other/log.txt", said);
        let ended = place.run(&[&common[..], &["--run", "other", "--resume", "--set", set]].concat());
        ended.error(&[1]).to_string()
    };
    let error = refused("[      0.1 s] start       with the weights of a.pt: EMA\n", "save_model=True");
    assert!(
        error.contains("of a run that began with --init: start it again with --force --init FILE"),
        "{error}"
    );
    let gone = refused(
        "[      0.1 s] wrote other/checkpoints/epoch_0000.safetensors at step 0\n",
        "save_model=True",
    );
    assert!(gone.contains("holds no checkpoint: start the run again with --force"), "{gone}");
    let error = refused("", "save_model=False");
    assert!(error.contains("holds no checkpoint: start the run again with --force"), "{error}");
}

#[test]
fn load_epoch_goes_on_from_that_epoch() {
    let place = Place::new();
    let common = ["--config", "ddpm.yaml", "--set", "n_sample=0", "--save-every", "1"];
    place.train(&common);
    let before = place.checkpoint("run/checkpoints/epoch_0003.safetensors");
    let ended = place.train(&[&common[..], &["--set", "load_epoch=1"]].concat());
    assert!(ended.stderr.contains("epoch_0001.safetensors at step 6 of 18"), "{}", ended.stderr);
    let after = place.checkpoint("run/checkpoints/epoch_0003.safetensors");
    before.assert_same(&after);
}

#[test]
fn a_finished_run_is_left_alone_or_prolonged() {
    let place = Place::new();
    let common = ["--config", "ddpm.yaml", "--set", "n_sample=0"];
    place.train(&common);
    let ended = place.train(&[&common[..], &["--resume"]].concat());
    assert!(ended.stdout.starts_with("this run is finished: 3 epochs, 18 steps\n"), "{}", ended.stdout);
    let ended = place.train(&[&common[..], &["--resume", "--epochs", "4"]].concat());
    assert!(ended.stdout.starts_with("trained 4 epochs (24 steps)"), "{}", ended.stdout);
}

#[test]
fn the_last_sheet_is_made_up_for() {
    let place = Place::new();
    let common = ["--config", "ddpm.yaml", "--epochs", "1", "--sample-steps", "2"];
    place.train(&common);
    let sheet = place.path("run/samples/epoch_0001.png");
    let before = fs::read(&sheet).expect("a sheet");
    fs::remove_file(&sheet).expect("removed");
    place.train(&[&common[..], &["--resume"]].concat());
    assert!(fs::read(&sheet).expect("a sheet") == before);
}

#[test]
fn other_settings_are_refused_by_name() {
    let place = Place::new();
    let common = ["--config", "ddpm.yaml", "--set", "n_sample=0", "--seed", "3"];
    place.train(&common);
    let refused = |extra: &[&str]| {
        let ended = place.run(&[&common[..4], &["--resume"], extra].concat());
        ended.error(&[2]).to_string()
    };
    let file = "run/checkpoints/latest.safetensors";
    let error = refused(&["--set", "network.dropout=0.25"]);
    let wanted = "this run was started with network.dropout = 0.1, now it is 0.25: set it back";
    assert!(error.contains(wanted), "{error}");
    assert!(error.contains("checkpoints/"), "{error}");
    let error = refused(&["--seed", "4"]);
    assert!(error.contains("started with seed = 3, now it is 4"), "{error}");
    let error = refused(&["--amp", "bf16"]);
    assert!(error.contains("started with amp = off, now it is bf16"), "{error}");

    // One image of all is another: nothing but its levels tells.
    let image = place.path("data/train/dark/07.png");
    let original = fs::read(&image).expect("an image");
    fs::copy(place.path("data/train/dark/08.png"), &image).expect("a copy");
    let error = refused(&[]);
    assert!(error.contains("started with dataset = folder (digest content:"), "{error}");
    fs::write(&image, original).expect("written");
    place.run(&[&common[..4], &["--resume"]].concat()).success();
    let before = fs::read(place.path(file)).expect("a checkpoint");
    fs::remove_file(image).expect("removed");
    let error = refused(&[]);
    assert!(error.contains("started with dataset = folder (digest "), "{error}");
    assert_eq!(fs::read(place.path(file)).expect("a checkpoint"), before);
}
