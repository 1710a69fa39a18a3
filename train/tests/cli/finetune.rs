//! `ddae-train finetune`.

use std::collections::HashMap;
use std::fs;
use std::process::Command;

use ddae_checkpoint::{Checkpoint, write_tensors};
use ddae_model::tensor::Tensor;
use ddae_model::weights::Weights;
use ddae_tests::programs::run;

use crate::classifier::lines;
use crate::program::Place;
use crate::resume::stop_after;

/// 3 epochs of 6 steps; the denoiser is that of `--init`.
const CONFIG: &str = "dataset: folder
classes: 2
net_type: FineTuned
network: {layer: out_2, timestep: 11}
flip: True
n_epoch: 3
batch_size: 8
lrate: 1.0e-3
lr_schedule: cosine
optim: AdamW
optim_args: {weight_decay: 0.05}
grad_clip_norm: 1
save_dir: run
";

/// A place with a denoiser of one epoch in `denoiser`.
fn place() -> Place {
    let place = Place::new();
    place.train(&["--config", "ddpm.yaml", "--epochs", "1", "--set", "n_sample=0", "--run", "denoiser"]);
    place.write("tune.yaml", CONFIG);
    place.into_of("finetune")
}

fn saved(place: &Place, run: &str, epoch: u64) -> Weights {
    place.checkpoint(&format!("{run}/checkpoints/epoch_{epoch:04}.safetensors")).weights
}

#[test]
fn a_denoiser_is_cut_and_trained_on_labels() {
    let place = place();
    let ended = place.train(&["--config", "tune.yaml", "--init", "denoiser", "--hold-out", "0.25"]);
    assert!(ended.stdout.starts_with("trained 3 epochs (15 steps): loss "), "{}", ended.stdout);
    assert!(ended.stderr.contains("with the weights of denoiser/checkpoints/"), "{}", ended.stderr);
    let scored = lines(&place, "run", "accuracy");
    assert_eq!(scored.len(), 4);
    assert_eq!(scored[3]["accuracy"], 1.0, "bright squares are told from dark ones: {scored:?}");
    assert_eq!(scored[3]["protocol"]["noise_level"], 11);

    let (donor, first, last) =
        (saved(&place, "denoiser", 1), saved(&place, "run", 0), saved(&place, "run", 3));
    let name = "down.0.res.conv1.weight";
    assert_eq!(first.get(&format!("model.{name}")), donor.get(&format!("ema.{name}")), "the average");
    assert_ne!(last.get(&format!("model.{name}")), first.get(&format!("model.{name}")), "end to end");
    let head = first.get("model.linear_head.weight").expect("a head");
    assert_eq!(head.shape(), [2, 32]);
    // What comes after the layer is gone.
    for gone in ["model.final.weight", "model.up.3.res.conv1.weight", "model.time_emb.aug_emb.weight"] {
        assert!(donor.get(gone).is_some() && first.get(gone).is_none(), "{gone}");
    }
    let checkpoint =
        Checkpoint::open(&place.path("run/checkpoints/latest.safetensors")).expect("a checkpoint");
    let config = checkpoint.config().and_then(|config| config.classifier()).expect("a configuration");
    let tuned = config.network.fine_tuned().expect("a fine-tuned denoiser");
    assert_eq!((tuned.denoiser.net_type(), tuned.timestep, tuned.classes), ("UNet", Some(11), 2));
}

#[test]
fn blocks_far_from_the_head_learn_slowly() {
    let place = place();
    let moved = |run: &str, decay: &str| {
        let set = format!("layer_decay={decay}");
        place.train(&[
            "--config",
            "tune.yaml",
            "--init",
            "denoiser",
            "--run",
            run,
            "--epochs",
            "1",
            "--set",
            &set,
            "--set",
            "optim_args.weight_decay=0",
        ]);
        let (first, last) = (saved(&place, run, 0), saved(&place, run, 1));
        let of = |name: &str| {
            let [a, b] =
                [&first, &last].map(|saved| saved.get(&format!("model.{name}")).expect("a parameter"));
            let (a, b) = (a.as_f32().expect("f32"), b.as_f32().expect("f32"));
            let square = a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>();
            (square / a.len() as f64).sqrt()
        };
        ["image_proj.weight", "up.0.res.conv1.weight", "linear_head.weight"].map(of)
    };
    let (one, decaying) = (moved("one", "1"), moved("decaying", "0.5"));
    println!("{one:?} {decaying:?}");
    // Adam moves what it moves at about the rate.
    assert!(decaying[0] < 0.1 * one[0] && decaying[0] > 0.0, "{decaying:?} {one:?}");
    assert!(decaying[1] > 3.0 * decaying[0] && decaying[1] < one[1], "{decaying:?} {one:?}");
    assert!(decaying[2] > 0.5 * one[2], "{decaying:?} {one:?}");
    let said = place.train(&[
        "--config",
        "tune.yaml",
        "--init",
        "denoiser",
        "--dry-run",
        "--set",
        "layer_decay=0.5",
    ]);
    assert!(said.stdout.contains("(times 0.5 for each block below the head: times "), "{}", said.stdout);
}

