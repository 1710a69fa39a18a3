//! Ctrl-C in the middle of the work: the program ends by itself, says how to go on, leaves only whole files, and going
//! on gives what a run gives that was not interrupted, to the bit.

use std::fs;

use crate::formats::tensors;
use crate::tiny::{STEPS, TRAINING, with};

#[test]
fn training() {
    let place = with(&["data", "ddpm.yaml"]);
    let train = |run: &str| {
        format!(
            "ddae-train diffusion --config ddpm.yaml --run {run} --epochs 6 --set n_sample=0 --log-every 1 {TRAINING}"
        )
    };
    place.done(&train("straight"));
    let stats = place.path("stopped/stats.jsonl");
    // Lines of steps; those of validation losses have another key.
    let steps = || {
        let text = fs::read_to_string(&stats).unwrap_or_default();
        text.lines().filter(|line| line.contains("\"loss\":")).count()
    };
    // The second step of the second epoch at the earliest.
    let middle = STEPS as usize + 2;
    let ended = place.start(&train("stopped")).wait_until(|| steps() >= middle).interrupt().wait();
    let error = ended.error(&[130]);
    assert!(error.starts_with("error: stopped after step "), "{error}");
    let (_, go_on) = error.split_once("Go on with: ").expect("how to go on");
    assert!(go_on.ends_with("--resume"), "{error}");
    assert!((middle..6 * STEPS as usize).contains(&steps()), "{} steps", steps());
    assert_eq!(
        place.names("stopped/checkpoints"),
        ["epoch_0000.safetensors", "latest.safetensors"],
        "only whole checkpoints"
    );
    // The command that the message gives, whose first word is the program's path.
    let (_, arguments) = go_on.split_once(' ').expect("a command with arguments");
    place.done(&format!("ddae-train {arguments}"));
    let last = |run: &str| tensors(&place.read(&format!("{run}/checkpoints/epoch_0006.safetensors")));
    assert!(last("straight") == last("stopped"), "the weights differ");
}

#[test]
fn features() {
    let place = with(&["data", "features.onnx"]);
    let job = |output: &str| {
        format!(
            "ddae-infer features features.onnx --data-root data --timesteps 11 --views 40 --shards 6 --batch 5 --threads 1 -o {output}"
        )
    };
    place.done(&job("straight"));
    let first = place.path("stopped.0000-of-0006.h5");
    let ended = place.start(&job("stopped")).wait_until(|| first.exists()).interrupt().wait();
    let error = ended.error(&[130]);
    assert!(error.contains("the same command goes on"), "{error}");
    let left: Vec<String> = place.names("").into_iter().filter(|name| name.starts_with("stopped")).collect();
    assert!(
        !left.is_empty() && left.iter().all(|name| name.ends_with("-of-0006.h5")),
        "whole shards: {left:?}"
    );
    place.done(&job("stopped"));
    assert!(place.read("straight.h5") == place.read("stopped.h5"), "the features differ");
    assert!(!first.exists(), "shards are removed once they are joined");
}

#[test]
fn images() {
    let place = with(&["sampler.onnx"]);
    let job = |output: &str| {
        let options = "--sampler ddpm --seeds 0-39 --batch 2 --threads 1";
        format!(
            "ddae-infer sample sampler.onnx {options} -o {output} --npy {output}.npy --sheet {output}.png"
        )
    };
    place.done(&job("straight"));
    let first = place.path("stopped/000000.png");
    let ended = place.start(&job("stopped")).wait_until(|| first.exists()).interrupt().wait();
    let error = ended.error(&[130]);
    assert!(error.contains("the same command goes on"), "{error}");
    let drawn = place.names("stopped");
    assert!(drawn.len() < 41, "{} files", drawn.len());
    assert!(drawn.iter().all(|name| name.ends_with(".png") || name == "run.json"), "{drawn:?}");
    assert!(!place.path("stopped.npy").exists() && !place.path("stopped.png").exists());
    place.done(&job("stopped"));
    for (ours, theirs) in [("stopped.npy", "straight.npy"), ("stopped.png", "straight.png")] {
        assert!(place.read(ours) == place.read(theirs), "{ours} differs");
    }
    for name in place.names("straight") {
        assert!(place.read(&format!("straight/{name}")) == place.read(&format!("stopped/{name}")), "{name}");
    }
}

