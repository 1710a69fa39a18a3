//! Each network from a file of weights, against the published code's outputs.

use ddae_model::networks::{UNetConfig, VAE_ENCODER_OLDER_NAMES, unet_graph};
use ddae_model::tensor::Tensor;
use ddae_tests::cases::Case;
use ddae_tests::cases::imported::{dit, fid_inception, vae_encoder};
use ddae_tests::cases::published::{noise_mlp, soda_decoder, soda_encoder, wrn_noise};
use ddae_tests::{fixture, rule_weights};

use crate::place::{Place, distance, named};

/// The small DDPM UNet of the fixtures, with pooled features and maps.
fn unet_tiny() -> Case {
    let case = fixture("unet_tiny");
    let config: UNetConfig = serde_json::from_value(case.config["network"].clone()).expect("a network");
    let graph = unet_graph(&config, false).expect("a graph");
    let expected = ["y", "map.out_1", "map.out_3"]
        .map(|name| (name.trim_start_matches("map.").to_string(), case.tensor(&format!("output.{name}"))));
    let inputs = vec![("x", case.tensor("input.x")), ("t", case.tensor("input.t"))];
    Case {
        name: "unet_tiny".to_string(),
        weights: rule_weights(&graph),
        inputs,
        expected: expected.to_vec(),
        graph,
        of_batch: false,
    }
}

#[test]
fn a_unet_in_the_layout_of_ddae() {
    let (place, case) = (Place::new(), unet_tiny());
    let groups = [("MODEL", "module.nn_model."), ("EMA", "ema_model.nn_model.")];
    place.torch("checkpoint.pth", &named(&case), &groups);
    let out = place.done("checkpoint.pth --image-size 16x16 --taps out_1,out_3 -o network.onnx");
    assert!(out.starts_with("UNet: 3x16x16 images, n_channels 32, ch_mults [1, 2], n_blocks 1"), "{out}");
    place.check("network.onnx", &case, &["y", "out_1", "out_3"]);
    let report = place.json("checkpoint.pth --image-size 16 --weights model --dry-run");
    assert_eq!(report["weights"], "model");

    // The same from safetensors, for larger images.
    place.safetensors("weights.safetensors", named(&case));
    place.done("weights.safetensors --image-size 32x16 -o larger.onnx");
    let x = Tensor::f32(&[1, 3, 32, 16], vec![0.5; 3 * 32 * 16]);
    let outputs = place.outputs("larger.onnx", &[("x", x), ("t", Tensor::f32(&[1], vec![0.5]))]);
    assert_eq!(outputs[0].1.shape(), [1, 3, 32, 16]);
}

#[test]
fn features_and_sampler_of_a_unet_without_a_configuration() {
    let (place, case) = (Place::new(), unet_tiny());
    place.safetensors("w.safetensors", named(&case));
    for (process, range) in [("ddpm", "1..=1000"), ("edm", "1..=18")] {
        let options = format!("w.safetensors --image-size 16 --process {process} --force");
        place.done(&format!("{options} --graph sampler"));
        let report = place.json(&format!("{options} --graph features --taps all --timestep 4"));
        assert_eq!(report["taps"].as_array().map(Vec::len), Some(4));
        let wrong = format!("{options} --graph features --taps out_1 --timestep 0");
        place.fail(&wrong, 2, &format!("timestep: 0 is outside {range}"));
    }
}