#[test]
fn a_stopped_run_ends_like_one_that_was_not() {
    let place = place();
    let common = ["--config", "tune.yaml", "--epochs", "5", "--log-every", "1", "--set", "layer_decay=0.8"];
    let common = [&common[..], &["--set", "ema=0.9", "--hold-out", "0.25"]].concat();
    place.train(&[&common[..], &["--init", "denoiser", "--run", "straight"]].concat());
    let stopped = [&common[..], &["--run", "stopped"]].concat();
    let begun = [&stopped[..], &["--init", "denoiser"]].concat();
    let ended = stop_after(&place, &begun, "stopped", 7, "INT");
    // The command that it prints goes on, although it names a configuration that says nothing of the denoiser.
    let said = ended.error(&[130]);
    let command =
        said.split_once("Go on with: ").and_then(|(_, rest)| rest.lines().next()).expect("a command");
    assert!(command.contains(" --config tune.yaml ") && !command.contains("--init"), "{command}");
    let mut shell = Command::new("sh");
    shell.current_dir(place.path("")).env_remove("DDAE_DATA").args(["-c", command]);
    run(&mut shell).success();
    let last = "checkpoints/epoch_0005.safetensors";
    place.checkpoint(&format!("straight/{last}")).assert_same(&place.checkpoint(&format!("stopped/{last}")));
    assert_eq!(lines(&place, "stopped", "accuracy"), lines(&place, "straight", "accuracy"));
    // The configuration that the run keeps says everything, and so does an epoch to go on from.
    let resumed = place.train(&["--run", "stopped", "--resume"]);
    assert!(resumed.stdout.starts_with("this run is finished: 5 epochs"), "{}", resumed.stdout);
    let again = [&stopped[..], &["--set", "load_epoch=0"]].concat();
    let again = place.train(&again);
    assert!(again.stderr.contains("set aside"), "{}", again.stderr);
    place.refuses([(
        2,
        "--config tune.yaml --run absent --set load_epoch=0",
        "tune.yaml: the denoiser is not known: give a run or a checkpoint of ours with --init, …",
    )]);
}

/// Weights know nothing of dropout: it may be another than the denoiser was trained with.
#[test]
fn dropout_of_the_denoiser_can_be_set() {
    let place = place();
    let set = ["--set", "network.denoiser.network.dropout=0.25"];
    let tune = ["--config", "tune.yaml", "--init", "denoiser", "--epochs", "1"];
    place.train(&[&tune[..], &set].concat());
    let kept = fs::read_to_string(place.path("run/config.yaml")).expect("a configuration");
    assert!(kept.contains("dropout: 0.25") && kept.contains("n_channels: 32"), "{kept}");
    place.refuses([(
        2,
        "--config tune.yaml --init denoiser --set network.denoiser.network.n_channels=64",
        "…network.denoiser is not that of the checkpoint that --init names: leave it out",
    )]);
}

/// A checkpoint that cannot be read is named, whether another is taken or there is none.
#[test]
fn a_damaged_denoiser_is_named() {
    let place = place();
    let checkpoints = place.path("denoiser/checkpoints");
    fs::write(checkpoints.join("epoch_0009.safetensors"), "nothing").expect("written");
    let tune = ["--config", "tune.yaml", "--init", "denoiser", "--epochs", "1"];
    let ended = place.train(&tune);
    assert!(
        ended.stderr.contains("passed over: ") && ended.stderr.contains("epoch_0009"),
        "{}",
        ended.stderr
    );
    for entry in fs::read_dir(&checkpoints).expect("a folder") {
        fs::write(entry.expect("an entry").path(), "nothing").expect("written");
    }
    let error = place.run(&[&tune[..], &["--force"]].concat());
    let error = error.error(&[1]);
    assert!(
        error.contains("denoiser: holds no run with a checkpoint that can be read (--init): "),
        "{error}"
    );
    assert!(error.contains(".safetensors") && !error.contains("--force"), "{error}");
}

