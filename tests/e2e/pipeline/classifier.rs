//! Classifiers of noised images, the whole way: trained, exported, and the accuracies of training found again by ONNX Runtime.

use std::path::Path;

use ddae_base::random::{Purpose, stream};
use ddae_data::{Split, datasets};
use ddae_model::tensor::Tensor;
use ddae_onnx::runtime::OnnxNetwork;
use serde_json::Value;

use crate::place::Place;
use crate::tiny::{CLASSES, SIDE, TEST, TRAINING, with, write_images};

/// A WRN-10-1 on the tiny data set.
pub const CONFIG: &str = "dataset: folder
classes: 3
model_type: DDPM
diffusion: {n_T: 100, betas: [1.0e-4, 0.02]}
net_type: WideResNet
network: {image_shape: [1, 8, 8], blocks_per_group: 1, channel_multiplier: 1}
flip: True
n_epoch: 3
batch_size: 16
lrate: 0.05
lr_schedule: cosine
optim: SGD
optim_args: {momentum: 0.9, weight_decay: 5.0e-4}
ema: 0.5
save_dir: wrn
";

/// The tiny denoiser cut after a layer.
pub const FINE_TUNING: &str = "dataset: folder
classes: 3
net_type: FineTuned
network: {layer: out_2, timestep: 11}
flip: True
layer_decay: 0.9
n_epoch: 2
batch_size: 16
lrate: 2.0e-3
lr_schedule: cosine
optim: AdamW
optim_args: {weight_decay: 0.05}
ema: 0.5
save_dir: tuned
";

const EDM: &str = "model_type: EDM
diffusion: {sigma_data: 0.5, p_mean: -1.2, p_std: 1.2, sigma_min: 0.002, sigma_max: 80, rho: 7, S_min: 0.01, S_max: 1,
  S_noise: 1.007}
";

/// The last evaluation of a run.
fn scores(place: &Place, run: &str) -> Value {
    let text = place.text(&format!("{run}/stats.jsonl"));
    let mut lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    lines.rfind(|line| line.get("accuracy").is_some()).expect("an accuracy")
}

fn test_images(place: &Place) -> Split {
    let data = datasets::open("folder", Some(&place.path("data")));
    data.expect("the data set").test.fit([1, SIDE, SIDE]).expect("of this size")
}

/// How many images of a split the file knows, with the noise of the accuracies in training.
fn correct(file: &Path, images: &Split, timestep: Option<i64>) -> usize {
    let mut network = OnnxNetwork::open(file, 1).expect("a file");
    let (count, size) = (images.len(), images.image_len());
    let (mut pixels, mut noise, mut levels) = (Vec::new(), vec![0f32; count * size], vec![0; size]);
    for (at, noise) in noise.chunks_exact_mut(size).enumerate() {
        images.read(at, &mut levels).expect("an image");
        pixels.extend(levels.iter().map(|&level| f32::from(level) / 255.0));
        stream(0, Purpose::Validation, images.id(at), 0).fill_normal(noise);
    }
    let shape = [count, 1, SIDE, SIDE];
    let mut inputs = vec![("image", Tensor::f32(&shape, pixels)), ("noise", Tensor::f32(&shape, noise))];
    inputs.extend(timestep.map(|timestep| ("timestep", Tensor::i64(&[count], vec![timestep; count]))));
    let outputs = network.run(&inputs).expect("logits");
    assert_eq!((outputs[0].0.as_str(), outputs[0].1.shape()), ("logits", &[count, CLASSES.len()][..]));
    let logits = outputs[0].1.as_f32().expect("f32");
    let best = |row: &[f32]| (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b])).expect("a class");
    let rows = logits.chunks_exact(CLASSES.len()).enumerate();
    rows.filter(|(at, row)| best(row) == images.label(*at)).count()
}