#[test]
fn the_networks_of_a_soda() {
    let (place, encoder, decoder) = (Place::new(), soda_encoder(), soda_decoder());
    let all: Vec<(&str, &Tensor)> = named(&encoder).into_iter().chain(named(&decoder)).collect();
    place.torch("soda.pth", &all, &[("MODEL", "module."), ("EMA", "ema_model.")]);
    let said = place.done("inspect soda.pth");
    assert!(said.contains("\nnetworks  the encoder of a SODA, the decoder of a SODA\n"), "{said}");
    let out = place.done("soda.pth --image-size 32x32 -o decoder.onnx");
    assert!(out.starts_with("SODA decoder: 3x32x32 images"), "{out}");
    place.check("decoder.onnx", &decoder, &["y"]);

    let statistics = "0.5,0.4,0.3/0.2,0.25,0.5";
    let options = format!("soda.pth --graph encoder --image-size 32x32 --statistics {statistics}");
    place.done(&format!("{options} -o encoder.onnx"));
    place.done(&format!("{options} --normalise -o unit.onnx"));
    // The case's images are normalised already: these, in other values, become them again inside.
    let source = encoder.inputs[0].1.clone();
    let (means, stds) = ([0.5, 0.4, 0.3], [0.2, 0.25, 0.5]);
    let values = source.as_f32().expect("f32").iter().enumerate();
    let values = values.map(|(i, v)| v * stds[i / 1024 % 3] + means[i / 1024 % 3]).collect();
    let image = Tensor::f32(source.shape(), values);
    for (file, expected) in [("encoder.onnx", &encoder.expected[0].1), ("unit.onnx", &encoder.expected[1].1)]
    {
        let outputs = place.outputs(file, &[("image", image.clone())]);
        assert_eq!(outputs[0].0, "z");
        let error = distance(&outputs[0].1, expected);
        assert!(error <= ddae_tests::tolerance::NETWORK, "{file}: {error:e}");
    }
    let metadata = &place.json("inspect unit.onnx")["metadata"];
    for (key, value) in
        [("kind", "encoder"), ("unit_length", "true"), ("pixels", "[0,1]"), ("weights", "ema")]
    {
        assert_eq!(metadata[format!("ddae.{key}")], value, "{key}");
    }
    assert_eq!(metadata["ddae.taps"], r#"[{"name":"z","shape":[128]}]"#);
    let config = metadata["ddae.config"].as_str().expect("YAML");
    assert!(config.contains("net_type: SodaEncoder") && config.contains("normalisation:"), "{config}");
}

#[test]
fn the_noise_conditional_classifiers() {
    let place = Place::new();
    place.torch("wrn.pth", &named(&wrn_noise()), &[("MODEL", "module.")]);
    place.done("wrn.pth --image-size 32x32 -o wrn.onnx");
    place.check("wrn.onnx", &wrn_noise(), &["logits"]);
    place.torch("mlp.pth", &named(&noise_mlp()), &[]);
    place.done("mlp.pth -o mlp.onnx");
    place.check("mlp.onnx", &noise_mlp(), &["logits"]);
}

#[test]
fn a_dit_with_its_features() {
    let (place, case) = (Place::new(), dit(true, true));
    place.torch("dit.pt", &named(&case), &[]);
    place.done("dit.pt --heads 4 --label --taps all -o network.onnx");
    place.check("network.onnx", &case, &["y", "layer-0", "layer-1", "layer-2"]);
    place.done("dit.pt --heads 4 --label --dtype f16 -o half.onnx");
    assert_eq!(place.done("dit.pt --heads 4 --list-taps").lines().count(), 3);

    place.done("dit.pt --heads 4 --graph features --taps layer-1 --timestep 81 -o features.onnx");
    let report = place.json("inspect features.onnx");
    let names: Vec<&str> =
        report["inputs"].as_array().expect("inputs").iter().filter_map(|i| i["name"].as_str()).collect();
    assert_eq!(names, ["latent", "noise"]);
    let metadata = &report["metadata"];
    assert_eq!((&metadata["ddae.pixels"], &metadata["ddae.timestep"]), (&"latent".into(), &"81".into()));
    let config = metadata["ddae.config"].as_str().expect("YAML");
    assert!(config.contains("net_type: DiT") && config.contains("timesteps: index"), "{config}");
    // The configuration in a file is one that --config takes.
    std::fs::write(place.path("dit.yaml"), config).expect("a file");
    place.done("dit.pt --config dit.yaml --graph features --taps layer-1 --timestep 81 -o again.onnx");
    let x = case.inputs[0].1.clone();
    let inputs = [("latent", x.clone()), ("noise", x)];
    assert_eq!(place.outputs("features.onnx", &inputs), place.outputs("again.onnx", &inputs));
}

#[test]
fn the_latent_encoder_under_its_older_names() {
    let (place, case) = (Place::new(), vae_encoder());
    let older = |name: &str| {
        let renamed = VAE_ENCODER_OLDER_NAMES.iter().find_map(|(older, current)| {
            let leaf = name.strip_prefix(current).filter(|leaf| leaf.starts_with('.'))?;
            Some(format!("{older}{leaf}"))
        });
        renamed.unwrap_or_else(|| name.to_string())
    };
    let renamed: Vec<(String, &Tensor)> = named(&case).into_iter().map(|(n, t)| (older(n), t)).collect();
    let renamed: Vec<(&str, &Tensor)> = renamed.iter().map(|(n, t)| (n.as_str(), *t)).collect();
    place.torch("diffusion_pytorch_model.bin", &renamed, &[]);
    let out = place.done("diffusion_pytorch_model.bin --graph latent --image-size 64x64 -o latent.onnx");
    assert!(out.contains("under older names"), "{out}");
    // With noise of zeros, the mean of the posterior, scaled.
    let image = case.inputs[0].1.as_f32().expect("f32").iter().map(|v| (v + 1.0) / 2.0).collect();
    let image = Tensor::f32(&[1, 3, 64, 64], image);
    let zeros = Tensor::f32(&[1, 4, 8, 8], vec![0.0; 256]);
    let latent = place.outputs("latent.onnx", &[("image", image), ("noise", zeros)]);
    let moments = case.expected[0].1.as_f32().expect("f32");
    let mean = Tensor::f32(&[1, 4, 8, 8], moments[..256].iter().map(|m| 0.18215 * m).collect());
    assert_eq!(latent[0].0, "latent");
    let error = distance(&latent[0].1, &mean);
    assert!(error <= ddae_tests::tolerance::NETWORK, "{error:e}");
}

#[test]
fn the_inception_of_fid() {
    let (place, case) = (Place::new(), fid_inception());
    place.torch("pt_inception.pth", &named(&case), &[]);
    place.done("pt_inception.pth --graph features --image-size 32x32 -o pool.onnx");
    place.check("pool.onnx", &case, &["pool"]);
    assert!(place.done("pt_inception.pth --list-taps").starts_with("maxpool1"), "layers");
}
