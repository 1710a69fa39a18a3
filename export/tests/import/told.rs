//! What is said of files that are something else, and at the end of an export.

use std::fs;

use ddae_model::tensor::Tensor;
use ddae_tests::cases::imported::dit;
use ddae_tests::fixture;
use serde_json::json;

use crate::place::{Place, named};
use crate::torch_save;

/// Files that are no checkpoints are called by what they are.
#[test]
fn what_a_file_is_is_said() {
    let place = Place::new();
    let npz = torch_save::zip(&[("mu.npy".to_string(), b"x")], zip::CompressionMethod::Stored);
    let script = torch_save::zip(
        &[("data.pkl".to_string(), &torch_save::pickle(b"}")), ("constants.pkl".to_string(), b"x")],
        zip::CompressionMethod::Stored,
    );
    let lfs = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n";
    for (name, bytes, message) in [
        (
            "pointer.safetensors",
            &lfs[..],
            "pointer.safetensors: is a pointer of Git LFS, not the file it stands for",
        ),
        ("pointer.bin", lfs, "is a pointer of Git LFS"),
        (
            "page.pt",
            b"<!DOCTYPE html><html>",
            "is a web page, which a download may have given in place of the file",
        ),
        ("packed.pth", b"\x1f\x8b\x08\x00", "is gzip-compressed; unpack it first"),
        (
            "keras.pt",
            b"\x89HDF\r\n\x1a\n",
            "is an HDF5 file; a checkpoint (safetensors or PyTorch) is wanted here",
        ),
        ("statistics.pt", &npz, "is a .npz archive of NumPy arrays, not a file of torch.save"),
        ("script.pt", &script, "is a TorchScript archive, whose code is not run"),
        ("noise.pt", b"hello", "is not a complete safetensors file, nor a PyTorch file"),
    ] {
        fs::write(place.path(name), bytes).expect("a file");
        place.fail(name, 1, message);
        place.fail(&format!("inspect {name}"), 1, message);
    }
}

/// The command at the end has what the graph does not say.
#[test]
fn the_next_command_is_whole() {
    let place = Place::new();
    let config = &fixture("diffusers_ddpm").config["config"];
    fs::create_dir_all(place.path("m")).expect("a folder");
    fs::write(place.path("m/config.json"), config.to_string()).expect("a file");
    let shapes = ddae_tests::parameter_shapes("diffusers_ddpm").into_iter();
    let weights: Vec<(String, Tensor)> = shapes
        .map(|(name, shape)| (name.clone(), Tensor::f32(&shape, ddae_tests::rule_weight(&name, &shape))))
        .collect();
    place.safetensors("m/diffusion_pytorch_model.safetensors", weights.iter().map(|(n, t)| (n.as_str(), t)));
    let scheduler = json!({ "_class_name": "DDPMScheduler" });
    fs::write(place.path("m/scheduler_config.json"), scheduler.to_string()).expect("a file");
    place.safetensors("dit.safetensors", named(&dit(true, false)));
    for (arguments, next) in [
        (
            "m --graph features --taps out_6",
            "ddae-infer features out.onnx --timesteps 11 --data DATASET -o out",
        ),
        (
            "m --graph features --taps out_6 --timestep 5",
            "ddae-infer features out.onnx --data DATASET -o out",
        ),
        (
            "m --graph features --taps out_6 --process edm",
            "ddae-infer features out.onnx --timesteps 4 --data DATASET -o out",
        ),
        (
            "dit.safetensors --heads 4 --graph features --taps layer-1",
            "ddae-infer features out.onnx --latents LATENTS.onnx --timesteps 11 --data DATASET -o out",
        ),
        ("m --graph sampler", "ddae-infer sample out.onnx -o out"),
        ("m", "ddae-export inspect out.onnx"),
    ] {
        let out = place.done(&format!("{arguments} -o out.onnx --force"));
        assert!(out.trim_end().ends_with(&format!("next: {next}")), "{arguments}: {out}");
    }
}

/// An export for images of another size says that size.
#[test]
fn the_size_that_is_said_is_that_of_the_export() {
    let place = Place::new();
    let unet = "{net_type: UNet, network: {image_shape: [3, 8, 8], n_channels: 32, ch_mults: [1], is_attn: [False], \
                n_blocks: 1, dropout: 0.0, use_res_for_updown: False}}";
    fs::write(place.path("unet.yaml"), unet).expect("a file");
    let network: ddae_model::networks::UNetConfig = serde_json::from_value(json!({
        "image_shape": [3, 8, 8], "n_channels": 32, "ch_mults": [1], "is_attn": [false], "n_blocks": 1, "dropout": 0.0,
        "use_res_for_updown": false
    }))
    .expect("a network");
    let graph = ddae_model::networks::unet_graph(&network, false).expect("a graph");
    let weights = ddae_tests::rule_weights(&graph);
    place.safetensors("w.safetensors", weights.iter());
    for (arguments, size) in [
        ("w.safetensors --config unet.yaml", "3x8x8"),
        ("w.safetensors --config unet.yaml --image-size 16x24", "3x16x24"),
        ("w.safetensors --image-size 64x64", "3x64x64"),
    ] {
        let out = place.done(&format!("{arguments} --dry-run"));
        assert!(out.starts_with(&format!("UNet: {size} images")), "{arguments}: {out}");
    }
}
