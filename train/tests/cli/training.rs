//! What a run does and leaves behind.

use std::fs;
use std::process::Stdio;

use serde_json::Value;

use crate::program::Place;

#[test]
fn a_run_learns_and_leaves_its_folder() {
    let place = Place::new();
    let arguments = ["--config", "ddpm.yaml", "--epochs", "12", "--save-every", "5", "--sample-every", "6"];
    let ended = place.train(&[&arguments[..], &["--sample-steps", "5", "--log-every", "12"]].concat());

    let expected = "next:       ddae-export run/checkpoints/latest.safetensors --graph features --taps all -o \
                    run/features.onnx\n";
    assert!(ended.stdout.starts_with("trained 12 epochs (72 steps): loss 0."), "{}", ended.stdout);
    assert!(ended.stdout.ends_with(expected), "{}", ended.stdout);

    let list = |folder: &str| {
        let entries = fs::read_dir(place.path("run").join(folder)).expect("a folder");
        let mut names: Vec<String> =
            entries.map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    };
    assert_eq!(list(""), ["checkpoints", "config.yaml", "log.txt", "samples", "stats.jsonl", "tensorboard"]);
    let checkpoints = [
        "epoch_0000.safetensors",
        "epoch_0005.safetensors",
        "epoch_0010.safetensors",
        "epoch_0012.safetensors",
        "latest.safetensors",
    ];
    assert_eq!(list("checkpoints"), checkpoints);
    assert_eq!(list("samples"), ["epoch_0006.png", "epoch_0012.png"]);
    assert_eq!(list("tensorboard").len(), 1);

    let stats = fs::read_to_string(place.path("run/stats.jsonl")).expect("statistics");
    let lines: Vec<Value> = stats.lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
    let column = |key: &str| lines.iter().map(|l| l[key].as_f64().expect(key)).collect::<Vec<f64>>();
    assert_eq!(column("step"), [12.0, 24.0, 36.0, 48.0, 60.0, 72.0]);
    assert_eq!(column("epoch"), [1.0, 3.0, 5.0, 7.0, 9.0, 11.0]);
    assert_eq!(column("lr"), [1e-3; 6]);
    let losses = column("loss");
    assert!(losses[0] > 0.6 && losses[5] < 0.35, "{losses:?}");
    assert!(column("images_per_second").iter().all(|&rate| rate > 0.0));
    assert!(column("data_wait").iter().all(|share| (0.0..1.0).contains(share)));
}

#[test]
fn the_seed_is_all_that_a_run_depends_on() {
    let place = Place::new();
    let run = |name: &str, extra: &[&str]| {
        let arguments = ["--config", "edm.yaml", "--epochs", "1", "--set", "n_sample=0", "--run", name];
        place.train(&[&arguments[..], extra].concat());
        place.checkpoint(&format!("{name}/checkpoints/latest.safetensors"))
    };
    let first = run("a", &["--seed", "5", "--workers", "0"]);
    first.assert_same(&run("b", &["--seed", "5", "--workers", "3", "--save-minutes", "0"]));
    let other = run("c", &["--seed", "6"]);
    assert_ne!(first.weights, other.weights);
    assert_eq!(first.state.step, 6);
}

#[test]
fn the_untrained_network_is_kept_and_its_average_is_itself() {
    let place = Place::new();
    place.train(&["--config", "ddpm.yaml", "--epochs", "1", "--set", "n_sample=0"]);
    let saved = place.checkpoint("run/checkpoints/epoch_0000.safetensors");
    assert_eq!((saved.state.epoch, saved.state.step), (0, 0));
    let weights = &saved.weights;
    assert_eq!(weights.get("model.image_proj.weight"), weights.get("ema.image_proj.weight"));
    assert!(weights.get("record.y").is_some());
    let trained = place.checkpoint("run/checkpoints/epoch_0001.safetensors").weights;
    assert_ne!(trained.get("model.image_proj.weight"), weights.get("model.image_proj.weight"));
    assert_ne!(trained.get("record.y"), weights.get("record.y"));
}

#[test]
fn init_begins_with_the_average_of_another_run() {
    let place = Place::new();
    let common = ["--config", "ddpm.yaml", "--epochs", "1", "--set", "n_sample=0"];
    place.train(&common);
    let init = ["--init", "run/checkpoints/latest.safetensors", "--run", "second"];
    place.train(&[&common[..], &init].concat());
    let first = place.checkpoint("run/checkpoints/latest.safetensors").weights;
    let second = place.checkpoint("second/checkpoints/epoch_0000.safetensors").weights;
    assert_eq!(second.get("model.final.weight"), first.get("ema.final.weight"));
    assert_ne!(second.get("model.final.weight"), first.get("model.final.weight"));
    assert_eq!(second.get("ema.final.weight"), first.get("ema.final.weight"));
    // What would be taken is said, and any other set can be.
    let dry = place.train(&[&common[..], &init, &["--dry-run"]].concat());
    let said = "start       with the weights of run/checkpoints/latest.safetensors: 'ema' (moving average)";
    assert!(dry.stdout.contains(said), "{}", dry.stdout);
    let third = ["--init", "run/checkpoints/latest.safetensors", "--init-weights", "model", "--run", "third"];
    place.train(&[&common[..], &third].concat());
    let third = place.checkpoint("third/checkpoints/epoch_0000.safetensors").weights;
    assert_eq!(third.get("model.final.weight"), first.get("model.final.weight"));
}

