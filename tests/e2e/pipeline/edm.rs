//! An EDM with augmentation, the whole way.

use ddae_store::FeatureFile;

use super::features::content;
use crate::formats::{decode_png, tensors};
use crate::place::Place;
use crate::tiny::{CHANNELS, TEST, TRAIN, TRAINING, edm, write_images};

#[test]
fn an_edm_trains_and_does_everything_a_ddpm_does() {
    let place = Place::new();
    write_images(&place);
    place.write("edm.yaml", edm());
    place.done(&format!("ddae-train diffusion --config edm.yaml {TRAINING} --amp bf16"));
    let weights = tensors(&place.read("run/checkpoints/latest.safetensors"));
    assert_eq!(weights["model.time_emb.aug_emb.weight"].0, [CHANNELS, 9], "the label is embedded");

    place.done("ddae-export run --graph features --taps out_2 -o features.onnx");
    for split in ["train", "test"] {
        let line = format!(
            "ddae-infer features features.onnx --split {split} --data-root data --timesteps 4,9 -o {split}"
        );
        place.done(&line);
    }
    let file = FeatureFile::open(place.path("train.h5")).expect("a feature file");
    assert_eq!(file.keys().iter().map(ToString::to_string).collect::<Vec<_>>(), ["t4/out_2", "t9/out_2"]);
    assert_eq!((file.len(), file.dim(&file.keys()[0]).expect("known")), (3 * TRAIN, CHANNELS));
    assert_eq!(content(&place, "test.h5").0.len(), 3 * TEST);
    let report = place.run("ddae-probe knn --train train.h5 --test test.h5 -k 5 --json").json();
    assert!(report["accuracy"].as_f64().expect("an accuracy") > 0.8, "{report}");
    let ended = place.run("ddae-infer features features.onnx --data-root data --timesteps 19 -o beyond");
    assert!(ended.error(&[2]).contains("--timesteps 19: this model has 1 to 18"), "{ended}");

    place.done("ddae-export run --graph sampler -o sampler.onnx");
    let sampled = place
        .done("ddae-infer sample sampler.onnx --seeds 0-3 --steps 5 --eta 0.5 -o images --sheet sheet.png");
    assert!(sampled.contains("5 steps of edm"), "{sampled}");
    decode_png(&place.read("sheet.png"));
    let ended = place.run("ddae-infer sample sampler.onnx --seeds 0-3 --sampler ddim -o others");
    ended.error(&[2]);
    assert!(!place.path("others").exists());

    place.done("ddae-export run --graph network --label --taps all -o network.onnx");
    let report = place.run("ddae-export inspect network.onnx --json").json();
    let inputs: Vec<&str> = report["inputs"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|input| input["name"].as_str())
        .collect();
    assert_eq!(inputs, ["x", "t", "augment_label"]);
}
