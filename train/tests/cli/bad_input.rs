//! Bad input gets one line that says what to do, exit code 2 (usage) or 1 (failure), and leaves nothing half-written.

use std::fs;

use crate::program::{Ended, Place};

fn refused(place: &Place, arguments: &[&str], code: i32, wanted: &str) {
    let ended = place.run(arguments);
    let error = ended.error(code);
    assert_eq!(error.matches(wanted).count(), 1, "{error}\nshould say once: {wanted}");
}

#[test]
fn configurations() {
    let place = Place::new();
    let good = fs::read_to_string(place.path("ddpm.yaml")).expect("the configuration");
    place.write("typo.yaml", good.replace("batch_size", "batchsize"));
    place.write("missing.yaml", good.replace("lrate: 1.0e-3\n", ""));
    place.write("list.yaml", "- 1\n- 2\n");
    place.write("broken.yaml", "dataset: [folder\n");
    place.write("binary.yaml", [0xff, 0xfe, 0x00, 0x9c]);
    place.write("empty.yaml", "");
    for (file, code, wanted) in [
        ("typo.yaml", 2, "typo.yaml: batchsize: unknown field `batchsize`"),
        ("missing.yaml", 2, "missing.yaml: missing field `lrate`"),
        ("list.yaml", 2, "list.yaml: not a configuration"),
        ("broken.yaml", 2, "broken.yaml: not YAML: "),
        ("binary.yaml", 2, "binary.yaml: not a text file"),
        ("empty.yaml", 2, "empty.yaml: not a configuration"),
        ("nowhere.yaml", 1, "nowhere.yaml: No such file"),
        ("data", 1, "data: Is a directory"),
    ] {
        refused(&place, &["--config", file], code, wanted);
    }
    let set = |set, wanted| refused(&place, &["--config", "ddpm.yaml", "--set", set], 2, wanted);
    set("network.n_channels=33", "n_channels is 33; it must be a multiple of 32");
    set("network.ch_mults=[1, 999999999999999999]", "it must be at most 65536");
    set("network.widht=1", "unknown field `widht`");
    set("dataset=imagenet", "imagenet");
    set(
        "batch_size=500",
        "batch_size is 500, but folder/train has only 48 images: set a batch_size of at most 48",
    );
    set("network.image_shape=[3,8]", "network.image_shape");
    assert!(!place.path("run").exists());
}

#[test]
fn usage() {
    let place = Place::new();
    for arguments in [
        &["--config", "ddpm.yaml", "--device", "tpu"][..],
        &["--config", "ddpm.yaml", "--set", "no-equals-sign"],
        &["--config", "ddpm.yaml", "--resume", "--force"],
        &["--config", "ddpm.yaml", "--dry-run", "--json"],
        &["--config", "ddpm.yaml", "--amp", "fp8"],
        &["--run", "somewhere"],
    ] {
        let ended = place.run(arguments);
        assert_eq!(ended.code, Some(2), "{arguments:?}: {}", ended.stderr);
        assert!(ended.stderr.starts_with("error: "), "{}", ended.stderr);
    }
    refused(&place, &["--config", "ddpm.yaml", "--epochs", "0"], 2, "--epochs is 0; it must be at least 1");
    refused(&place, &["--config", "ddpm.yaml", "--save-minutes=-1"], 2, "--save-minutes is -1");
    refused(&place, &["--resume"], 2, "--resume needs the run folder");
    refused(&place, &["--resume", "--run", "run"], 1, "run: holds no run to resume");
    for anew in [&["--init", "w.safetensors"][..], &["--force"]] {
        let arguments = [&["--config", "ddpm.yaml", "--set", "load_epoch=1"], anew].concat();
        refused(&place, &arguments, 2, &format!("{} begins a run anew and load_epoch 1 goes on", anew[0]));
    }
    refused(
        &place,
        &["--config", "ddpm.yaml", "--sample-steps", "0"],
        2,
        "0 steps: this sampler takes 1 to 100",
    );
    refused(&place, &["--config", "ddpm.yaml", "--resume"], 1, "run: holds no run to resume");
    assert!(!place.path("run").exists());
}

#[test]
fn a_gpu_where_there_is_none() {
    let place = Place::new();
    let arguments = ["--config", "ddpm.yaml", "--device", "cuda:7"];
    refused(&place, &arguments, 1, "CUDA was asked for, but ");
    assert!(!place.path("run").exists());
}

#[test]
fn an_earlier_run_is_not_overwritten() {
    let place = Place::new();
    let arguments = ["--config", "ddpm.yaml", "--epochs", "1", "--set", "n_sample=0"];
    place.train(&arguments);
    let before = fs::read(place.path("run/checkpoints/latest.safetensors")).expect("a checkpoint");
    refused(
        &place,
        &arguments,
        1,
        "run: holds a run already: go on with --resume, or replace it with --force",
    );
    let after = fs::read(place.path("run/checkpoints/latest.safetensors")).expect("a checkpoint");
    assert!(before == after);
    let ended = place.train(&[&arguments[..], &["--force"]].concat());
    assert!(ended.stdout.starts_with("trained 1 epochs"), "{}", ended.stdout);
}

