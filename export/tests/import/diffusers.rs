//! Folders as diffusers writes them.

use std::collections::BTreeMap;
use std::fs;

use ddae_model::tensor::Tensor;
use ddae_tests::cases::imported::vae_encoder;
use ddae_tests::cases::published::diffusers_ddpm;
use ddae_tests::{fixture, parameter_shapes, rule_weight};
use serde_json::json;

use crate::place::{Place, named};

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
    write("m/scheduler_config.json", scheduler().replace("\"linear\"", "\"squaredcos_cap_v2\""));
    let report = place.json("m --graph sampler --dry-run -o cosine.onnx");
    assert_eq!(report["kind"], "sampler");
    write("m/scheduler_config.json", scheduler().replace("\"linear\"", "\"sigmoid\""));
    place.fail(
        "m --graph sampler",
        1,
        "scheduler_config.json: beta_schedule is sigmoid; known are linear, scaled_linear and squaredcos_cap_v2. To take \
         the published DDPM, give --process ddpm",
    );
    place.done("m --graph sampler --process ddpm --dry-run");
    write("m/scheduler_config.json", scheduler().replace("DDPMScheduler", "FlowMatchEulerDiscreteScheduler"));
    place.fail(
        "m --graph sampler",
        1,
        "scheduler_config.json: it is of a FlowMatchEulerDiscreteScheduler; known are ",
    );
    let advice =
        |arguments: &str| String::from_utf8_lossy(&place.run(arguments).stderr).contains("--process");
    assert!(!advice("m --graph sampler"), "another process is not made right by an option");
    // What an option stands for is said.
    let out = place.done("m --graph sampler --process ddpm --dry-run");
    assert!(
        out.contains("what its scheduler says is not taken: it is of a FlowMatchEulerDiscreteScheduler"),
        "{out}"
    );
    let prediction = "\"prediction_type\": \"v_prediction\"";
    let changed = scheduler().replace("\"prediction_type\": \"epsilon\"", prediction);
    let changed = match changed.contains(prediction) {
        true => changed,
        false => changed.replacen('{', &format!("{{ {prediction}, "), 1),
    };
    write("m/scheduler_config.json", changed);
    let out = place.done("m --graph sampler --process ddpm --dry-run");
    assert!(out.contains("is not taken: ") && out.contains("prediction v_prediction"), "{out}");
    let out = place.done("m --graph sampler --dry-run");
    assert!(!out.contains("is not taken"), "{out}");
    write("m/scheduler_config.json", "[]".to_string());
    place.fail("m --graph sampler", 1, "scheduler_config.json: not a configuration of diffusers");

    // The configuration lies beside weights of any type, and has the last word.
    fs::rename(
        place.path("m/diffusion_pytorch_model.safetensors"),
        place.path("m/diffusion_pytorch_model.fp16.safetensors"),
    )
    .expect("a new name");
    let file = "m/diffusion_pytorch_model.fp16.safetensors";
    let out = place.done(&format!("{file} --dry-run"));
    assert!(!out.contains("taken for one of Google's"), "{out}");
    place.fail(
        &format!("{file} --head-channels 8"),
        2,
        "--head-channels: the config.json beside the weights",
    );
    fs::copy(place.path(file), place.path("alone.safetensors")).expect("a copy");
    let out = place.done("alone.safetensors --image-size 32 --dry-run");
    assert!(out.contains("taken for one of Google's DDPMs (no config.json is beside it)"), "{out}");
    fs::rename(place.path(file), place.path("m/diffusion_pytorch_model.safetensors")).expect("the old name");

    let mut changed = config.clone();
    changed["act_fn"] = "relu".into();
    write("m/config.json", changed.to_string());
    place.fail("m", 1, "config.json: act_fn is relu; only silu is supported");
    changed["_class_name"] = "UNet2DConditionModel".into();
    write("m/config.json", changed.to_string());
    place.fail("m", 1, "it is of a UNet2DConditionModel; UNet2DModel and AutoencoderKL are known here");
}

