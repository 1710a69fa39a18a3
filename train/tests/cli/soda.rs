//! `ddae-train soda`.

use std::collections::HashMap;
use std::fs;

use ddae_checkpoint::{Checkpoint, write_tensors};
use ddae_model::tensor::Tensor;
use serde_json::Value;

use crate::program::Place;
use crate::resume::{steps, stop_after};

/// The lines of `stats.jsonl` of a run.
fn lines(place: &Place, run: &str) -> Vec<Value> {
    let text = fs::read_to_string(place.path(run).join("stats.jsonl")).expect("statistics");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn names(place: &Place, folder: &str) -> Vec<String> {
    let entries = fs::read_dir(place.path(folder)).expect("a folder");
    let mut names: Vec<String> =
        entries.map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn a_run_leaves_scores_sheets_and_both_networks() {
    let place = Place::of("soda");
    let ended = place.train(&["--config", "soda.yaml", "--log-every", "6", "--sample-steps", "4"]);
    assert!(ended.stdout.starts_with("trained 3 epochs (18 steps): loss "), "{}", ended.stdout);
    assert!(ended.stdout.contains("\nknn:        "), "{}", ended.stdout);
    let next =
        "next:       ddae-export run/checkpoints/latest.safetensors --graph encoder -o run/encoder.onnx\n";
    assert!(ended.stdout.ends_with(next), "{}", ended.stdout);
    assert_eq!(
        names(&place, "run/checkpoints"),
        ["epoch_0000.safetensors", "epoch_0002.safetensors", "epoch_0003.safetensors", "latest.safetensors"]
    );
    assert_eq!(names(&place, "run/samples"), ["epoch_0002.png", "epoch_0003.png"]);

    let events = fs::read_dir(place.path("run/tensorboard")).expect("a folder").next().expect("a file");
    let events = fs::read(events.expect("an entry").path()).expect("events");
    for tag in ["evaluation/knn_accuracy", "evaluation/linear_accuracy", "evaluation/logistic_accuracy"] {
        let count = events.windows(tag.len()).filter(|bytes| *bytes == tag.as_bytes()).count();
        assert_eq!(count, 3, "{tag}");
    }

    let lines = lines(&place, "run");
    let scored: Vec<&Value> = lines.iter().filter(|line| line.get("knn_accuracy").is_some()).collect();
    let at: Vec<u64> = scored.iter().map(|line| line["epoch"].as_u64().expect("an epoch")).collect();
    assert_eq!(at, [0, 2, 3], "the untrained network too");
    for line in &scored {
        for score in ["knn_accuracy", "linear_accuracy", "logistic_accuracy"] {
            let score = line[score].as_f64().expect("a share");
            assert!((0.0..=1.0).contains(&score), "{line}");
        }
        assert_eq!(line["protocol"]["knn"]["k"], 20);
        // No test images: 5 of the 48 are held out.
        assert_eq!(line["protocol"]["queries"], "folder/train (held-out part)");
    }
    let rates: Vec<f64> = lines.iter().filter_map(|line| line.get("lr")?.as_f64()).collect();
    assert_eq!(rates, [5e-4, 1e-3, 1e-3]);

    let path = place.path("run/checkpoints/latest.safetensors");
    let checkpoint = Checkpoint::open(&path).expect("a checkpoint");
    let config = checkpoint.config().and_then(|config| config.soda()).expect("a SODA's configuration");
    let measured = config.normalisation.as_ref().expect("measured");
    assert!((0.3..0.7).contains(&measured.mean[0]) && measured.std[0] > 0.1, "{measured:?}");
    let weights = place.checkpoint("run/checkpoints/latest.safetensors").weights;
    let first = place.checkpoint("run/checkpoints/epoch_0000.safetensors").weights;
    for name in ["encoder.encoder.0.weight", "encoder.encoder.1.running_mean", "decoder.final.bias"] {
        for set in ["model", "ema"] {
            let name = format!("{set}.{name}");
            assert!(weights.get(&name).is_some(), "{name}");
            assert_ne!(weights.get(&name), first.get(&name), "{name}");
        }
    }
    let record = checkpoint.record().expect("a record").expect("of the decoder");
    assert_eq!(record.y.shape(), [2, 1, 8, 8]);
    let mut inputs: Vec<&str> = record.inputs.iter().map(|(name, _)| name.as_str()).collect();
    inputs.sort();
    assert_eq!(inputs, ["mask", "t", "x", "z"]);
    let record = checkpoint.encoder_record().expect("a record").expect("of the encoder");
    assert_eq!((record.inputs[0].0.as_str(), record.y.shape()), ("x", &[2, 8][..]));
}

#[test]
fn a_stopped_run_ends_like_one_that_was_not() {
    let place = Place::of("soda");
    let common = ["--config", "soda.yaml", "--epochs", "5", "--log-every", "1"];
    let few = ["--set", "n_sample=0", "--set", "save_per=0"];
    let common = [&common[..], &few].concat();
    place.train(&[&common[..], &["--run", "straight"]].concat());
    let stopped = [&common[..], &["--run", "stopped"]].concat();
    let ended = stop_after(&place, &stopped, "stopped", 8, "INT");
    assert!(ended.error(&[130]).contains("Go on with: "), "{}", ended.stderr);
    let middle = place.checkpoint("stopped/checkpoints/latest.safetensors").state;
    assert!((8..30).contains(&middle.step), "{middle:?}");

    place.train(&[&stopped[..], &["--resume"]].concat());
    let last = "checkpoints/epoch_0005.safetensors";
    let straight = place.checkpoint(&format!("straight/{last}"));
    straight.assert_same(&place.checkpoint(&format!("stopped/{last}")));
    assert_eq!(steps(&place.path("stopped/stats.jsonl")), 30);
    let scores = |run: &str| {
        let scored = lines(&place, run).into_iter().filter(|line| line.get("knn_accuracy").is_some());
        scored.collect::<Vec<Value>>()
    };
    assert_eq!(scores("stopped"), scores("straight"));
    assert_eq!(scores("stopped").len(), 2);

    // A finished run is left alone; what it measured is told again.
    let ended = place.train(&[&stopped[..], &["--resume", "--json"]].concat());
    let summary: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    assert_eq!(summary["scores"], scores("stopped")[1]);
    assert_eq!(scores("stopped").len(), 2);
    let error = place.run(&[&stopped[..], &["--resume", "--set", "lrate_ratio=1"]].concat());
    let wanted = "this run was started with lrate_ratio = 2.0, now it is 1.0";
    assert!(error.error(&[2]).contains(wanted), "{error}");
}

#[test]
fn the_seed_is_all_that_a_run_depends_on() {
    let place = Place::of("soda");
    let common = ["--config", "soda.yaml", "--epochs", "1", "--set", "n_sample=0", "--amp", "bf16"];
    let run = |name: &str, extra: &[&str]| {
        place.train(&[&common[..], &["--run", name], extra].concat());
        place.checkpoint(&format!("{name}/checkpoints/latest.safetensors"))
    };
    let first = run("a", &["--seed", "5", "--workers", "0"]);
    first.assert_same(&run("b", &["--seed", "5", "--workers", "2"]));
    assert_ne!(first.weights, run("c", &["--seed", "6"]).weights);
}

#[test]
fn init_takes_a_checkpoint_of_the_published_code() {
    let place = Place::of("soda");
    let common = ["--config", "soda.yaml", "--epochs", "1", "--set", "n_sample=0", "--amp", "fp16"];
    place.train(&common);
    let ours = place.checkpoint("run/checkpoints/latest.safetensors").weights;
    let published: Vec<(String, Tensor)> = ours
        .into_iter()
        .filter_map(|(name, tensor)| match name.split_once('.')? {
            ("ema", name) => Some((format!("EMA.ema_model.{name}"), tensor)),
            ("model", name) => Some((format!("MODEL.module.{name}"), tensor)),
            _ => None,
        })
        .collect();
    let found = |name: &str| published.iter().find(|(known, _)| *known == name).map(|(_, tensor)| tensor);
    let names = ["encoder.encoder.10.bias", "encoder.encoder.1.running_var", "decoder.final.weight"];
    for name in names {
        let [average, other] = ["EMA.ema_model", "MODEL.module"].map(|set| found(&format!("{set}.{name}")));
        assert!(average.is_some() && average != other, "{name}: nothing tells the average from the weights");
    }
    let tensors = published.iter().map(|(name, tensor)| (name.as_str(), tensor));
    write_tensors(&place.path("published.safetensors"), HashMap::new(), tensors).expect("written");
    let ended = place.train(&[&common[..], &["--init", "published.safetensors", "--run", "second"]].concat());
    assert!(
        ended.stderr.contains("with the weights of published.safetensors: 'EMA.ema_model' (moving average)"),
        "{}",
        ended.stderr
    );
    let second = place.checkpoint("second/checkpoints/epoch_0000.safetensors").weights;
    for name in names {
        let theirs = found(&format!("EMA.ema_model.{name}"));
        for set in ["model", "ema"] {
            assert_eq!(second.get(&format!("{set}.{name}")), theirs, "{set}.{name}");
        }
    }
}

#[test]
fn a_dry_run_tells_and_writes_nothing() {
    let place = Place::of("soda");
    let ended = place.train(&["--config", "soda.yaml", "--dry-run", "--set", "augment_target=False"]);
    let process = "process     SODA, 100 timesteps, targets unaltered; latent of 8 numbers, cut into 2 parts, hidden \
                   with probability 0.1, each of them with probability 0.2\n";
    assert!(ended.stdout.contains(process), "{}", ended.stdout);
    assert!(ended.stdout.contains("learning rate 1e-3 (encoder 2e-3)"), "{}", ended.stdout);
    assert!(
        ended.stdout.contains("\nnote        the images' mean and standard deviation are measured first\n")
    );
    assert!(!place.path("run").exists());
}

#[test]
fn images_of_one_class_are_not_scored() {
    let place = Place::of("soda");
    fs::remove_dir_all(place.path("data/train/dark")).expect("removed");
    let ended = place.train(&["--config", "soda.yaml", "--epochs", "1", "--sample-steps", "2"]);
    let note = "note        no scores: folder/train has only one class";
    assert!(ended.stderr.contains(note), "{}", ended.stderr);
    assert!(!ended.stdout.contains("knn"), "{}", ended.stdout);
    assert_eq!(names(&place, "run/samples"), ["epoch_0001.png"]);
}

#[test]
fn wrong_input_is_refused_before_anything_is_written() {
    Place::of("soda").refuses([
        (2, "--config ddpm.yaml", "ddpm.yaml: the configuration of a DDPM or EDM…"),
        (
            2,
            "--config soda.yaml --set decoder.z_parts=1",
            "…diffusion: layer_mask_prob is 0.2; it hides parts of the latent…",
        ),
        (
            2,
            "--config soda.yaml --set batch_size=500",
            "batch_size is 500, but folder/train has only 48 images…",
        ),
        (2, "--config soda.yaml --set flip=True", "--set flip=True: there is no such key; …"),
        (
            2,
            "--config soda.yaml --set diffusion.betas=sigmoid",
            "--set diffusion.betas=sigmoid: …is wanted, and it is the text 'sigmoid'",
        ),
        (2, "--config soda.yaml --sample-steps 101", "101 steps: this sampler takes 1 to 100"),
    ]);
}

#[test]
fn images_that_cannot_be_normalised() {
    let place = Place::of("soda");
    for entry in fs::read_dir(place.path("data/train/dark")).expect("a folder") {
        let path = entry.expect("an entry").path();
        ddae_data::sheet::write_png_image(path, &[0.5; 64], [1, 8, 8]).expect("written");
    }
    fs::remove_dir_all(place.path("data/train/bright")).expect("removed");
    let wanted = "folder/train, measured: normalisation.std has 0; it must be above 0";
    place.refuses([(2, "--config soda.yaml", wanted)]);
}

/// How far the trained values of a network moved at most in the only step of a run, and whether its running statistics
/// did.
fn moved(place: &Place, run: &str, network: &str) -> (f32, bool) {
    let [first, last] = [0, 1]
        .map(|epoch| place.checkpoint(&format!("{run}/checkpoints/epoch_{epoch:04}.safetensors")).weights);
    let mut largest = 0f32;
    let mut statistics = false;
    for (name, after) in last.iter().filter(|(name, _)| name.starts_with(&format!("model.{network}."))) {
        let before = first.get(name).expect("the same tensors").as_f32().expect("f32");
        let distances = after.as_f32().expect("f32").iter().zip(before).map(|(a, b)| (a - b).abs());
        let distance = distances.fold(0f32, f32::max);
        match name.contains(".running_") {
            true => statistics |= distance > 0.0,
            false => largest = largest.max(distance),
        }
    }
    (largest, statistics)
}

#[test]
fn the_encoder_has_its_own_learning_rate_and_learns_only_from_what_is_shown() {
    let place = Place::of("soda");
    let common = [
        ["--config", "soda.yaml"],
        ["--epochs", "1"],
        ["--set", "batch_size=48"],
        ["--set", "warm_epoch=0"],
        ["--set", "n_sample=0"],
        ["--set", "optim_args={weight_decay: 0}"],
    ];
    let train = |run: &str, hidden: [&str; 2]| {
        let sets = hidden.iter().flat_map(|set| ["--set", set]);
        place.train(&common.into_iter().flatten().chain(["--run", run]).chain(sets).collect::<Vec<_>>());
        [moved(&place, run, "encoder"), moved(&place, run, "decoder")]
    };
    // Adam's first step is as long as the learning rate, wherever there is a gradient.
    let is = |found: f32, expected: f32| (found / expected - 1.0).abs() < 0.01;
    let [(encoder, _), (decoder, _)] =
        train("shown", ["diffusion.drop_prob=0", "diffusion.layer_mask_prob=0"]);
    assert!(is(encoder, 2e-3) && is(decoder, 1e-3), "{encoder} {decoder}");
    for (run, hidden) in [
        ("whole", ["diffusion.drop_prob=1", "diffusion.layer_mask_prob=0"]),
        ("parts", ["diffusion.drop_prob=0", "diffusion.layer_mask_prob=1"]),
    ] {
        let [(encoder, statistics), (decoder, _)] = train(run, hidden);
        assert_eq!((encoder, statistics), (0.0, true), "{run}");
        assert!(is(decoder, 1e-3), "{run}: {decoder}");
    }
}
