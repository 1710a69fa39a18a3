//! `ddae-train classifier`.

use std::fs;

use ddae_checkpoint::Checkpoint;
use serde_json::Value;

use crate::program::Place;
use crate::resume::{steps, stop_after};

/// 3 epochs of 6 steps of a WRN-10-1.
const CONFIG: &str = "dataset: folder
classes: 2
model_type: DDPM
diffusion: {n_T: 100, betas: [1.0e-4, 0.02]}
net_type: WideResNet
network: {image_shape: [1, 8, 8], blocks_per_group: 1, channel_multiplier: 1}
crop: 1
flip: True
n_epoch: 3
batch_size: 8
lrate: 0.05
warm_epoch: 1
lr_schedule: cosine
optim: SGD
optim_args: {momentum: 0.9, weight_decay: 5.0e-4}
save_dir: run
";

const EDM: &str = "model_type: EDM
diffusion: {sigma_data: 0.5, p_mean: -1.2, p_std: 1.2, sigma_min: 0.002, sigma_max: 80, rho: 7, S_min: 0.01, S_max: 1,
  S_noise: 1.007}
";

const DDPM: &str = "model_type: DDPM
diffusion: {n_T: 100, betas: [1.0e-4, 0.02]}
";

/// The images are stripes along rows and columns: the network takes brightness away before it looks.
fn place() -> Place {
    let place = Place::of("classifier");
    for (class, along_rows) in [("bright", true), ("dark", false)] {
        for number in 0..24 {
            let lit = |i: usize| ((if along_rows { i / 8 } else { i % 8 }) + number).is_multiple_of(2);
            let level = |i: usize| if lit(i) { 160 + 3 * number } else { 20 + number };
            let levels: Vec<f32> = (0..64).map(|i| level(i) as f32 / 255.0).collect();
            let path = place.path(&format!("data/train/{class}/{number:02}.png"));
            ddae_data::sheet::write_png_image(path, &levels, [1, 8, 8]).expect("written");
        }
    }
    place.write("vp.yaml", CONFIG);
    place.write("ve.yaml", CONFIG.replace(DDPM, EDM));
    place
}

/// The lines of `stats.jsonl` of a run that have a key.
pub fn lines(place: &Place, run: &str, key: &str) -> Vec<Value> {
    let text = fs::read_to_string(place.path(run).join("stats.jsonl")).expect("statistics");
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    lines.filter(|line| line.get(key).is_some()).collect()
}

#[test]
fn a_run_leaves_accuracies_by_epoch_and_by_timestep() {
    let place = place();
    for (config, timesteps, last) in [("vp.yaml", 20, 96), ("ve.yaml", 18, 18)] {
        let run = config.trim_end_matches(".yaml");
        let ended =
            place.train(&["--config", config, "--run", run, "--hold-out", "0.25", "--log-every", "6"]);
        assert!(ended.stdout.starts_with("trained 3 epochs (15 steps): loss "), "{}", ended.stdout);
        let accuracy =
            ended.stdout.lines().find(|line| line.starts_with("accuracy:   ")).expect("an accuracy");
        assert!(accuracy.contains(" ± 0.") && accuracy.ends_with(" (12 images)"), "{accuracy}");
        assert!(!ended.stdout.contains("samples:"), "{}", ended.stdout);
        let next = format!(
            "next:       ddae-export {run}/checkpoints/latest.safetensors --graph classifier -o {run}/classifier.onnx\n"
        );
        assert!(ended.stdout.ends_with(&next), "{}", ended.stdout);
        let scored = lines(&place, run, "accuracy");
        let epochs: Vec<u64> = scored.iter().filter_map(|line| line["epoch"].as_u64()).collect();
        assert_eq!(epochs, [0, 1, 2, 3], "the untrained network too");
        for line in &scored {
            assert_eq!(line.get("by_timestep").is_some(), line["epoch"] == 3, "{line}");
            assert_eq!(line["protocol"]["number"], 12);
            assert_eq!(line["protocol"]["weights"], "those in training");
            let (accuracy, count) = (line["accuracy"].as_f64().expect("a number"), &line["count"]);
            assert_eq!(
                (count["images"].as_u64(), count["correct"].as_f64()),
                (Some(12), Some((12.0 * accuracy).round()))
            );
            let error = (accuracy * (1.0 - accuracy) / 12.0).sqrt();
            assert!((count["standard_error"].as_f64().expect("a number") - error).abs() < 1e-12, "{line}");
            assert_eq!(line["protocol"]["images"], "folder/train (held-out part)");
        }
        let told = scored[3]["by_timestep"].as_array().expect("a list");
        assert_eq!((told.len(), &told[0]["timestep"]), (timesteps, &Value::from(1)));
        assert_eq!(told[timesteps - 1]["timestep"], last);
        for at in told {
            let (correct, accuracy) = (at["correct"].as_f64().expect("a number"), at["accuracy"].as_f64());
            assert_eq!((accuracy, &at["images"]), (Some(correct / 12.0), &Value::from(12)));
        }
        assert_eq!(lines(&place, run, "validation_loss").len(), 4);
        let log = fs::read_to_string(place.path(run).join("log.txt")).expect("a log");
        let first = told[0]["accuracy"].as_f64().expect("a number");
        assert!(log.contains(&format!("epoch 3: accuracy by timestep: t1 {first:.4}, t")), "{log}");
        let events = fs::read_dir(place.path(run).join("tensorboard")).expect("a folder").next();
        let events = fs::read(events.expect("a file").expect("an entry").path()).expect("events");
        for (tag, count) in [("evaluation/accuracy", 4), ("by_timestep/t0001", 1)] {
            let found = events.windows(tag.len()).filter(|bytes| *bytes == tag.as_bytes()).count();
            assert_eq!(found, count, "{tag}");
        }
    }
    let path = place.path("vp/checkpoints/latest.safetensors");
    let checkpoint = Checkpoint::open(&path).expect("a checkpoint");
    let config =
        checkpoint.config().and_then(|config| config.classifier()).expect("a classifier's configuration");
    assert_eq!((config.training.ema, config.training.n_sample), (0.0, 0));
    assert_eq!(checkpoint.record().expect("a record").expect("of the logits").y.shape(), [2, 2]);
    let weights = place.checkpoint("vp/checkpoints/latest.safetensors").weights;
    let name = "final_linear.weight";
    assert!(weights.get(&format!("optimizer.momentum_buffer.{name}")).is_some());
    assert!(weights.iter().all(|(name, _)| !name.starts_with("optimizer.exp_avg")));
    // Without an average the weights are those in training.
    assert_eq!(weights.get(&format!("ema.{name}")), weights.get(&format!("model.{name}")));
    let frequencies = |epoch: &str| {
        let saved = place.checkpoint(&format!("vp/checkpoints/{epoch}.safetensors")).weights;
        saved.get("model.time_emb.W").cloned()
    };
    assert_eq!(frequencies("latest"), frequencies("epoch_0000"), "frequencies are fixed");
}

