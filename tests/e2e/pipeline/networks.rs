//! What denoises images beside the UNet, the whole way by configuration alone.

use ddae_store::FeatureFile;

use super::train::assert_same_weights;
use crate::formats::{decode_png, tensors};
use crate::place::Place;
use crate::tiny::{TEST, TRAIN, TRAINING, others, write_images};

#[test]
fn every_network_that_denoises_images_does_everything_the_unet_does() {
    let place = Place::new();
    write_images(&place);
    for (net_type, config) in others() {
        place.write(&format!("{net_type}.yaml"), &config);
        let train = format!("ddae-train diffusion --config {net_type}.yaml {TRAINING}");
        let said = place.done(&train);
        assert!(said.contains("trained 2 epochs"), "{net_type}: {said}");
        let weights = tensors(&place.read(&format!("{net_type}/checkpoints/latest.safetensors")));
        let learned = weights.keys().any(|name| name.starts_with("model.reweight_mlp."));
        assert_eq!(learned, net_type.starts_with("UNet"), "{net_type}: the uncertainty that the loss learns");
        decode_png(&place.read(&format!("{net_type}/samples/epoch_0002.png")));

        // In two parts it ends where it ended in one.
        place.done(&format!("{train} --run {net_type}_parts --epochs 1"));
        place.done(&format!("ddae-train diffusion --run {net_type}_parts --resume --epochs 2 {TRAINING}"));
        let last = "checkpoints/epoch_0002.safetensors";
        assert_same_weights(&place, &format!("{net_type}_parts/{last}"), &format!("{net_type}/{last}"));

        let tap = if net_type == "DiT" { "layer-1" } else { "out_2" };
        let said = place.done(&format!(
            "ddae-export {net_type} --graph features --taps {tap} --timestep 4 -o {net_type}_features.onnx"
        ));
        assert!(said.contains("the weights give what training recorded"), "{net_type}: {said}");
        for (split, each) in [("train", TRAIN), ("test", TEST)] {
            place.done(&format!(
                "ddae-infer features {net_type}_features.onnx --split {split} --data-root data -o {net_type}_{split} --threads 1"
            ));
            let file =
                FeatureFile::open(place.path(&format!("{net_type}_{split}.h5"))).expect("a feature file");
            assert_eq!(
                file.keys().iter().map(ToString::to_string).collect::<Vec<_>>(),
                [format!("t4/{tap}")]
            );
            assert_eq!(file.len(), 3 * each, "{net_type}");
        }
        let files = format!("--train {net_type}_train.h5 --test {net_type}_test.h5");
        let report = place.run(&format!("ddae-probe knn {files} -k 5 --json")).json();
        assert!(report["accuracy"].as_f64().expect("an accuracy") > 0.6, "{net_type}: {report}");

        place.done(&format!("ddae-export {net_type} --graph sampler -o {net_type}_sampler.onnx"));
        place.done(&format!(
            "ddae-infer sample {net_type}_sampler.onnx --seeds 0-3 --steps 4 -o {net_type}_images --sheet {net_type}.png"
        ));
        decode_png(&place.read(&format!("{net_type}.png")));
    }

    // Their names and shapes are alike, what they compute is not.
    let ended = place.run(&format!(
        "ddae-train diffusion --config UNetE.yaml --init UNetC/checkpoints/latest.safetensors --run other {TRAINING}"
    ));
    let said = ended.error(&[2]);
    assert!(said.contains("weights of net_type UNetC, and the configuration says net_type UNetE"), "{said}");
    assert!(!place.path("other").exists());
}
