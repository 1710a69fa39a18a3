//! Folders as diffusers writes them.

use std::collections::BTreeMap;
use std::fs;

use ddae_model::tensor::Tensor;
use ddae_tests::published::diffusers_ddpm;
use ddae_tests::{fixture, parameter_shapes, rule_weight};
use serde_json::json;

use crate::place::Place;

/// The rule's weights under diffusers' names.
fn weights() -> BTreeMap<String, Tensor> {
    let shapes = parameter_shapes("diffusers_ddpm").into_iter();
    shapes.map(|(name, shape)| (name.clone(), Tensor::f32(&shape, rule_weight(&name, &shape)))).collect()
}

/// The same under the names of files from before diffusers 0.15.
fn older(name: &str) -> String {
    let pairs = [("to_q.", "query."), ("to_k.", "key."), ("to_v.", "value."), ("to_out.0.", "proj_attn.")];
    pairs.iter().fold(name.to_string(), |name, (current, older)| name.replace(current, older))
}

fn scheduler() -> String {
    let scheduler = json!({
        "_class_name": "DDPMScheduler", "beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": "linear",
        "num_train_timesteps": 1000, "trained_betas": null, "clip_sample": true, "variance_type": "fixed_large",
    });
    scheduler.to_string()
}

/// `google/ddpm-cifar10-32`, at its top or as a pipeline.
#[test]
fn a_unet_from_its_folder() {
    let (place, case, weights) = (Place::new(), diffusers_ddpm(), weights());
    let config = fixture("diffusers_ddpm").config["config"].to_string();
    let named = weights.iter().map(|(name, tensor)| (name.as_str(), tensor));
    place.safetensors("ddpm-cifar10-32/diffusion_pytorch_model.safetensors", named);
    fs::write(place.path("ddpm-cifar10-32/config.json"), &config).expect("a file");
    fs::write(place.path("ddpm-cifar10-32/scheduler_config.json"), scheduler()).expect("a file");
    let out = place.done("ddpm-cifar10-32 --taps out_6");
    assert!(
        out.contains("under diffusers' names") && out.contains("wrote ddpm-cifar10-32-network-out_6.onnx"),
        "{out}"
    );
    place.check("ddpm-cifar10-32-network-out_6.onnx", &case, &["y", "out_6"]);

    // As a pipeline, with older names, pickled; timesteps count from 0.
    fs::create_dir_all(place.path("pipeline/unet")).expect("folders");
    fs::create_dir_all(place.path("pipeline/scheduler")).expect("folders");
    let renamed: Vec<(String, &Tensor)> =
        weights.iter().map(|(name, tensor)| (older(name), tensor)).collect();
    let renamed: Vec<(&str, &Tensor)> =
        renamed.iter().map(|(name, tensor)| (name.as_str(), *tensor)).collect();
    place.torch("pipeline/unet/diffusion_pytorch_model.bin", &renamed, &[]);
    fs::write(place.path("pipeline/unet/config.json"), config).expect("a file");
    fs::write(place.path("pipeline/scheduler/scheduler_config.json"), scheduler()).expect("a file");
    let out = place.done("pipeline --graph features --taps out_6 --timestep 0");
    assert!(out.contains("wrote pipeline-features-out_6-t0.onnx"), "{out}");
    place.fail("pipeline --graph features --taps out_6 --timestep 1000", 2, "1000 is outside 0..=999");
}

#[test]
fn what_a_folder_lacks_is_said() {
    let place = Place::new();
    let config = &fixture("diffusers_ddpm").config["config"];
    fs::create_dir_all(place.path("m")).expect("a folder");
    let write = |name: &str, text: String| fs::write(place.path(name), text).expect("a file");
    write("m/config.json", config.to_string());
    place.fail(
        "m",
        1,
        "m: it holds a config.json of diffusers, but none of diffusion_pytorch_model.safetensors, ",
    );

    let weights = weights();
    place.safetensors("m/diffusion_pytorch_model.safetensors", weights.iter().map(|(n, t)| (n.as_str(), t)));
    place.fail("m --graph features --taps out_6", 2, "--graph features needs the diffusion process");
    place.fail(
        "m --graph encoder",
        2,
        "--graph encoder: this is a UNet, which has graphs of kind network, features",
    );
    place.done("m --graph features --taps out_6 --process ddpm --dry-run");
    let scheduled = scheduler().replace("\"linear\"", "\"squaredcos_cap_v2\"");
    write("m/scheduler_config.json", scheduled);
    place.fail(
        "m --graph sampler",
        1,
        "scheduler_config.json: beta_schedule is squaredcos_cap_v2; only linear",
    );
    write("m/scheduler_config.json", "[]".to_string());
    place.fail("m --graph sampler", 1, "scheduler_config.json: not a configuration of diffusers");

    let mut changed = config.clone();
    changed["act_fn"] = "relu".into();
    write("m/config.json", changed.to_string());
    place.fail("m", 1, "config.json: act_fn is relu; only silu is supported");
    changed["_class_name"] = "UNet2DConditionModel".into();
    write("m/config.json", changed.to_string());
    place.fail("m", 1, "it is of a UNet2DConditionModel; UNet2DModel and AutoencoderKL are known here");
}
