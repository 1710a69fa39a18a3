//! The loss on images that are not trained on.

use std::fs;

use ddae_base::random::{Purpose, stream};
use ddae_checkpoint::{Checkpoint, WeightSet};
use ddae_model::diffusion::loss_graph;
use ddae_model::reference;
use ddae_model::tensor::{Data, Tensor};
use serde_json::Value;

use crate::program::Place;
use crate::resume::{steps, stop_after};

/// Images of the test split, half of them of each class.
const TEST: usize = 10;

/// The level of every pixel of a test image.
fn level(number: usize) -> u8 {
    if number < TEST / 2 { 210 + 4 * number as u8 } else { 20 + 4 * number as u8 }
}

/// A data set with test images, in the order of their names.
fn place(command: &'static str) -> Place {
    let place = Place::of(command);
    for number in 0..TEST {
        let class = place.path("data/test").join(if number < TEST / 2 { "bright" } else { "dark" });
        fs::create_dir_all(&class).expect("created");
        let levels = [f32::from(level(number)) / 255.0; 64];
        let path = class.join(format!("{number:02}.png"));
        ddae_data::sheet::write_png_image(path, &levels, [1, 8, 8]).expect("written");
    }
    place
}

/// The lines of validation losses of a run.
fn validations(place: &Place, run: &str) -> Vec<Value> {
    let text = fs::read_to_string(place.path(run).join("stats.jsonl")).expect("statistics");
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    lines.filter(|line| line.get("validation_loss").is_some()).collect()
}

fn losses(lines: &[Value]) -> Vec<f64> {
    lines.iter().map(|line| line["validation_loss"].as_f64().expect("a loss")).collect()
}

#[test]
fn every_epoch_has_a_loss_on_test_images() {
    for (command, config) in [("diffusion", "ddpm.yaml"), ("diffusion", "edm.yaml"), ("soda", "soda.yaml")] {
        let place = place(command);
        let common =
            ["--config", config, "--set", "n_sample=0", "--set", "n_epoch=8", "--set", "warm_epoch=0"];
        let ended = place.train(&common);
        let lines = validations(&place, "run");
        let epochs: Vec<&Value> = lines.iter().map(|line| &line["epoch"]).collect();
        assert_eq!(epochs, [0, 1, 2, 3, 4, 5, 6, 7, 8], "{config}");
        assert!(lines.iter().all(|line| line["images"] == 3 && line["split"] == "folder/test"), "{lines:?}");
        let found = losses(&lines);
        assert!(found[8] < 0.8 * found[0], "{config}: {found:?}");
        let shown = format!("validation: {:.4}\n", found[8]);
        assert!(ended.stdout.contains(&shown), "{config}: {}", ended.stdout);
        let told = "validation  every epoch: loss of the EMA on 3 images of folder/test, 2.1 % of the work of training";
        assert!(ended.stderr.contains(told), "{config}: {}", ended.stderr);
    }
}

/// That it is the loss it is said to be: computed anew by the reference interpreter, from the weights of the checkpoint.
#[test]
fn the_loss_is_that_of_the_average_at_fixed_levels_with_fixed_noise() {
    let place = place("diffusion");
    place.train(&[
        "--config",
        "ddpm.yaml",
        "--set",
        "n_sample=0",
        "--set",
        "validation_images=10",
        "--seed",
        "5",
    ]);
    let checkpoint =
        Checkpoint::open(&place.path("run/checkpoints/latest.safetensors")).expect("a checkpoint");
    let graph = loss_graph(checkpoint.config().expect("a configuration"), true).expect("a graph");
    let mut order: Vec<usize> = (0..TEST).collect();
    stream(0, Purpose::Validation, 0, 3).shuffle(&mut order);
    let quantiles = order.iter().map(|&part| (part as f64 + 0.5) / TEST as f64);
    let levels: Vec<i64> = quantiles.map(|quantile| 1 + (100.0 * quantile) as i64).collect();
    let mut noise = vec![0f32; TEST * 64];
    for (id, noise) in noise.chunks_exact_mut(64).enumerate() {
        stream(0, Purpose::Validation, id as u64, 0).fill_normal(noise);
    }
    let pixels = (0..TEST).flat_map(|number| [level(number); 64]).collect();
    let inputs = [
        ("image", Tensor::new(&[TEST, 8, 8, 1], Data::U8(pixels)).expect("images")),
        ("level", Tensor::i64(&[TEST], levels)),
        ("noise", Tensor::f32(&[TEST, 1, 8, 8], noise)),
        ("augment_label", Tensor::f32(&[TEST, 9], vec![0.0; 9 * TEST])),
    ];
    let mean = |set| {
        let weights = checkpoint.weights(set, &graph).expect("weights");
        let found = reference::run::<f64>(&graph, &weights, &inputs).expect("a loss");
        found[0].1.to_f64_vec().iter().sum::<f64>() / TEST as f64
    };
    let told = losses(&validations(&place, "run"))[3];
    let expected = mean(WeightSet::Ema);
    assert!((told / expected - 1.0).abs() < 1e-4, "{told} and {expected}");
    assert!((told / mean(WeightSet::Model) - 1.0).abs() > 1e-3, "the average is told from the weights");
}

