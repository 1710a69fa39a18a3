//! Forms in which others keep the weights of known networks, and networks that only seem to be known.

use std::fs;
use std::path::Path;

use ddae_model::networks::vae_encoder_compvis_name;
use ddae_model::tensor::Tensor;
use ddae_tests::cases::Case;
use ddae_tests::cases::imported::{dit, fid_inception, vae_encoder};
use ddae_tests::cases::published::{diffusers_ddpm, noise_mlp};
use ddae_tests::{fixture, parameter_shapes, rule_weight};
use serde_json::json;

use crate::place::{Place, distance, named};

/// A small network of diffusers' in `folder` under this name of its file, with weights times `factor`.
fn diffusers_file(place: &Place, file: &str, factor: f32) {
    let weights: Vec<(String, Tensor)> = parameter_shapes("diffusers_ddpm")
        .into_iter()
        .map(|(name, shape)| {
            let values = rule_weight(&name, &shape).iter().map(|value| factor * value).collect();
            (name, Tensor::f32(&shape, values))
        })
        .collect();
    if let Some(folder) = Path::new(file).parent() {
        fs::create_dir_all(place.path(&folder.display().to_string())).expect("a folder");
    }
    match file.ends_with(".bin") {
        true => place.torch(file, &weights.iter().map(|(n, t)| (n.as_str(), t)).collect::<Vec<_>>(), &[]),
        false => place.safetensors(file, weights.iter().map(|(n, t)| (n.as_str(), t))),
    }
}

fn config(place: &Place, folder: &str, more: &serde_json::Value) {
    let mut config = fixture("diffusers_ddpm").config["config"].clone();
    for (key, value) in more.as_object().into_iter().flatten() {
        config[key] = value.clone();
    }
    fs::create_dir_all(place.path(folder)).expect("a folder");
    fs::write(place.path(&format!("{folder}/config.json")), config.to_string()).expect("a file");
}

/// Splits the file of a folder into two with an index of this name.
fn split(place: &Place, folder: &str, kind: &str, index: &str) {
    let whole = format!("{folder}/diffusion_pytorch_model.{kind}");
    let shapes = parameter_shapes("diffusers_ddpm");
    let mut map = serde_json::Map::new();
    for (part, names) in shapes.chunks(shapes.len() / 2 + 1).enumerate() {
        let file = format!("diffusion_pytorch_model-0000{part}-of-00002.{kind}");
        let weights: Vec<(&str, Tensor)> = names
            .iter()
            .map(|(name, shape)| (name.as_str(), Tensor::f32(shape, rule_weight(name, shape))))
            .collect();
        let weights: Vec<(&str, &Tensor)> = weights.iter().map(|(name, tensor)| (*name, tensor)).collect();
        let path = format!("{folder}/{file}");
        if kind == "bin" {
            place.torch(&path, &weights, &[])
        } else {
            place.safetensors(&path, weights)
        }
        names.iter().for_each(|(name, _)| drop(map.insert(name.clone(), json!(file))));
    }
    let _ = fs::remove_file(place.path(&whole));
    fs::write(place.path(&format!("{folder}/{index}")), json!({ "weight_map": map }).to_string())
        .expect("a file");
}

/// Exports and compares with what diffusers computed.
fn check(place: &Place, arguments: &str) -> String {
    let out = place.done(&format!("{arguments} --taps out_6 -o checked.onnx --force"));
    place.check("checked.onnx", &diffusers_ddpm(), &["y", "out_6"]);
    out
}

#[test]
fn every_file_of_a_diffusers_folder() {
    for file in [
        "diffusion_pytorch_model.safetensors",
        "diffusion_pytorch_model.bin",
        "diffusion_pytorch_model.fp16.safetensors",
        "diffusion_pytorch_model.fp16.bin",
        "diffusion_pytorch_model.non_ema.safetensors",
    ] {
        let place = Place::new();
        config(&place, "m", &json!({}));
        diffusers_file(&place, &format!("m/{file}"), 1.0);
        check(&place, "m");
    }
    for (kind, index) in [
        ("safetensors", "diffusion_pytorch_model.safetensors.index.json"),
        ("safetensors", "diffusion_pytorch_model.safetensors.index.fp16.json"),
        ("bin", "diffusion_pytorch_model.bin.index.json"),
        ("bin", "diffusion_pytorch_model.bin.index.fp16.json"),
    ] {
        let place = Place::new();
        config(&place, "m", &json!({}));
        split(&place, "m", kind, index);
        let out = check(&place, "m");
        assert!(!out.contains("taken for"), "{index}: {out}");
        assert!(place.done(&format!("inspect m/{index}")).starts_with("sharded"), "{index}");
    }
}

