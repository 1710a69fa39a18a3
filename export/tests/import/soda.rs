//! Encoder and guided sampler of a SODA: from its training checkpoint, and from a file in the published layout.

use ddae_checkpoint::TrainingState;
use ddae_model::config::{Override, SodaRun};
use ddae_model::graph::Graph;
use ddae_model::networks::{SodaConfig, decoder_graph, resnet_graph};
use ddae_model::reference;
use ddae_model::tensor::Tensor;
use ddae_model::weights::Weights;
use ddae_tests::cases::Run;
use ddae_tests::cases::published::soda_encoder;
use ddae_tests::cases::samplers::soda_sample;
use ddae_tests::{TINY_SODA, rule_values, rule_weights};

use crate::place::{Place, named};

#[test]
fn the_sampler_in_the_layout_of_soda() {
    let (place, case) = (Place::new(), soda_sample());
    // The encoder of the same latents, so that it is a whole SODA.
    let encoder = soda_encoder();
    let all: Vec<(&str, &Tensor)> = named(&encoder).into_iter().chain(case.weights.iter()).collect();
    place.torch("soda.pth", &all, &[("MODEL", "module."), ("EMA", "ema_model.")]);
    let file = "soda.pth --graph sampler --image-size 16x16";
    let out = place.done(&format!("{file} -o sampler.onnx"));
    assert!(out.starts_with("SODA decoder: 3x16x16 images, n_channels 32"), "{out}");
    assert!(out.contains("  in  z f32 [B, 128]\n  in  guidance f32 [1]\n"), "{out}");
    let next =
        "next: ddae-infer reconstruct IMAGE --encoder ENCODER.onnx --sampler sampler.onnx -o sampler.png";
    assert!(out.contains(next), "{out}");
    let mut network = ddae_onnx::runtime::OnnxNetwork::open(&place.path("sampler.onnx"), 1).expect("a file");
    let mut run: Run = Box::new(move |inputs| network.run(inputs).expect("a step"));
    case.check(&mut run);

    let config = |file: &str| {
        let metadata = &place.json(&format!("inspect {file}"))["metadata"];
        metadata["ddae.config"].as_str().expect("YAML").to_string()
    };
    let described = config("sampler.onnx");
    assert!(
        described.contains("net_type: SodaDecoder") && described.contains("model_type: DDPM"),
        "{described}"
    );
    place.done(&format!("{file} --set diffusion.betas=cosine -o cosine.onnx"));
    assert!(config("cosine.onnx").contains("betas: cosine"));
    for (options, message) in [
        (
            "--set diffusion.betas=sigmoid",
            "--set diffusion.betas=sigmoid: [first, last], scaled_linear: [first, last], cosine or inverted is wanted, and it is \
             the text 'sigmoid'",
        ),
        ("--process edm", "--process: the process is known already"),
        ("--statistics cifar10", "--statistics is for encoders; this is the decoder of a SODA"),
        ("--normalise", "--normalise is for --graph encoder, not sampler"),
        ("--quantize int8", "--quantize int8 is for --graph features or encoder, not sampler"),
    ] {
        place.fail(&format!("{file} {options}"), 2, message);
    }
}

/// With a normalisation of its own and the inverted schedule.
fn soda() -> SodaRun {
    let set = [
        "dataset=fashion-sample",
        "encoder.cifar_small_image=True",
        "diffusion.betas=inverted",
        "normalisation={mean: [0.3], std: [0.35]}",
    ];
    let set: Vec<Override> = set.iter().map(|text| text.parse().expect("key=value")).collect();
    SodaRun::parse(TINY_SODA, "tiny_soda.yaml", &set).expect("a configuration")
}

fn images(name: &str) -> Tensor {
    Tensor::f32(&[2, 1, 8, 8], rule_values(name, 128, -1.0, 1.0))
}

/// What a network gives for inputs.
fn result(graph: &Graph, weights: &Weights, inputs: &[(&str, Tensor)]) -> Tensor {
    reference::run::<f32>(graph, weights, inputs).expect("a run").remove(0).1
}