#[test]
fn a_stopped_run_ends_like_one_that_was_not() {
    let place = place();
    for amp in ["off", "fp16"] {
        let [straight, stopped] = ["straight", "stopped"].map(|run| format!("{run}_{amp}"));
        let common = ["--config", "vp.yaml", "--epochs", "5", "--log-every", "1", "--amp", amp];
        let common =
            [&common[..], &["--set", "hold_out=0.25", "--evaluate-every", "3", "--timesteps-every", "2"]]
                .concat();
        place.train(&[&common[..], &["--run", &straight]].concat());
        let arguments = [&common[..], &["--run", &stopped]].concat();
        let ended = stop_after(&place, &arguments, &stopped, 7, "INT");
        assert!(ended.error(&[130]).contains("Go on with: "), "{}", ended.stderr);
        let middle = place.checkpoint(&format!("{stopped}/checkpoints/latest.safetensors")).state;
        assert!((7..25).contains(&middle.step), "{middle:?}");
        place.train(&[&arguments[..], &["--resume"]].concat());
        let last = "checkpoints/epoch_0005.safetensors";
        place
            .checkpoint(&format!("{straight}/{last}"))
            .assert_same(&place.checkpoint(&format!("{stopped}/{last}")));
        assert_eq!(steps(&place.path(&stopped).join("stats.jsonl")), 25);
        let scores = |run: &str| lines(&place, run, "accuracy");
        assert_eq!(scores(&stopped), scores(&straight));
        let of_line = |line: &Value| (line["epoch"].as_u64(), line.get("by_timestep").is_some());
        let told: Vec<_> = scores(&straight).iter().map(of_line).collect();
        let expected = [(0, false), (2, true), (3, false), (4, true), (5, true)];
        assert_eq!(told, expected.map(|(epoch, has)| (Some(epoch), has)));
        let error = place.run(&[&arguments[..], &["--resume", "--set", "crop=0"]].concat());
        assert!(error.error(&[2]).contains("this run was started with crop = 1, now it is 0"), "{error}");
    }
}