#[test]
fn weights_to_begin_with() {
    let place = Place::new();
    let narrow = ["--config", "ddpm.yaml", "--epochs", "1", "--set", "n_sample=0"];
    place.train(&narrow);
    let wide = ["--config", "ddpm.yaml", "--run", "wide", "--set", "network.n_channels=64"];
    let init = |file: &str, wanted: &str| {
        refused(&place, &[&wide[..], &["--init", file]].concat(), 1, wanted);
        assert!(!place.path("wide").exists());
    };
    let good = "run/checkpoints/latest.safetensors";
    init(good, "parameter 'time_emb.aug_emb.weight' is [32, 9] in the file and [64, 9] in the network");
    let bytes = fs::read(place.path(good)).expect("a checkpoint");
    place.write("half.safetensors", &bytes[..bytes.len() / 2]);
    place.write("empty.safetensors", "");
    place.write("text.safetensors", "dataset: folder\n");
    init("half.safetensors", "half.safetensors: is not a complete safetensors file");
    init("empty.safetensors", "empty.safetensors: is empty");
    init("text.safetensors", "text.safetensors: is not a complete safetensors file");
    init("nowhere.safetensors", "nowhere.safetensors: No such file");
}

#[test]
fn a_loss_that_is_no_number() {
    let place = Place::new();
    let ended = place.run(&["--config", "ddpm.yaml", "--set", "lrate=1e30"]);
    let error = ended.error(1);
    assert!(error.contains("training diverged at step 2: the loss was "), "{error}");
    assert!(error.contains("at learning rate 5.000e29. The last good checkpoint is run/"), "{error}");
    assert!(error.contains("latest.safetensors (step 0); try a smaller lrate"), "{error}");
    let saved = place.checkpoint("run/checkpoints/latest.safetensors");
    assert_eq!(saved.state.step, 0);
    let log = fs::read_to_string(place.path("run/log.txt")).expect("the log");
    assert!(log.contains("training diverged at step 2"), "{log}");
}

#[test]
fn a_scale_that_falls_without_end() {
    let place = Place::new();
    let arguments = ["--config", "ddpm.yaml", "--amp", "fp16", "--set", "lrate=1e30", "--epochs", "9"];
    let ended = place.run(&arguments);
    let error = ended.error(1);
    assert!(error.contains("training diverged at step "), "{error}");
    assert!(error.contains("latest.safetensors (step 0)"), "{error}");
}

#[test]
fn weights_that_are_no_numbers_are_not_saved() {
    let place = Place::new();
    // The loss of the only step is finite; the weights that it leaves are not.
    let arguments =
        ["--config", "ddpm.yaml", "--epochs", "1", "--set", "batch_size=48", "--set", "lrate=1e39"];
    let ended = place.run(&arguments);
    let error = ended.error(1);
    assert!(error.contains("training diverged at step 1: "), "{error}");
    assert!(error.contains("holds values that are not finite"), "{error}");
    assert_eq!(place.checkpoint("run/checkpoints/latest.safetensors").state.step, 0);
}

#[test]
fn a_full_disk() {
    let place = Place::new();
    let arguments = ["--config", "ddpm.yaml", "--epochs", "1", "--set", "n_sample=0"];
    place.train(&arguments);
    let good = fs::read(place.path("run/checkpoints/latest.safetensors")).expect("a checkpoint");
    // A limit on the size of files, far below that of a checkpoint, stands for the disk; the signal that comes with it
    // is ignored, so that writing fails as on a full one.
    let command = place.command(&["--run", "run", "--resume", "--epochs", "2"]);
    let mut limited = std::process::Command::new("sh");
    limited.args(["-c", "trap '' XFSZ; ulimit -f 1000; exec \"$0\" \"$@\""]).arg(command.get_program());
    limited.args(command.get_args()).current_dir(place.path(""));
    let ended = Ended::of(limited.output().expect("the shell starts"));
    let error = ended.error(1);
    assert!(error.contains("run/checkpoints/epoch_0002.safetensors: File too large"), "{error}");
    let mut names: Vec<String> = fs::read_dir(place.path("run/checkpoints"))
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    assert_eq!(names, ["epoch_0000.safetensors", "epoch_0001.safetensors", "latest.safetensors"]);
    assert!(fs::read(place.path("run/checkpoints/latest.safetensors")).expect("a checkpoint") == good);
}

#[test]
fn a_foreign_checkpoint_in_the_run_folder() {
    let place = Place::new();
    let arguments = ["--config", "ddpm.yaml", "--epochs", "1", "--set", "n_sample=0"];
    place.train(&arguments);
    for entry in fs::read_dir(place.path("run/checkpoints")).expect("a folder") {
        fs::write(entry.expect("an entry").path(), "not a checkpoint").expect("written");
    }
    let wanted = "run/checkpoints: holds no checkpoint that can be read (";
    refused(&place, &[&arguments[..], &["--resume"]].concat(), 1, wanted);
}