#[test]
fn the_exported_file_knows_what_training_counted() {
    let place = Place::new();
    write_images(&place);
    let vp = "model_type: DDPM\ndiffusion: {n_T: 100, betas: [1.0e-4, 0.02]}\n";
    place.write("vp.yaml", CONFIG);
    place.write("ve.yaml", CONFIG.replace(vp, EDM));
    let images = test_images(&place);
    assert_eq!(images.len(), CLASSES.len() * TEST);
    for name in ["vp", "ve"] {
        place.done(&format!("ddae-train classifier --config {name}.yaml --run {name} {TRAINING}"));
        let said = place.done(&format!("ddae-export {name} --graph classifier -o {name}.onnx"));
        assert!(said.contains("the weights give what training recorded"), "{said}");
        let scores = scores(&place, name);
        let told = scores["by_timestep"].as_array().expect("accuracies by timestep");
        assert!(told.len() >= 18, "{scores}");
        for at in told {
            let timestep = at["timestep"].as_i64().expect("a number");
            let found = correct(&place.path(&format!("{name}.onnx")), &images, Some(timestep));
            assert_eq!(at["correct"], found, "{name} at {timestep}");
        }
        assert!(told[0]["accuracy"].as_f64().expect("a number") > 0.6, "{scores}");
        // Bytes give the same, and what the network itself is given can be, too.
        let said = place.done(&format!(
            "ddae-export {name} --graph classifier --input u8 --timestep 1 -o u8.onnx --force"
        ));
        assert!(said.contains("in  image u8") && !said.contains("in  timestep"), "{said}");
        place.done(&format!("ddae-export {name} --graph network -o network.onnx --force"));
        place.done(&format!("ddae-export {name} --graph loss -o loss.onnx --force"));
    }
    place.refuses([
        (2, "ddae-export vp --graph features -o f.onnx", "--graph features: this is a noise-conditional WideResNet, which has graphs of kind network, classifier…"),
        (2, "ddae-export vp --graph classifier --timestep 101 -o f.onnx", "…101 is outside 1..=100 of this process…"),
    ]);
}

#[test]
fn a_denoiser_is_fine_tuned_and_exported() {
    let place = with(&["data", "run"]);
    place.write("finetune.yaml", FINE_TUNING);
    place.write("drawn.yaml", FINE_TUNING.replace(", timestep: 11", ""));
    let tune = format!("ddae-train finetune --config finetune.yaml {TRAINING}");
    let said = place.done(&format!("{tune} --init run"));
    assert!(said.contains("trained 2 epochs"), "{said}");
    let said = place.done("ddae-export tuned --graph classifier -o tuned.onnx");
    assert!(said.contains("the weights give what training recorded"), "{said}");
    assert!(said.contains("cut after out_2, with a linear head of 3 classes"), "{said}");
    assert!(!said.contains("in  timestep"), "built in: {said}");
    let (scores, images) = (scores(&place, "tuned"), test_images(&place));
    let found = correct(&place.path("tuned.onnx"), &images, None);
    assert_eq!(scores["accuracy"], found as f64 / images.len() as f64, "{scores}");
    assert_eq!(scores["protocol"]["noise_level"], 11);
    assert!(found > images.len() / 2, "{scores}");
    assert!(scores.get("by_timestep").is_none(), "{scores}");

    // Without a timestep it learns at all of them.
    place.done(&format!("ddae-train finetune --config drawn.yaml --init run --run drawn {TRAINING}"));
    place.done("ddae-export drawn --graph classifier -o drawn.onnx");
    let scores = self::scores(&place, "drawn");
    for at in scores["by_timestep"].as_array().expect("accuracies by timestep") {
        let timestep = at["timestep"].as_i64();
        assert_eq!(at["correct"], correct(&place.path("drawn.onnx"), &images, timestep), "{timestep:?}");
    }
    place.done("ddae-export tuned --graph network -o network.onnx");
    place.refuses([(
        2,
        "ddae-export tuned --graph features --taps out_2 -o f.onnx",
        "--graph features: this is a fine-tuned denoiser, which has graphs of kind network, classifier…",
    )]);
}
