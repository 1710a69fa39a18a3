//! Bad input gets one line that says what to do, exit code 2 (usage) or 1 (failure), and leaves nothing half-written.

use std::fs;

use ddae_checkpoint::{Checkpoint, write_tensors};
use ddae_tests::programs;

use crate::program::Place;

/// A run of one epoch that ends quickly.
const SHORT: [&str; 6] = ["--config", "ddpm.yaml", "--epochs", "1", "--set", "n_sample=0"];

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
    place.refuses([
        (
            2,
            "--config typo.yaml",
            "typo.yaml: line …, column 1: batchsize: there is no such key; did you mean 'batch_size'?",
        ),
        (2, "--config missing.yaml", "missing.yaml: the key 'lrate' is missing"),
        (2, "--config list.yaml", "list.yaml: not a configuration…"),
        (2, "--config broken.yaml", "broken.yaml: line 2, column 1: not YAML: …"),
        (2, "--config binary.yaml", "binary.yaml: not a text file…"),
        (2, "--config empty.yaml", "empty.yaml: not a configuration…"),
        (1, "--config nowhere.yaml", "nowhere.yaml: there is no such file or folder"),
        (1, "--config data", "data: it is a folder, and a file is wanted"),
    ]);
    let batch = "batch_size is 500, but folder/train has only 48 images: set a batch_size of at most 48";
    let cases = [
        ("network.n_channels=33", "…network: n_channels is 33; it must be a multiple of 32…"),
        ("network.ch_mults=[1,999999999999999999]", "…it must be at most 65536…"),
        ("network.widht=1", "--set network.widht=1: there is no such key…"),
        ("dataset=imagenet", "…imagenet…"),
        ("batch_size=500", batch),
        ("network.image_shape=[3,8]", "…network.image_shape…"),
        ("no-equals-sign", "…'no-equals-sign' is not key=value, as in network.dropout=0.2…"),
    ];
    place.refuses(cases.map(|(set, wanted)| (2, format!("--config ddpm.yaml --set {set}"), wanted)));
}

#[test]
fn usage() {
    let again = |option: &str| format!("{option} begins a run anew and load_epoch 1 goes on…");
    Place::new().refuses([
        (2, "--config ddpm.yaml --device tpu", "…"),
        (2, "--config ddpm.yaml --resume --force", "…"),
        (2, "--config ddpm.yaml --dry-run --json", "…"),
        (2, "--config ddpm.yaml --amp fp8", "…"),
        (2, "--run somewhere", "…"),
        (2, "--config ddpm.yaml --epochs 0", "--epochs '0': a whole number of at least 1 is wanted…"),
        (2, "--config ddpm.yaml --save-minutes -1", "--save-minutes '-1': a number of at least 0 is wanted…"),
        (2, "--resume", "--resume needs the run folder…"),
        (1, "--resume --run run", "run: holds no run to resume…"),
        (1, "--config ddpm.yaml --resume", "run: holds no run to resume…"),
        (2, "--config ddpm.yaml --set load_epoch=1 --init w.safetensors", &again("--init")),
        (2, "--config ddpm.yaml --set load_epoch=1 --force", &again("--force")),
        (2, "--config ddpm.yaml --sample-steps 0", "0 steps: this sampler takes 1 to 100"),
        (1, "--config ddpm.yaml --device cuda:7", "CUDA was asked for, but …"),
        // A dry run is refused for what a run would be refused for.
        (1, "--config ddpm.yaml --device cuda:7 --dry-run", "CUDA was asked for, but …"),
    ]);
}

#[test]
fn an_earlier_run_is_not_overwritten() {
    let place = Place::new();
    place.train(&SHORT);
    let wanted = "run: holds a run already: go on with --resume, or replace it with --force";
    place.refuses([(1, SHORT.join(" "), wanted)]);
    let ended = place.train(&[&SHORT[..], &["--force"]].concat());
    assert!(ended.stdout.starts_with("trained 1 epochs"), "{ended}");
}