/// What of an autoencoder is not in its weights, and what other ones have.
#[test]
fn an_autoencoder_is_what_its_configuration_says() {
    let place = Place::new();
    let case = vae_encoder();
    place.safetensors("vae/diffusion_pytorch_model.safetensors", named(&case));
    let published = json!({
        "_class_name": "AutoencoderKL", "act_fn": "silu", "norm_num_groups": 32, "scaling_factor": 0.18215,
        "down_block_types": ["DownEncoderBlock2D", "DownEncoderBlock2D"], "shift_factor": null, "latent_channels": 4,
    });
    let export = |changes: &[(&str, serde_json::Value)], options: &str| {
        let mut config = published.clone();
        changes.iter().for_each(|(key, value)| config[*key] = value.clone());
        fs::write(place.path("vae/config.json"), config.to_string()).expect("a file");
        place.run(&format!("vae --graph latent --image-size 64 {options}"))
    };
    let said = |output: std::process::Output| String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said(export(&[], "--dry-run")).contains("scaled by 0.18215"));
    assert!(said(export(&[("scaling_factor", json!(0.5))], "--dry-run")).contains("scaled by 0.5"));
    assert!(export(&[("norm_num_groups", json!(16))], "-o other.onnx").status.success());
    let config = &place.json("inspect other.onnx")["metadata"]["ddae.config"];
    assert!(config.as_str().is_some_and(|config| config.contains("norm_num_groups: 16")), "{config}");
    for (key, value, message) in [
        ("act_fn", json!("relu"), r#"act_fn is "relu"; only "silu" is supported"#),
        ("shift_factor", json!(0.1), "shift_factor is 0.1; only null is supported"),
        ("mid_block_add_attention", json!(false), "mid_block_add_attention is false; only true is supported"),
        (
            "down_block_types",
            json!(["AttnDownEncoderBlock2D"]),
            r#"down_block_types has "AttnDownEncoderBlock2D""#,
        ),
        (
            "use_quant_conv",
            json!(false),
            "use_quant_conv is false, and the weights beside it have a quant_conv",
        ),
        ("_class_name", json!("VQModel"), "it is of a VQModel; the weights are those of an AutoencoderKL"),
        ("double_z", json!(false), "double_z is false; only true is supported"),
        ("latent_channels", json!(16), "latent_channels is 16, and the weights beside it have 4"),
        ("scaling_factor", json!("1"), r#"scaling_factor is "1"; it must be a number"#),
        ("norm_num_groups", json!(-1), "norm_num_groups is -1; it must be a whole number"),
        ("norm_num_groups", json!(7), "does not split into 7 groups"),
    ] {
        let output = export(&[(key, value)], "--dry-run");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && error.contains(message), "{message}: {error}");
    }
    assert!(said(export(&[("shift_factor", json!(0.0))], "--dry-run")).contains("scaled by 0.18215"));

    // Without the last convolution, the configuration must say so; without a configuration, it is said.
    let bare = || named(&case).into_iter().filter(|(name, _)| !name.starts_with("quant_conv"));
    place.safetensors("vae/diffusion_pytorch_model.safetensors", bare());
    for changes in [vec![("use_quant_conv", json!(true))], vec![]] {
        let output = export(&changes, "--dry-run");
        let error = String::from_utf8_lossy(&output.stderr);
        let message = "use_quant_conv is true, and the weights beside it have no quant_conv";
        assert!(!output.status.success() && error.contains(message), "{error}");
    }
    assert!(export(&[("use_quant_conv", json!(false))], "--dry-run").status.success());
    place.safetensors("bare.safetensors", bare());
    let out = place.done("bare.safetensors --graph latent --image-size 64 --dry-run");
    assert!(out.contains("with no quant_conv, groups and scaling taken for those of sd-vae-ft-mse"), "{out}");
    // Latents of other sizes are of other autoencoders.
    let width = case.weights.get("encoder.conv_out.weight").expect("a layer").shape()[1];
    let wide = Tensor::f32(&[32, width, 3, 3], vec![0.01; 32 * width * 9]);
    let wide_bias = Tensor::f32(&[32], vec![0.0; 32]);
    let tensors = bare().map(|(name, tensor)| match name {
        "encoder.conv_out.weight" => (name, &wide),
        "encoder.conv_out.bias" => (name, &wide_bias),
        _ => (name, tensor),
    });
    place.safetensors("wide.safetensors", tensors);
    place.fail(
        "wide.safetensors --graph latent --image-size 64",
        2,
        "it holds a latent encoder of 16 channels; the weights do not tell what its latents are multiplied by: give --set \
         network.scaling_factor=N",
    );
    let out = place.done(
        "wide.safetensors --graph latent --image-size 64 --set network.scaling_factor=0.3611 --dry-run",
    );
    assert!(out.contains("scaled by 0.3611"), "{out}");
}