#[test]
fn measuring_moves_nothing_and_goes_on_after_a_stop() {
    for (command, config) in [("diffusion", "edm.yaml"), ("soda", "soda.yaml")] {
        let place = place(command);
        let common = ["--config", config, "--epochs", "12", "--log-every", "1", "--set", "n_sample=0"];
        let run = |more: &[&str]| place.train(&[&common[..], more].concat());
        run(&["--run", "straight"]);
        run(&["--run", "unmeasured", "--validate-every", "0"]);
        let last = "checkpoints/epoch_0012.safetensors";
        let straight = place.checkpoint(&format!("straight/{last}"));
        straight.assert_same(&place.checkpoint(&format!("unmeasured/{last}")));
        assert!(validations(&place, "unmeasured").is_empty());

        stop_after(&place, &[&common[..], &["--run", "stopped"]].concat(), "stopped", 8, "INT").error(&[130]);
        // What the command line does not say is in the run's own configuration.
        place.train(&["--run", "stopped", "--resume", "--log-every", "1"]);
        straight.assert_same(&place.checkpoint(&format!("stopped/{last}")));
        assert_eq!(validations(&place, "stopped"), validations(&place, "straight"), "{config}");
        assert_eq!(validations(&place, "straight").len(), 13);
        assert_eq!(steps(&place.path("stopped/stats.jsonl")), 72);
    }
}

#[test]
fn it_is_measured_as_often_as_said() {
    let place = place("diffusion");
    let common = ["--config", "ddpm.yaml", "--set", "n_sample=0", "--epochs", "5", "--validate-every", "2"];
    place.train(&[&common[..], &["--set", "validation_images=4"]].concat());
    let lines = validations(&place, "run");
    assert_eq!(lines.iter().map(|line| &line["epoch"]).collect::<Vec<_>>(), [0, 2, 4, 5]);
    assert!(lines.iter().all(|line| line["images"] == 4));
    // It may be switched off, or on, in a run that goes on.
    place.train(&["--run", "run", "--resume", "--epochs", "7", "--validate-every", "0"]);
    assert_eq!(validations(&place, "run"), lines);
}

#[test]
fn held_out_images_are_not_trained_on() {
    let place = place("diffusion");
    let common = ["--config", "ddpm.yaml", "--set", "n_sample=0", "--hold-out", "0.25"];
    let shown = place.train(&[&common[..], &["--dry-run"]].concat()).stdout;
    assert!(shown.contains("data        folder/train (without held-out part): 36 images"), "{shown}");
    place.train(&common);
    let lines = validations(&place, "run");
    assert_eq!(lines.len(), 4);
    assert!(lines.iter().all(|line| line["split"] == "folder/train (held-out part)"), "{lines:?}");
    let config = fs::read_to_string(place.path("run/config.yaml")).expect("the configuration");
    assert!(config.contains("hold_out: 0.25\n"), "{config}");
    // A run that goes on holds the same images out, and none with others goes on.
    place.train(&["--run", "run", "--resume", "--epochs", "4"]);
    assert_eq!(validations(&place, "run").len(), 5);
    let refused = place.run(&["--run", "run", "--resume", "--hold-out", "0.5"]);
    let error = refused.error(&[2]);
    assert!(error.contains("this run was started with hold_out = 0.25, now it is 0.5"), "{error}");
}