#[test]
fn weights_to_begin_with() {
    let place = Place::new();
    place.train(&SHORT);
    let good = "run/checkpoints/latest.safetensors";
    let bytes = fs::read(place.path(good)).expect("a checkpoint");
    place.write("half.safetensors", &bytes[..bytes.len() / 2]);
    place.write("empty.safetensors", "");
    place.write("text.safetensors", "dataset: folder\n");
    let cases = [
        (good, "…parameter 'time_emb.aug_emb.weight' is [32, 9] in the file and [64, 9] in the network…"),
        ("half.safetensors", "half.safetensors: is not a complete safetensors file…"),
        ("empty.safetensors", "empty.safetensors: is empty…"),
        ("text.safetensors", "text.safetensors: is not a complete safetensors file…"),
        ("nowhere.safetensors", "nowhere.safetensors: there is no such file or folder"),
    ];
    let wide = "--config ddpm.yaml --run wide --set network.n_channels=64";
    // What a run would be refused for, a dry one is.
    for dry in ["", " --dry-run"] {
        place.refuses(cases.map(|(file, wanted)| (1, format!("{wide} --init {file}{dry}"), wanted)));
    }
    let wanted = "…--init-weights other: no weights are called so: it holds 2 sets of weights, 'ema' (moving average), 'model'";
    place.refuses([(
        1,
        format!("--config ddpm.yaml --run wide --init {good} --init-weights other --dry-run"),
        wanted,
    )]);
    // An average without names is not passed over.
    let checkpoint = Checkpoint::open(&place.path(good)).expect("a checkpoint");
    let weights = checkpoint.tensors_with_prefix("model.").expect("weights");
    let names: Vec<String> = weights.iter().map(|(name, _)| format!("model.{name}")).collect();
    let listed: Vec<String> = (0..names.len()).map(|number| format!("ema.shadow_params.{number}")).collect();
    let tensors = || weights.iter().map(|(_, tensor)| tensor);
    let all = names.iter().zip(tensors()).chain(listed.iter().zip(tensors()));
    let all = all.map(|(name, tensor)| (name.as_str(), tensor));
    write_tensors(&place.path("list.safetensors"), Default::default(), all).expect("a file");
    let wanted = "…its moving average, 'ema.shadow_params', has no names, and safetensors keep no order, which would tell \
                  them; choose others with --init-weights NAME: …";
    place.refuses([(
        1,
        "--config ddpm.yaml --run wide --init list.safetensors --dry-run".to_string(),
        wanted,
    )]);
    place.train(&[
        "--config",
        "ddpm.yaml",
        "--run",
        "wide",
        "--init",
        "list.safetensors",
        "--init-weights",
        "model",
        "--dry-run",
    ]);
}

#[test]
fn a_loss_that_is_no_number() {
    let place = Place::new();
    let ended = place.run(&["--config", "ddpm.yaml", "--set", "lrate=1e30"]);
    let error = ended.error(&[1]);
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
    let error = ended.error(&[1]);
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
    let error = ended.error(&[1]);
    assert!(error.contains("training diverged at step 1: "), "{error}");
    assert!(error.contains("holds values that are not finite"), "{error}");
    assert_eq!(place.checkpoint("run/checkpoints/latest.safetensors").state.step, 0);
}

#[test]
fn a_full_disk() {
    let place = Place::new();
    place.train(&SHORT);
    let good = fs::read(place.path("run/checkpoints/latest.safetensors")).expect("a checkpoint");
    // A limit on the size of files, far below that of a checkpoint, stands for the disk; the signal that comes with it
    // is ignored, so that writing fails as on a full one.
    let command = place.command(&["--run", "run", "--resume", "--epochs", "2"]);
    let mut limited = std::process::Command::new("sh");
    limited.args(["-c", "trap '' XFSZ; ulimit -f 1000; exec \"$0\" \"$@\""]).arg(command.get_program());
    limited.args(command.get_args()).current_dir(place.path(""));
    let ended = programs::run(&mut limited);
    let error = ended.error(&[1]);
    assert!(error.contains("run/checkpoints/epoch_0002.safetensors: the file would be too large"), "{error}");
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
    place.train(&SHORT);
    for entry in fs::read_dir(place.path("run/checkpoints")).expect("a folder") {
        fs::write(entry.expect("an entry").path(), "not a checkpoint").expect("written");
    }
    let ended = place.run(&[&SHORT[..], &["--resume"]].concat());
    let wanted = "error: run/checkpoints: holds no checkpoint that can be read (";
    assert!(ended.error(&[1]).starts_with(wanted), "{ended}");
}