#[test]
fn a_run_goes_on_when_nobody_reads_what_it_says() {
    let place = Place::new();
    let mut command = place.command(&["--config", "ddpm.yaml", "--epochs", "1", "--set", "n_sample=0"]);
    let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().expect("the program starts");
    drop(child.stderr.take());
    assert_eq!(child.wait().expect("a child").code(), Some(0));
    assert_eq!(place.checkpoint("run/checkpoints/latest.safetensors").state.step, 6);
}

#[test]
fn a_dry_run_tells_and_writes_nothing() {
    let place = Place::new();
    let ended = place.train(&["--config", "edm.yaml", "--dry-run", "--amp", "bf16"]);
    assert!(ended.stdout.contains("48 images"), "{}", ended.stdout);
    assert!(ended.stdout.contains("EDM, augmented with probability 0.5"), "{}", ended.stdout);
    assert!(ended.stdout.contains("3 epochs of 6 steps of 8 images: 18 steps"), "{}", ended.stdout);
    let ended = place.train(&["--config", "edm.yaml", "--dry-run", "--epochs", "18446744073709551615"]);
    assert!(ended.stdout.contains("18446744073709551615 epochs of 6 steps"), "{}", ended.stdout);
    assert!(ended.stdout.contains("\ndevice      CPU\n"), "{}", ended.stdout);
    assert!(!place.path("run").exists());
}

#[test]
fn sheets_are_sampled_by_what_suits_the_schedule_and_the_log_says_so() {
    let place = Place::new();
    let sheets = |config: &str, more: &[&str]| {
        let shown = place.train(&[&["--config", config, "--dry-run"], more].concat()).stdout;
        let line = shown.lines().find_map(|line| line.strip_prefix("sheets      sampled by "));
        line.unwrap_or_else(|| panic!("{shown}")).to_string()
    };
    assert_eq!(sheets("ddpm.yaml", &[]), "ddim in 100 steps, 100 network calls");
    let few = sheets("ddpm.yaml", &["--sample-steps", "5"]);
    assert_eq!(few, "dpm-solver in 5 steps, 5 network calls: ddim needs more, 100 if not said");
    let inverted = ["--set", "diffusion.betas=inverted", "--set", "diffusion.n_T=1000"];
    let found = sheets("ddpm.yaml", &inverted);
    let wanted =
        "dpm-solver in 100 steps, 100 network calls: ddim would leave noise of 18 of 255 levels in them";
    assert_eq!(found, wanted);
    assert_eq!(sheets("edm.yaml", &[]), "edm in 18 steps, 35 network calls");
    place.train(&["--config", "ddpm.yaml", "--epochs", "1", "--sample-steps", "5"]);
    let log = fs::read_to_string(place.path("run/log.txt")).expect("the log");
    assert!(log.contains("sheets      sampled by dpm-solver in 5 steps"), "{log}");
    assert!(
        log.contains("note        samples begin as pure noise, but at its noisiest this process leaves 60 %"),
        "{log}"
    );
    // Where there are no sheets, nothing is said of them.
    let none = place.train(&["--config", "ddpm.yaml", "--dry-run", "--set", "n_sample=0"]).stdout;
    assert!(!none.contains("sheets "), "{none}");
}

#[test]
fn resized_images_are_told_once() {
    let place = Place::new();
    let path = place.path("data/train/bright/99.png");
    ddae_data::sheet::write_png_image(path, &[0.5; 99], [1, 9, 11]).expect("written");
    place.train(&["--config", "ddpm.yaml", "--set", "n_sample=0", "--set", "n_epoch=2"]);
    let log = fs::read_to_string(place.path("run/log.txt")).expect("a log");
    let note = "note        images of 2 sizes, from 8x8 to 9x11 (height x width) were brought to 8x8 by --resize cover, as none was asked for\n";
    assert_eq!(log.matches(note).count(), 1, "{log}");
}

#[test]
fn the_speed_of_a_single_step_is_told() {
    let place = Place::new();
    let one = ["--config", "ddpm.yaml", "--epochs", "1", "--set", "batch_size=48", "--set", "n_sample=0"];
    let ended = place.train(&one);
    let rate = ended.stdout.split_once("loss ").and_then(|(_, rest)| rest.split_once(", "));
    let rate = rate.and_then(|(_, rest)| rest.split_once(" images/s")).expect("a rate").0;
    let rate: f64 = rate.parse().expect("a number");
    assert!((0.1..1e6).contains(&rate), "{rate}");
}

#[test]
fn save_model_false_keeps_no_checkpoint() {
    let place = Place::new();
    let set = ["--set", "save_model=False", "--set", "n_sample=0"];
    let ended = place.train(&[&["--config", "ddpm.yaml", "--json", "--epochs", "1"], &set[..]].concat());
    let summary: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    assert_eq!((&summary["steps"], &summary["checkpoint"]), (&Value::from(6), &Value::Null));
    assert_eq!(fs::read_dir(place.path("run/checkpoints")).expect("a folder").count(), 0);
}

#[test]
fn fp16_scales_the_loss() {
    let place = Place::new();
    let set = ["--set", "n_sample=0", "--log-every", "6", "--epochs", "2"];
    place.train(&[&["--config", "ddpm.yaml", "--amp", "fp16"], &set[..]].concat());
    let state = place.checkpoint("run/checkpoints/latest.safetensors").state;
    assert_eq!((state.amp.as_str(), state.step), ("fp16", 12));
    let halvings = 2f64.powi(state.skipped_steps as i32);
    assert_eq!(state.loss_scale * halvings, 65536.0);
}