/// What is beside rounded or other weights decides, and any can be asked for.
#[test]
fn variants_in_one_folder() {
    let place = Place::new();
    config(&place, "m", &json!({}));
    diffusers_file(&place, "m/diffusion_pytorch_model.fp16.safetensors", 0.5);
    diffusers_file(&place, "m/diffusion_pytorch_model.safetensors", 1.0);
    check(&place, "m");
    diffusers_file(&place, "m/diffusion_pytorch_model.non_ema.safetensors", 0.25);
    let out = check(&place, "m");
    assert!(out.contains("the moving average"), "{out}");
    for (weights, set, name) in [
        ("model", json!("model"), "non_ema"),
        ("non_ema", json!("model"), "non_ema"),
        ("ema", json!("ema"), "diffusion_pytorch_model"),
        ("diffusion_pytorch_model", json!("ema"), "diffusion_pytorch_model"),
        ("fp16", json!("ema"), "fp16"),
    ] {
        let report = place.json(&format!("m --weights {weights} --dry-run"));
        assert_eq!((&report["weights"], &report["weights_name"]), (&set, &json!(name)), "{weights}");
    }
    // What has no such name is not passed over.
    let listed = "it holds the weights 'diffusion_pytorch_model', 'non_ema'; choose with --weights NAME";
    for name in ["junk", "non-emas"] {
        place.fail(&format!("m --weights {name}"), 1, &format!("--weights {name}: {listed}"));
    }
}

/// Values of a network, as its export computes them.
fn values(place: &Place, arguments: &str) -> Vec<f32> {
    place.done(&format!("{arguments} -o values.onnx --force"));
    let case = diffusers_ddpm();
    let inputs: Vec<(&str, Tensor)> = case.inputs.iter().map(|(n, t)| (*n, t.clone())).collect();
    place.outputs("values.onnx", &inputs)[0].1.as_f32().expect("f32").to_vec()
}

/// Every variant can be asked for, and where none is asked for, only what is certain is taken.
#[test]
fn variants_by_their_names() {
    let place = Place::new();
    config(&place, "m", &json!({}));
    let file = |variant: &str| format!("m/diffusion_pytorch_model{variant}.safetensors");
    diffusers_file(&place, &file(".fp16"), 1.0);
    let full = values(&place, "m");
    // Rounded weights: fp16 before bf16, and any by its name.
    diffusers_file(&place, &file(".bf16"), 0.5);
    assert_eq!(values(&place, "m"), full);
    let out = place.done("m --dry-run");
    assert!(out.contains("weights: 'fp16'"), "{out}");
    assert_eq!(values(&place, "m --weights fp16"), full);
    assert_ne!(values(&place, "m --weights bf16"), full);
    let out = place.done("m --weights bf16 --dry-run");
    assert!(out.contains("weights: 'bf16'") && out.contains("would write m-bf16-network.onnx"), "{out}");
    let _ = fs::remove_file(place.path(&file(".bf16")));
    let _ = fs::remove_file(place.path(&file(".fp16")));
    // Others of which no name says what they are.
    diffusers_file(&place, &file(".step9"), 1.0);
    diffusers_file(&place, &file(".step100"), 0.5);
    place.fail("m", 1, "it holds the weights 'step100', 'step9'; choose with --weights NAME");
    assert_eq!(values(&place, "m --weights step9"), full);
    let _ = fs::remove_file(place.path(&file(".step9")));
    let _ = fs::remove_file(place.path(&file(".step100")));
    // Averages by their names.
    for average in [".ema", "_ema", ".ema.fp16"] {
        diffusers_file(&place, &file(""), 0.5);
        diffusers_file(&place, &file(average), 1.0);
        assert_eq!(values(&place, "m"), full, "{average}");
        assert_eq!(values(&place, "m --weights ema"), full, "{average}");
        assert_ne!(values(&place, "m --weights model"), full, "{average}");
        let out = place.done("m --dry-run");
        assert!(out.contains("weights: the moving average"), "{average}: {out}");
        let _ = fs::remove_file(place.path(&file(average)));
    }
}

