//! DiT as published: images to a file of latents in several copies, features of them, the linear probe; and the
//! attention-pooled head on its tokens, with several seeds of the noise.

use std::collections::BTreeMap;

use ddae_model::config::{DdpmConfig, ModelConfig, ProcessConfig, Timesteps};
use ddae_model::networks::{Architecture, DitConfig, DitSize, VaeEncoderConfig};
use ddae_model::tensor::Tensor;
use ddae_tests::rule_weight;
use serde_json::{Value, json};

use crate::place::Place;
use crate::tiny::{SIDE, write_images};

/// Writes weights by the fixtures' rule, as `name.safetensors`, and the configuration.
fn write(place: &Place, name: &str, model: &ModelConfig) {
    let graph = model.architecture.network_graph(false).expect("a network");
    let weights: BTreeMap<String, Tensor> = graph
        .parameters()
        .map(|(_, node)| {
            let shape = node.shape.resolve(1);
            (node.name.clone(), Tensor::f32(&shape, rule_weight(&node.name, &shape)))
        })
        .collect();
    let named = weights.iter().map(|(name, tensor)| (name.as_str(), tensor));
    let path = place.path(&format!("{name}.safetensors"));
    ddae_checkpoint::write_tensors(&path, Default::default(), named).expect("a file of weights");
    place.write(&format!("{name}.yaml"), model.to_yaml());
}

/// A place with the tiny data set, a DiT on latents of 4x4 and the encoder of these, as ONNX files.
fn place() -> Place {
    let place = Place::new();
    write_images(&place);
    let encoder = VaeEncoderConfig {
        image_size: [SIDE, SIDE],
        in_channels: 1,
        block_out_channels: vec![32, 32],
        layers_per_block: 1,
        ..VaeEncoderConfig::sd_vae_ft_mse(SIDE, SIDE)
    };
    write(&place, "vae", &ModelConfig::of(Architecture::VaeEncoder(encoder)));
    let dit = DitConfig {
        hidden_size: 32,
        num_heads: 2,
        depth: 2,
        num_classes: 3,
        null_label: true,
        ..DitConfig::new(DitSize::S, 1, 4)
    };
    let process = Some(ProcessConfig::Ddpm(DdpmConfig::published(Timesteps::Index)));
    write(&place, "dit", &ModelConfig { process, ..ModelConfig::of(Architecture::DiT(dit)) });
    let printed = place.done("ddae-export vae.safetensors --config vae.yaml --graph latent -o vae.onnx");
    assert!(printed.ends_with("next: ddae-infer features vae.onnx --data DATASET -o vae\n"), "{printed}");
    let dit = "ddae-export dit.safetensors --config dit.yaml --graph features --taps layer-1";
    place.done(&format!("{dit} -o dit.onnx"));
    place.done(&format!("{dit} --unpooled -o tokens.onnx"));
    let latents = "ddae-infer features vae.onnx --data folder --data-root data";
    place.done(&format!("{latents} --split train --views 10 --crop --flip -o train_latents"));
    place.done(&format!("{latents} --split test -o test_latents"));
    place
}

fn features(place: &Place, graph: &str, seed: u64, prefix: &str) {
    for split in ["train", "test"] {
        place.done(&format!(
            "ddae-infer features {graph} --latents {split}_latents.h5 --timesteps 21 --seed {seed} -o {prefix}_{split}"
        ));
    }
}

#[test]
fn from_images_to_the_published_probe() {
    let place = place();
    features(&place, "dit.onnx", 0, "pooled");
    let probe = "ddae-probe linear --train pooled_train.h5 --test pooled_test.h5 --preset dit --lr 0.02 --seed 1 --json";
    let report: Value = place.run(probe).json();
    let protocol = &report["protocol"];
    let of = |name: &str| protocol[name].clone();
    assert_eq!(
        (of("epochs"), of("batch"), of("preset")),
        (json!(30), json!(128), json!("dit but for learning_rate"))
    );
    assert_eq!((of("train_views"), of("test_views")), (json!("drawn of 10"), json!("the only one")));
    assert_eq!((&report["features"], &report["dim"]), (&json!("t21/layer-1"), &json!(32)));
    // Of weights that nobody trained.
    assert!(report["accuracy"].is_f64() && report["test"]["samples"] == 30, "{report}");
    // The copies are drawn by the seed.
    assert_eq!(place.run(probe).json(), report);
    let other: Value = place.run(&probe.replace("--seed 1", "--seed 2")).json();
    assert!(other["protocol"]["last_training_loss"] != protocol["last_training_loss"]);

    // Of images that were made latents of in another way, the features are another's.
    place.done("ddae-infer features vae.onnx --data folder --data-root data --split test --noise none -o test_latents2");
    place.done("ddae-infer features dit.onnx --latents test_latents2.h5 --timesteps 21 -o pooled_test2");
    let ended = place.run("ddae-probe linear --train pooled_train.h5 --test pooled_test2.h5");
    let wanted =
        "do not belong together: attribute latents_noise is null in the first and \"none\" in the second";
    assert!(ended.error(&[1]).contains(wanted), "{ended}");
}

#[test]
fn attention_over_tokens_with_several_seeds() {
    let place = place();
    for seed in 0..2 {
        features(&place, "tokens.onnx", seed, &format!("tokens{seed}"));
    }
    let files = "--train tokens0_train.h5 tokens1_train.h5 --test tokens0_test.h5 tokens1_test.h5";
    let probe = format!("ddae-probe attention {files} --heads 2 --epochs 20 --lr 0.01 --seeds 2 --json");
    let report: Value = place.run(&probe).json();
    let protocol = &report["protocol"];
    assert_eq!((&report["probe"], &report["dim"]), (&json!("attention"), &json!(512)));
    assert_eq!((&protocol["heads"], &protocol["place_dim"]), (&json!(2), &json!(32)));
    // Of weights that nobody trained.
    assert!(report["accuracy"].is_f64() && report["test"]["samples"] == 30, "{report}");
    let seeds = &report["seeds"];
    assert_eq!(seeds["accuracies"].as_array().map(Vec::len), Some(4));
    assert_eq!(seeds["noise_seeds"], json!([{ "train": 0, "test": 0 }, { "train": 1, "test": 1 }]));
    assert!(seeds["noise_deviation"].is_f64() && seeds["probe_deviation"].is_f64(), "{seeds}");
    // Pooled features have no places to look at.
    features(&place, "dit.onnx", 0, "pooled");
    let ended = place.run("ddae-probe attention --train pooled_train.h5 --test pooled_test.h5");
    assert!(ended.error(&[2]).contains("t21/layer-1 of pooled_train.h5 are no maps"), "{ended}");
}