#[test]
fn what_is_held_out_of_a_soda_is_classified() {
    let place = place("soda");
    place.train(&["--config", "soda.yaml", "--set", "n_sample=0", "--epochs", "1", "--hold-out", "0.25"]);
    let text = fs::read_to_string(place.path("run/stats.jsonl")).expect("statistics");
    let protocols = text.lines().filter_map(|line| {
        let line: Value = serde_json::from_str(line).expect("JSON");
        line.get("protocol").cloned()
    });
    let protocols: Vec<Value> = protocols.collect();
    assert_eq!(protocols.len(), 2);
    for protocol in protocols {
        assert_eq!(protocol["base"], "folder/train (without held-out part)");
        assert_eq!(protocol["queries"], "folder/train (held-out part)");
    }
}

#[test]
fn without_such_images_a_note_says_what_helps() {
    let place = Place::new();
    let note = "note        no validation loss: the data set has no test images; --hold-out 0.05 keeps one in 20 of the \
                training images for it";
    let dry = |more: &[&str]| place.train(&[&["--config", "ddpm.yaml", "--dry-run"], more].concat()).stdout;
    assert!(dry(&[]).contains(note), "{}", dry(&[]));
    for off in [&["--validate-every", "0"][..], &["--set", "validate_every=0"], &["--hold-out", "0.1"]] {
        assert!(!dry(off).contains("no validation loss"), "{off:?}");
    }
}

/// A network that is told one of `label_dim` classes.
const TOLD: &str = "dataset: folder
classes: 2
model_type: EDM
net_type: SongUNet
diffusion: {sigma_data: 0.5, p_mean: -1.2, p_std: 1.2, sigma_min: 0.002, sigma_max: 80, rho: 7, S_min: 0.01, S_max: 1,
  S_noise: 1.007}
network: {img_resolution: 8, img_channels: 1, label_dim: 2, model_channels: 32, channel_mult: [1, 1], num_blocks: 1,
  attn_resolutions: [], dropout: 0.0}
n_epoch: 3
batch_size: 8
lrate: 1.0e-3
warm_epoch: 0
flip: False
ema: 0.99
n_sample: 0
save_dir: run
";

#[test]
fn a_network_that_is_told_classes_is_measured_on_known_ones_alone() {
    let place = place("diffusion");
    place.write("told.yaml", TOLD);
    let dry = || place.train(&["--config", "told.yaml", "--dry-run"]).stdout;
    assert!(dry().contains("loss of the EMA on 3 images of folder/test"), "{}", dry());
    place.refuses([(
        2,
        "--config told.yaml --dry-run --set network.label_dim=1 --set classes=1",
        "folder/train has images of class 1, counted from 0, and the network is told one of 1: set its number of classes \
         (label_dim) to 2 at least",
    )]);
    // The same images in no folders of classes.
    for class in ["bright", "dark"] {
        let class = place.path("data/test").join(class);
        for entry in fs::read_dir(&class).expect("a folder") {
            let image = entry.expect("an entry").path();
            fs::rename(&image, place.path("data/test").join(image.file_name().expect("a name")))
                .expect("moved");
        }
        fs::remove_dir(class).expect("removed");
    }
    let found = dry();
    assert!(found.contains("no validation loss: folder/test has no labels, which "), "{found}");
    assert!(!found.contains("loss of the EMA on"), "{found}");
}

#[test]
fn wrong_settings_are_refused() {
    place("diffusion").refuses([
        (2, "--config ddpm.yaml --hold-out 1.5", "…"),
        (2, "--config ddpm.yaml --hold-out 0.001", "…cannot hold out a fraction of 0.001…"),
        (2, "--config ddpm.yaml --validate-every -1", "…"),
        (2, "--config ddpm.yaml --set hold_out=1", "…hold_out is 1; it must lie between 0 and 1…"),
        (
            2,
            "--config ddpm.yaml --set validation_images=0",
            "…validation_images is 0; it must be at least 1…",
        ),
        (
            2,
            "--config ddpm.yaml --set validation_images=11",
            "validation_images is 11, but folder/test has only 10 images: set at most 10",
        ),
    ]);
}