#[test]
fn a_dry_run_tells_what_would_be_done() {
    let place = place();
    let ended = place.train(&["--config", "vp.yaml", "--dry-run"]);
    for said in [
        "process     DDPM, 100 timesteps; classes of images noised to all levels, cropped with a padding of 1, half of them \
         mirrored\n",
        "optimiser   SGD with momentum 0.9, learning rate 5e-2, 1 warm-up epochs, cosine to 0, gradients not clipped, no EMA\n",
        "note        no accuracies: there are no test images, and none are held out (--hold-out)\n",
    ] {
        assert!(ended.stdout.contains(said), "{said}: {}", ended.stdout);
    }
    assert!(!place.path("run").exists());
    let ended = place.train(&["--config", "ve.yaml", "--dry-run", "--hold-out", "0.25", "--nproc", "2"]);
    assert!(ended.stdout.contains("every epoch: loss of the weights on "), "{}", ended.stdout);
    assert!(ended.stdout.contains("EDM, ln sigma of mean -1.2 and deviation 1.2"), "{}", ended.stdout);
    for said in
        ["learning rate 5e-2,", "2 ranks x 8 images = 16 a step; learning rate as it is, as published"]
    {
        assert!(ended.stdout.contains(said), "{said}: {}", ended.stdout);
    }
}

#[test]
fn what_does_not_fit_is_refused_by_its_name() {
    let place = place();
    fs::create_dir(place.path("unlabelled")).expect("created");
    for number in 0..24 {
        let name = format!("{number:02}.png");
        let [from, to] = ["data/train/bright", "unlabelled"].map(|folder| place.path(folder).join(&name));
        fs::copy(from, to).expect("copied");
    }
    let vp = "--config vp.yaml";
    place.refuses([
        (
            2,
            format!("{vp} --set classes=3 --set network.classes=3"),
            "folder/train has images of 2 classes, and the configuration says classes: 3: set classes to 2",
        ),
        (
            2,
            format!("{vp} --set network.classes=3"),
            "…network.classes is 3 and classes 2; they must be the same",
        ),
        (2, format!("{vp} --data unlabelled"), "…has no labels, which training a classifier needs…"),
        (2, format!("{vp} --set n_sample=4"), "…n_sample is 4; a classifier draws no images…"),
        (2, format!("{vp} --set layer_decay=0.5"), "…layer_decay is 0.5; it is for fine-tuning…"),
        (2, format!("{vp} --set crop=9"), "…crop is 9; images of 8x8 can be padded by less"),
        (2, format!("{vp} --set optim=Adam"), "…optim_args.momentum is 0.9; it is for optim: SGD, not Adam"),
        (2, format!("{vp} --set optim_args.momentum=1"), "…optim_args.momentum is 1; it must be in [0, 1)"),
        (
            2,
            format!("{vp} --set optim_args.eps=1e-8"),
            "…optim_args.eps is 0.00000001; it is for optim: Adam and AdamW, not SGD",
        ),
        (
            2,
            format!("{vp} --set optim_args.betas=[0.9,0.95]"),
            "…optim_args.betas is [0.9, 0.95]; it is for optim: Adam and AdamW, not SGD",
        ),
        (2, format!("{vp} --set diffusion.timesteps=index"), "…is told t / n_T: set timesteps to fraction"),
        (
            2,
            "--config ve.yaml --set diffusion.augment_prob=0.1".to_string(),
            "…diffusion.augment_prob is 0.1; …",
        ),
        (
            2,
            format!("{vp} --set network.blocks_per_group=0"),
            "…network: blocks_per_group is 0; it must be 1 to 1000",
        ),
        (
            2,
            "--config ddpm.yaml".to_string(),
            "…no configuration of a classifier: net_type is UNet, and must be WideResNet or FineTuned; …",
        ),
        (2, "--config soda.yaml".to_string(), "…`ddae-train soda` trains it"),
    ]);
    let diffusion = Place::new();
    diffusion.write("vp.yaml", CONFIG);
    diffusion.refuses([(2, vp, "…the configuration of a classifier: `ddae-train classifier` trains it")]);
}

/// A few steps on the built-in images are enough to be far above chance, and noise makes it harder.
#[test]
fn a_small_classifier_learns_from_the_built_in_images() {
    let place = place();
    let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/../configs/classifier_demo.yaml");
    // Noise that leaves most of the images to be seen until late: with the demo's own it takes twenty epochs.
    let line = "--epochs 2 --run demo --set diffusion.betas=[1.0e-6,5.0e-3] --set lrate=0.05 --set batch_size=32 \
                --validate-every 0 --evaluate-every 0 --hold-out 0.05";
    let arguments: Vec<&str> = ["--config", demo].into_iter().chain(line.split_whitespace()).collect();
    place.train(&arguments);
    let last = lines(&place, "demo", "by_timestep");
    let told: Vec<f64> = last[0]["by_timestep"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|at| at["accuracy"].as_f64())
        .collect();
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    let (early, late) = (mean(&told[..15]), mean(&told[17..]));
    assert!(early > 0.35, "ten classes: {told:?}");
    assert!(early > late + 0.05, "less is left at late timesteps: {told:?}");
}