/// A training checkpoint `soda.safetensors`, its records right but for what is added to the latents'.
fn trained(place: &Place, record_error: f32) {
    let run = soda();
    let SodaConfig { encoder, decoder } = &run.networks;
    let (encoder, decoder) =
        (resnet_graph(encoder).expect("a graph"), decoder_graph(decoder).expect("a graph"));
    let (of_encoder, of_decoder) = (rule_weights(&encoder), rule_weights(&decoder));
    let x = images("source");
    let z = result(&encoder, &of_encoder, &[("x", x.clone())]);
    let wrong = z.as_f32().expect("f32").iter().map(|z| z + record_error).collect();
    let wrong = Tensor::f32(z.shape(), wrong);
    let inputs = [
        ("x", images("x")),
        ("t", Tensor::f32(&[2], vec![0.1, 0.9])),
        ("z", z),
        ("mask", Tensor::f32(&[2, 2], vec![0.0, 0.0, 1.0, 0.0])),
    ];
    let y = result(&decoder, &of_decoder, &inputs);
    let mut tensors: Vec<(String, Tensor)> = Vec::new();
    for (name, tensor) in of_encoder.iter().chain(of_decoder.iter()) {
        tensors.extend(["model.", "ema."].map(|set| (format!("{set}{name}"), tensor.clone())));
    }
    tensors.extend([("record_encoder.x".to_string(), x), ("record_encoder.z".to_string(), wrong)]);
    tensors.extend(inputs.map(|(name, tensor)| (format!("record.{name}"), tensor)));
    tensors.push(("record.y".to_string(), y));
    let state = TrainingState { epoch: 1, step: 10, ..TrainingState::default() };
    ddae_checkpoint::write(&place.path("soda.safetensors"), &run.into(), &state, &tensors)
        .expect("a checkpoint");
}

#[test]
fn the_graphs_of_a_training_checkpoint() {
    let place = Place::new();
    trained(&place, 0.0);
    let report = place.json("soda.safetensors --graph encoder -o encoder.onnx");
    assert_eq!((&report["kind"], &report["epoch"]), (&"encoder".into(), &1.into()));
    assert!(report["verification"]["record"].as_f64().is_some_and(|error| error <= 1e-4), "{report}");
    let report = place.json("soda.safetensors --graph sampler -o sampler.onnx");
    assert!(report["verification"]["record"].as_f64().is_some_and(|error| error <= 1e-4), "{report}");
    let config = &place.json("inspect sampler.onnx")["metadata"]["ddae.config"];
    assert!(config.as_str().is_some_and(|config| config.contains("betas: inverted")), "{config}");
    // The loss is of both networks.
    let report = place.json("soda.safetensors --graph loss -o loss.onnx");
    assert!(report["verification"]["record"].as_f64().is_some_and(|error| error <= 1e-4), "{report}");

    // The normalisation is the run's: images of its mean and mean + std are 0 and 1.
    let levels: Vec<f32> = (0..128).map(|i| if i % 2 == 0 { 0.3 } else { 0.65 }).collect();
    let normalised = levels.iter().map(|level| (level - 0.3) / 0.35).collect();
    let graph = resnet_graph(&soda().networks.encoder);
    let graph = graph.expect("a graph");
    let expected = result(&graph, &rule_weights(&graph), &[("x", Tensor::f32(&[2, 1, 8, 8], normalised))]);
    let found = place.outputs("encoder.onnx", &[("image", Tensor::f32(&[2, 1, 8, 8], levels))]);
    assert!(crate::place::distance(&found[0].1, &expected) <= ddae_tests::tolerance::NETWORK);

    // Another one that is given is part of what the file says.
    place.done("soda.safetensors --graph encoder --statistics 0.5/0.25 -o other.onnx");
    let config = &place.json("inspect other.onnx")["metadata"]["ddae.config"];
    assert!(config.as_str().is_some_and(|config| config.contains("- 0.25")), "{config}");
    place.fail("soda.safetensors --graph features", 2, "which has graphs of kind network, sampler");
}

#[test]
fn latents_that_are_not_those_of_training_are_noticed() {
    let place = Place::new();
    trained(&place, 0.01);
    let message = "output 'z' differs from the outputs recorded in training";
    place.fail("soda.safetensors --graph encoder -o encoder.onnx", 1, message);
    assert!(!place.path("encoder.onnx").exists());
}

#[test]
fn an_encoder_of_integers() {
    let place = Place::new();
    trained(&place, 0.0);
    std::fs::create_dir_all(place.path("images/train/a")).expect("a folder");
    for i in 0..24u32 {
        let level = |x: u32, y: u32| image::Luma([((x * 31 + y * 17) * (i + 1) % 256) as u8]);
        let path = place.path(&format!("images/train/a/{i:02}.png"));
        image::GrayImage::from_fn(8, 8, level).save(path).expect("an image");
    }
    let command =
        "soda.safetensors --graph encoder --quantize int8 --calibrate images --calibration-images 16";
    let report = place.json(&format!("{command} -o int8.onnx"));
    assert_eq!(report["precision"], "int8");
    let error = &report["errors"]["outputs"][0];
    assert_eq!(error["name"], "z");
    assert!(error["relative"].as_f64().is_some_and(|error| error < 0.25), "{error}");
}