/// What a killed export leaves is removed by the next to the same file, and by no other.
#[test]
fn a_killed_export() {
    let place = with(&["run/checkpoints/latest.safetensors"]);
    let export = |name: &str| {
        format!("ddae-export run/checkpoints/latest.safetensors --graph sampler --force -o {name}")
    };
    let names = || -> Vec<String> {
        let entries = fs::read_dir(place.path("")).expect("a folder");
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
    };
    let left = |name: &str| {
        names().iter().any(|left| left.starts_with(&format!("{name}.")) && left.ends_with(".partial"))
    };
    for name in ["sampler.onnx", "other.onnx"] {
        // It may be done before it is killed; then it is begun again.
        while !left(name) {
            let _ = fs::remove_file(place.path(name));
            drop(place.start(&export(name)).wait_until(|| left(name) || place.path(name).is_file()));
        }
    }
    place.done(&export("sampler.onnx"));
    assert!(left("other.onnx") && !left("sampler.onnx"), "{:?}", names());
    place.done(&export("other.onnx"));
    assert_eq!(names().len(), 3, "{:?}", names());
}

/// An export is short: the signal may come after its end, and then there is a whole file.
#[test]
fn exporting() {
    let place = with(&["run/checkpoints/latest.safetensors"]);
    let before = place.names("");
    let running =
        place.start("ddae-export run/checkpoints/latest.safetensors --graph sampler -o sampler.onnx");
    // The folder in which it makes the file stands beside `run`.
    let has_begun = || fs::read_dir(place.path("")).is_ok_and(|entries| entries.count() > 1);
    let ended = running.wait_until(has_begun).interrupt().wait();
    if ended.code == Some(0) {
        place.done("ddae-export inspect sampler.onnx");
    } else {
        assert!(ended.error(&[130]).contains("no file was written"), "{ended}");
        assert_eq!(place.names(""), before);
    }
}

/// Every program, whatever it is doing, ends with the code that shells give the signal, and with one line.
#[test]
fn signals_have_their_exit_codes() {
    let place = with(&["sampler.onnx"]);
    // What is read from this pipe never comes.
    let pipe = std::process::Command::new("mkfifo").arg(place.path("config.yaml")).status();
    assert!(pipe.expect("mkfifo").success());
    // More images than can be read before the signal comes; the files have nothing in them but their sizes.
    let idx = |name: &str, header: Vec<u8>, length: u64| {
        place.write(name, header);
        let file = fs::OpenOptions::new().write(true).open(place.path(name)).expect("the file");
        file.set_len(length).expect("a sparse file");
    };
    for (prefix, count) in [("train", 2_000_000), ("t10k", 10_000)] {
        let images = [2051, count, 28, 28].map(u32::to_be_bytes).concat();
        idx(&format!("data/{prefix}-images-idx3-ubyte"), images, 16 + 784 * u64::from(count));
        let labels = [2049, count].map(u32::to_be_bytes).concat();
        idx(&format!("data/{prefix}-labels-idx1-ubyte"), labels, 8 + u64::from(count));
    }
    for line in [
        "ddae-data info mnist --root data",
        "ddae-train diffusion --config config.yaml --device cpu",
        "ddae-export --config config.yaml --list-taps",
        "ddae-infer sample sampler.onnx --sampler ddpm --seeds 0-4999 --threads 1 -o images",
        "ddae-probe knn --pixels mnist --root data",
    ] {
        for (signal, code) in [("INT", 130), ("TERM", 143)] {
            let ended = place.start(line).wait_until_it_listens().signal(signal).wait();
            let error = ended.error(&[code]);
            assert!(error.contains("interrupted"), "{ended}");
            let json = place.start(&format!("{line} --json")).wait_until_it_listens().signal(signal).wait();
            let failure: serde_json::Value = serde_json::from_str(&json.stdout).expect("one object");
            assert_eq!((&failure["kind"], &failure["exit_code"]), (&"interrupted".into(), &code.into()));
        }
    }
}
