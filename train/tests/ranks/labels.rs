//! Ranks that learn from labels: those of a part belong to its images, whoever computes it.

use crate::program::Place;
use crate::runs::{assert_alike, with};

pub const CLASSIFIER: &str = "dataset: folder
classes: 2
model_type: DDPM
diffusion: {n_T: 100, betas: [1.0e-4, 0.02]}
net_type: WideResNet
network: {image_shape: [1, 8, 8], blocks_per_group: 1, channel_multiplier: 1}
crop: 1
flip: True
n_epoch: 1
batch_size: 7
lrate: 0.01
optim: SGD
optim_args: {momentum: 0.9, weight_decay: 5.0e-4}
save_dir: run
";

pub const FINE_TUNING: &str = "dataset: folder
classes: 2
net_type: FineTuned
network: {layer: out_2}
flip: True
n_epoch: 2
batch_size: 7
lrate: 1.0e-3
optim: AdamW
optim_args: {weight_decay: 0.05, eps: 1.0e-3}
layer_decay: 0.8
save_dir: run
";

/// At one learning rate, as published: 48 images in steps of 14, the last of 6.
#[test]
fn two_ranks_of_a_classifier_take_the_steps_of_one() {
    let place = Place::of("classifier");
    place.write("classifier.yaml", CLASSIFIER);
    let common = ["--config", "classifier.yaml", "--log-every", "1"];
    let two = place.train(&with(&common, &["--nproc", "2", "--run", "two"]));
    let said = "[0] ranks       2 ranks x 7 images = 14 a step; learning rate as it is, as published";
    assert!(two.stderr.contains(said), "{}", two.stderr);
    place.train(&with(&common, &["--accumulate", "2", "--run", "passes"]));
    place.train(&with(&common, &["--set", "batch_size=14", "--run", "lone"]));
    assert_alike(&place, "two", "lone");
    assert_alike(&place, "passes", "lone");
}

#[test]
fn two_ranks_fine_tune_as_one_and_go_on() {
    let place = Place::new();
    place.train(&["--config", "ddpm.yaml", "--epochs", "1", "--set", "n_sample=0", "--run", "denoiser"]);
    place.write("tune.yaml", FINE_TUNING);
    let place = place.into_of("finetune");
    let common = ["--config", "tune.yaml", "--log-every", "1"];
    let two = with(&common, &["--nproc", "2", "--run", "two"]);
    place.train(&with(&two, &["--init", "denoiser", "--epochs", "1"]));
    place.train(&with(&two, &["--resume"]));
    let lone = ["--set", "batch_size=14", "--set", "lrate=2.0e-3", "--init", "denoiser", "--run", "lone"];
    place.train(&with(&common, &lone));
    assert_alike(&place, "two", "lone");
}