/// Averages in folders of any name.
#[test]
fn folders_of_averages_of_any_name() {
    for average in ["ema", "unetEma", "ema_unet", "swa-unet"] {
        let place = Place::new();
        for (folder, factor) in [("unet", 0.5), (average, 1.0)] {
            config(&place, &format!("run/{folder}"), &json!({}));
            diffusers_file(&place, &format!("run/{folder}/diffusion_pytorch_model.safetensors"), factor);
        }
        // Another part, and a folder that says that it is none.
        fs::create_dir_all(place.path("run/vae_ema")).expect("a folder");
        fs::write(place.path("run/vae_ema/config.json"), r#"{"_class_name": "AutoencoderKL"}"#)
            .expect("a file");
        config(&place, "run/unet_non_ema", &json!({}));
        for arguments in
            ["run".to_string(), "run --weights ema".to_string(), format!("run --weights {average}")]
        {
            let out = check(&place, &arguments);
            assert!(out.contains(&format!("weights: the moving average, '{average}'")), "{arguments}: {out}");
        }
        let report = place.json("run --weights model --dry-run");
        assert_eq!((&report["weights"], &report["weights_name"]), (&json!("model"), &json!("unet")));
    }
    // The folder of the part may be an average itself.
    let place = Place::new();
    config(&place, "run/unet", &json!({ "decay": 0.9999, "optimization_step": 7 }));
    diffusers_file(&place, "run/unet/diffusion_pytorch_model.safetensors", 1.0);
    for arguments in ["run", "run/unet", "run --weights ema", "run --weights unet"] {
        let out = check(&place, arguments);
        assert!(out.contains("weights: the moving average, 'unet'"), "{arguments}: {out}");
    }
    place.fail("run --weights model", 1, "its config.json says that it holds a moving average alone");
}

/// The folders of a training script: the average is taken, as it is anywhere.
#[test]
fn a_folder_of_an_average_beside_that_in_training() {
    let place = Place::new();
    config(&place, "run/unet", &json!({}));
    diffusers_file(&place, "run/unet/diffusion_pytorch_model.safetensors", 0.5);
    let average = json!({ "decay": 0.9999, "inv_gamma": 1.0, "min_decay": 0.0, "optimization_step": 7, "power": 0.75,
                          "update_after_step": 0, "use_ema_warmup": false });
    config(&place, "run/unet_ema", &average);
    diffusers_file(&place, "run/unet_ema/diffusion_pytorch_model.safetensors", 1.0);
    for (arguments, file) in [
        ("run", "run-network.onnx"),
        ("run --weights ema", "run-network.onnx"),
        ("run --weights unet_ema", "run-unet_ema-network.onnx"),
        ("run --weights unet", "run-unet-network.onnx"),
        ("run --weights model", "run-model-network.onnx"),
        ("run/unet_ema", "run-network.onnx"),
    ] {
        let out = place.done(&format!("{arguments} --dry-run"));
        assert!(out.contains(&format!("would write {file}")), "{arguments}: {out}");
        if !file.contains("unet-") && !file.contains("model") {
            let out = check(&place, arguments);
            assert!(out.contains("weights: the moving average, 'unet_ema'"), "{arguments}: {out}");
        }
    }
    for arguments in ["run --weights model", "run --weights unet"] {
        let report = place.json(&format!("{arguments} --dry-run"));
        assert_eq!(
            (&report["weights"], &report["weights_name"]),
            (&json!("model"), &json!("unet")),
            "{arguments}"
        );
    }
    place.fail(
        "run --weights other",
        1,
        "--weights other: it holds the weights 'unet_ema', 'unet'; choose with --weights",
    );
    place.fail(
        "run/unet_ema --weights model",
        1,
        "its config.json says that it holds a moving average alone",
    );
}

#[test]
fn a_cache_of_hugging_face() {
    let place = Place::new();
    let repository = "models--google--ddpm-cifar10-32";
    let revision = "267b167dc01f0e4e61923ea244e8b988f84deb80";
    config(&place, &format!("{repository}/snapshots/{revision}"), &json!({}));
    diffusers_file(&place, &format!("{repository}/blobs/0123abcd.safetensors"), 1.0);
    let link = place.path(&format!("{repository}/snapshots/{revision}/diffusion_pytorch_model.safetensors"));
    std::os::unix::fs::symlink("../../blobs/0123abcd.safetensors", link).expect("a link");
    for arguments in [repository.to_string(), format!("{repository}/snapshots/{revision}")] {
        check(&place, &arguments);
        let report = place.done(&format!("{arguments} --dry-run"));
        assert!(report.contains("would write ddpm-cifar10-32-network.onnx"), "{report}");
    }
    config(&place, &format!("{repository}/snapshots/other"), &json!({}));
    place.fail(repository, 1, "it holds several revisions; give one of them");
    fs::create_dir_all(place.path(&format!("{repository}/refs"))).expect("a folder");
    // What leads out of the folder is no revision.
    for outside in ["..", ".", "../snapshots/other", "/tmp"] {
        fs::write(place.path(&format!("{repository}/refs/main")), outside).expect("a file");
        place.fail(repository, 1, "it holds several revisions; give one of them");
    }
    fs::write(place.path(&format!("{repository}/refs/main")), revision).expect("a file");
    check(&place, repository);
}

#[test]
fn a_mark_of_encoding_before_a_configuration() {
    let place = Place::new();
    config(&place, "m", &json!({}));
    diffusers_file(&place, "m/diffusion_pytorch_model.safetensors", 1.0);
    split(&place, "m", "safetensors", "diffusion_pytorch_model.safetensors.index.json");
    for file in ["m/config.json", "m/diffusion_pytorch_model.safetensors.index.json"] {
        let text = fs::read_to_string(place.path(file)).expect("a file");
        fs::write(place.path(file), format!("\u{feff}{text}")).expect("a file");
        check(&place, "m");
    }
}

/// `torch.compile`, FSDP and activation checkpointing, also in the middle of names; and what profilers leave.
#[test]
fn wrapped_and_profiled_names() {
    let (place, case) = (Place::new(), noise_mlp());
    let one = Tensor::f32(&[1], vec![3.0]);
    let wrapped = |name: &str| {
        let (layer, rest) = name.split_once('.').expect("a layer");
        format!("_orig_mod.net._fsdp_wrapped_module.{layer}._checkpoint_wrapped_module.{rest}")
    };
    let names: Vec<String> = case.weights.iter().map(|(name, _)| wrapped(name)).collect();
    let mut tensors: Vec<(&str, &Tensor)> =
        names.iter().map(String::as_str).zip(case.weights.iter().map(|(_, tensor)| tensor)).collect();
    tensors.extend([("_orig_mod.net.total_ops", &one), ("_orig_mod.net.cls.total_params", &one)]);
    place.torch("w.pth", &tensors, &[]);
    place.done("w.pth -o out.onnx");
    place.check("out.onnx", &case, &["logits"]);
}

fn renamed(case: &Case, name: impl Fn(&str) -> Option<String>) -> Vec<(String, Tensor)> {
    let tensors = case.weights.iter();
    tensors.filter_map(|(n, tensor)| Some((name(n)?, tensor.clone()))).collect()
}

/// The file that `sd-vae-ft-mse` was made of, with the other half of the autoencoder; and one without its last convolution.
#[test]
fn other_names_and_forms_of_the_latent_encoder() {
    let (place, case) = (Place::new(), vae_encoder());
    let mut tensors = renamed(&case, |name| Some(vae_encoder_compvis_name(name)));
    assert!(tensors.iter().any(|(name, _)| name == "encoder.down.1.block.0.nin_shortcut.weight"));
    assert!(tensors.iter().any(|(name, _)| name == "encoder.mid.attn_1.proj_out.bias"));
    assert!(tensors.iter().any(|(name, _)| name == "encoder.mid.block_2.norm1.weight"));
    // Linear layers are 1x1 convolutions there.
    for (name, tensor) in &mut tensors {
        if name.contains("attn_1.") && tensor.shape().len() == 2 {
            let shape = [tensor.shape(), &[1, 1]].concat();
            *tensor = Tensor::f32(&shape, tensor.as_f32().expect("f32").to_vec());
        }
    }
    tensors.push(("decoder.conv_in.weight".to_string(), Tensor::f32(&[1, 1, 1, 1], vec![0.0])));
    let listed: Vec<(&str, &Tensor)> = tensors.iter().map(|(n, t)| (n.as_str(), t)).collect();
    place.torch("vae-ft-mse.ckpt", &listed, &[("state_dict", "")]);
    let out = place.done("vae-ft-mse.ckpt --image-size 64x64 -o moments.onnx");
    assert!(
        out.contains("under CompVis' names") && out.contains("scaling taken for those of sd-vae-ft-mse"),
        "{out}"
    );
    place.check("moments.onnx", &case, &["moments"]);

    // Without the last convolution, what comes before it is what is given.
    let bare = renamed(&case, |name| (!name.starts_with("quant_conv")).then(|| name.to_string()));
    place.safetensors("bare/diffusion_pytorch_model.safetensors", bare.iter().map(|(n, t)| (n.as_str(), t)));
    let config = json!({ "_class_name": "AutoencoderKL", "use_quant_conv": false, "scaling_factor": 0.5 });
    fs::write(place.path("bare/config.json"), config.to_string()).expect("a file");
    let out = place.done("bare --image-size 64x64 -o bare.onnx");
    assert!(out.contains("scaled by 0.5") && !out.contains("taken for"), "{out}");
    let inputs: Vec<(&str, Tensor)> = case.inputs.iter().map(|(n, t)| (*n, t.clone())).collect();
    let found = place.outputs("bare.onnx", &inputs);
    let before = found[0].1.as_f32().expect("f32");
    let [weight, bias] = ["quant_conv.weight", "quant_conv.bias"]
        .map(|name| case.weights.get(name).and_then(Tensor::as_f32).expect("f32"));
    let expected = &case.expected[0].1;
    let (channels, pixels) = (bias.len(), 64);
    let after: Vec<f32> = (0..channels * pixels)
        .map(|i| {
            let (c, at) = (i / pixels, i % pixels);
            bias[c] + (0..channels).map(|k| weight[c * channels + k] * before[k * pixels + at]).sum::<f32>()
        })
        .collect();
    let error = distance(&Tensor::f32(expected.shape(), after), expected);
    assert!(error <= ddae_tests::tolerance::NETWORK, "{error:e}");
}

/// Networks that have the names of known ones.
#[test]
fn networks_that_only_seem_to_be_known_are_refused() {
    let place = Place::new();
    let inception = fid_inception();
    let tensor = |shape: &[usize]| Tensor::f32(shape, vec![0.0; shape.iter().product()]);
    let vae = vae_encoder();
    for (case, name, shape, message) in [
        (
            &inception,
            "AuxLogits.conv0.conv.weight",
            &[1][..],
            "it has 'AuxLogits.conv0.conv.weight': it is torchvision's Inception-v3",
        ),
        (
            &inception,
            "fc.weight",
            &[1000, 4],
            "it has 'fc.weight of 1000 rows': it is torchvision's Inception-v3",
        ),
        (&vae, "quantize.embedding.weight", &[8, 4], "it is a VQ autoencoder"),
    ] {
        let more = tensor(shape);
        let tensors = named(case).into_iter().chain([(name, &more)]);
        place.safetensors("seeming.safetensors", tensors);
        place.fail("seeming.safetensors --image-size 64", 1, message);
        // A configuration does not make them known ones.
        place.safetensors("known.safetensors", named(case));
        place.done("known.safetensors --image-size 64 -o known.onnx --force");
        let config = place.json("inspect known.onnx")["metadata"]["ddae.config"].clone();
        fs::write(place.path("known.yaml"), config.as_str().expect("YAML")).expect("a file");
        place.done("known.safetensors --config known.yaml --dry-run");
        place.fail("seeming.safetensors --config known.yaml", 1, message);
    }
    // That of FID has a classifier for 1008 classes, which features do without.
    let more = tensor(&[1008, 4]);
    place.safetensors("fid.safetensors", named(&inception).into_iter().chain([("fc.weight", &more)]));
    place.done("fid.safetensors --image-size 32 --dry-run");
    config(&place, "m", &json!({}));
    diffusers_file(&place, "m/diffusion_pytorch_model.safetensors", 1.0);
    let file = ddae_checkpoint::Checkpoint::open(&place.path("m/diffusion_pytorch_model.safetensors"))
        .expect("a file");
    let tensors: Vec<(String, Tensor)> = file
        .tensors()
        .iter()
        .map(|t| (t.name().to_string(), file.read(t.name()).expect("a tensor")))
        .collect();
    let more = ("down_blocks.0.attentions.0.transformer_blocks.0.norm1.weight".to_string(), tensor(&[1]));
    let all: Vec<(&str, &Tensor)> = tensors.iter().chain([&more]).map(|(n, t)| (n.as_str(), t)).collect();
    place.safetensors("guided.safetensors", all);
    place.fail(
        "guided.safetensors --image-size 32",
        1,
        "it is a UNet2DConditionModel, which is guided by text",
    );
}

/// A DiT whose table of labels has no row for none.
#[test]
fn a_dit_without_a_null_label() {
    let (place, case) = (Place::new(), dit(true, true));
    let rows = |count: usize| -> Vec<(String, Tensor)> {
        renamed(&case, |name| Some(name.to_string()))
            .into_iter()
            .map(|(name, tensor)| match name.as_str() {
                "y_embedder.embedding_table.weight" => {
                    let width = tensor.shape()[1];
                    let values = tensor.as_f32().expect("f32")[..count * width].to_vec();
                    (name, Tensor::f32(&[count, width], values))
                }
                _ => (name, tensor),
            })
            .collect()
    };
    let write = |file: &str, count: usize| {
        let tensors = rows(count);
        place.safetensors(file, tensors.iter().map(|(n, t)| (n.as_str(), t)));
    };
    place.safetensors("null.safetensors", named(&case));
    let out = place.done("null.safetensors --heads 4 --dry-run");
    assert!(
        out.contains("10 classes, its last label taken for 'no label' (--classes N says otherwise)"),
        "{out}"
    );
    assert!(!place.done("null.safetensors --heads 4 --classes 10 --dry-run").contains("taken for"));

    // Ten rows, the last of them what the case's null label has, and ten classes: the same numbers.
    let labels = case.inputs[2].1.as_i64().expect("labels").to_vec();
    assert!(labels.contains(&10) && !labels.contains(&9), "{labels:?}");
    let mut tensors = rows(11);
    for (name, tensor) in &mut tensors {
        if name == "y_embedder.embedding_table.weight" {
            let (values, width) = (tensor.as_f32().expect("f32"), tensor.shape()[1]);
            let values = [&values[..9 * width], &values[10 * width..]].concat();
            *tensor = Tensor::f32(&[10, width], values);
        }
    }
    place.safetensors("classes.safetensors", tensors.iter().map(|(n, t)| (n.as_str(), t)));
    let out = place.done("classes.safetensors --heads 4 --classes 10 --label -o classes.onnx");
    assert!(out.contains("10 classes, no null label"), "{out}");
    let mut of_classes = dit(true, true);
    of_classes.inputs[2].1 = Tensor::i64(&[labels.len()], labels.iter().map(|&l| l.min(9)).collect());
    place.check("classes.onnx", &of_classes, &["y"]);
    place.fail(
        "classes.safetensors --heads 4 --classes 8",
        1,
        "has 10 rows, which is neither --classes 8 nor one more",
    );
    place.fail("classes.safetensors --heads 4 --classes 10", 2, "it computes nothing without a label");
    // Unconditional: one class, which every image is of.
    write("one.safetensors", 1);
    let out =
        place.done("one.safetensors --heads 4 --graph features --taps layer-1 --timestep 81 -o one.onnx");
    assert!(out.contains("unconditional, its one label taken for that of all images"), "{out}");
    place.done("one.safetensors --heads 4 -o network.onnx");
    place.done("one.safetensors --heads 4 --label -o labelled.onnx");
    let (x, t) = (case.inputs[0].1.clone(), case.inputs[1].1.clone());
    let count = x.shape()[0];
    let label = Tensor::i64(&[count], vec![0; count]);
    let without = place.outputs("network.onnx", &[("x", x.clone()), ("t", t.clone())]);
    let with = place.outputs("labelled.onnx", &[("x", x), ("t", t), ("label", label)]);
    let error = distance(&without[0].1, &with[0].1);
    assert!(error <= ddae_tests::tolerance::NETWORK, "{error:e}");
    place.fail("null.safetensors --heads 4 --classes 10 --set network.num_classes=7", 1, "embedding_table");
}