#[test]
fn a_published_checkpoint_is_taken_where_the_configuration_says_what_it_is() {
    let place = place();
    let published: Vec<(String, Tensor)> = saved(&place, "denoiser", 1)
        .into_iter()
        .filter_map(|(name, tensor)| match name.split_once('.')? {
            ("ema", name) => Some((format!("EMA.ema_model.nn_model.{name}"), tensor)),
            ("model", name) => Some((format!("MODEL.module.nn_model.{name}"), tensor)),
            _ => None,
        })
        .collect();
    let tensors = published.iter().map(|(name, tensor)| (name.as_str(), tensor));
    write_tensors(&place.path("published.safetensors"), HashMap::new(), tensors).expect("written");
    place.refuses([(
        2,
        "--config tune.yaml --init published.safetensors",
        "tune.yaml: the denoiser is not known: …say network.denoiser, model_type and diffusion",
    )]);
    let ddpm = fs::read_to_string(place.path("ddpm.yaml")).expect("a configuration");
    let network =
        ddpm.split_once("network:\n").and_then(|(_, rest)| rest.split_once("n_epoch")).expect("a network").0;
    let network: String = network.lines().map(|line| format!("    {line}\n")).collect();
    let whole = format!(
        "model_type: DDPM\ndiffusion: {{n_T: 100, betas: [1.0e-4, 0.02]}}\nnetwork:\n  layer: out_2\n  denoiser:\n    net_type: UNet\n    network:\n{network}"
    );
    place.write("whole.yaml", CONFIG.replace("network: {layer: out_2, timestep: 11}\n", &whole));
    let ended = place.train(&["--config", "whole.yaml", "--init", "published.safetensors", "--epochs", "1"]);
    assert!(
        ended.stderr.contains("'EMA.ema_model.nn_model' (moving average), taken as those of net_type UNet"),
        "{}",
        ended.stderr
    );
    let first = saved(&place, "run", 0);
    let name = "up.1.res.conv1.weight";
    let theirs = published.iter().find(|(known, _)| *known == format!("EMA.ema_model.nn_model.{name}"));
    assert_eq!(first.get(&format!("model.{name}")), theirs.map(|(_, tensor)| tensor));
}

#[test]
fn what_does_not_fit_is_refused_by_its_name() {
    let place = place();
    place.train(&["--config", "tune.yaml", "--init", "denoiser", "--epochs", "1", "--run", "tuned"]);
    let tune = "--config tune.yaml --init denoiser";
    fs::create_dir(place.path("empty")).expect("created");
    place.refuses([
        (
            2,
            "--config tune.yaml".to_string(),
            "tune.yaml: the denoiser is not known: give a run or a checkpoint of ours with --init, …",
        ),
        (
            2,
            format!("{tune} --set network.layer=out_9"),
            "…network: layer is out_9; a UNet has out_1, out_2, out_3, out_4",
        ),
        (
            2,
            format!("{tune} --set network.timestep=101"),
            "…network: timestep is 101; this process has 1 to 100",
        ),
        (
            2,
            format!("{tune} --set classes=3"),
            "folder/train has images of 2 classes, and the configuration says classes: 3…",
        ),
        (
            2,
            format!("{tune} --timesteps-every 50"),
            "--timesteps-every is 50, and images are noised to timestep 11 alone (network.timestep): leave it out",
        ),
        (2, format!("{tune} --set layer_decay=0"), "…layer_decay is 0; it must be above 0 and at most 1"),
        (
            2,
            "--config tune.yaml --init tuned --run other".to_string(),
            "--init tuned/checkpoints/…: it is the checkpoint of no diffusion model; …",
        ),
        (
            1,
            "--config tune.yaml --init empty".to_string(),
            "empty: holds no run with a checkpoint that can be read (--init)",
        ),
        (
            2,
            "--config ddpm.yaml --init denoiser".to_string(),
            "ddpm.yaml: no configuration of fine-tuning: it needs net_type: FineTuned …",
        ),
    ]);
    let classifier = place.into_of("classifier");
    classifier.refuses([(
        2,
        "--config tuned/config.yaml",
        "the configuration is of fine-tuning (net_type: FineTuned): `ddae-train finetune` trains it",
    )]);
}
