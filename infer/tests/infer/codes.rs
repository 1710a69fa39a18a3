//! Graphs that see pictures as they are: encoders and Inception; and those that take none.

use std::path::{Path, PathBuf};

use ddae_data::features::{FeatureFile, FeatureKey};
use ddae_export::runtime::OnnxNetwork;
use ddae_model::config::{ChannelStatistics, DdpmConfig, ModelConfig, ProcessConfig, Timesteps};
use ddae_model::networks::{Architecture, DitConfig, DitSize, EncoderArch, EncoderConfig};
use ddae_model::onnx_metadata::GraphKind;
use ddae_model::tensor::{Data, Tensor};
use serde_json::json;

use crate::scene::{Export, TEST, data, done, export_graph, infer};

fn export(folder: &Path, name: &str, model: &ModelConfig, what: Export) -> PathBuf {
    let graph = model.architecture.network_graph(false).expect("a network");
    export_graph(folder, name, &model.to_yaml(), &graph, what)
}

/// An encoder of the data set's grey pictures.
fn encoder() -> ModelConfig {
    let config = EncoderConfig {
        arch: EncoderArch::ResNet18,
        feature_dim: 8,
        cifar_small_image: true,
        image_shape: [1, 12, 12],
    };
    let normalisation = ChannelStatistics { mean: vec![0.4], std: vec![0.3] };
    ModelConfig { normalisation: Some(normalisation), ..ModelConfig::of(Architecture::SodaEncoder(config)) }
}

#[test]
fn codes_of_a_data_set() {
    let folder = tempfile::tempdir().expect("a folder");
    for bytes in [false, true] {
        let what = Export { kind: GraphKind::Encoder, taps: vec![], timestep: None, bytes };
        let model = export(folder.path(), "encoder", &encoder(), what);
        let line =
            format!("features encoder.onnx --data folder --data-root DATA --split test -o out --overwrite");
        done(folder.path(), &line);
        let file = FeatureFile::open(folder.path().join("out.h5")).expect("a feature file");
        let keys: Vec<String> = file.keys().iter().map(FeatureKey::to_string).collect();
        assert_eq!((keys, file.len()), (vec!["t0/z".to_string()], TEST));
        assert_eq!(file.attributes()["timesteps"], json!([0]));
        assert_eq!(file.attributes()["graph"], json!("encoder"));
        assert_eq!(file.attributes()["pooling"], json!("none"));

        // The first picture of the first class, by itself.
        let found = file.read(&FeatureKey::new(0, "z"), 0, 0..1).expect("features");
        let picture = image::open(data().join("test/dark/00.png")).expect("a picture").to_luma8().into_raw();
        let picture = match bytes {
            true => Tensor::new(&[1, 12, 12, 1], Data::U8(picture)).expect("144 bytes"),
            false => Tensor::f32(&[1, 1, 12, 12], picture.iter().map(|&p| f32::from(p) / 255.0).collect()),
        };
        let mut network = OnnxNetwork::open(&model, 1).expect("a session");
        let expected = network.run(&[("image", picture)]).expect("a code");
        let expected = expected[0].1.as_f32().expect("f32");
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5), "{found} {expected:?}");
    }
}

#[test]
fn what_such_graphs_do_not_have_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let what = Export { kind: GraphKind::Encoder, taps: vec![], timestep: None, bytes: false };
    export(folder.path(), "encoder", &encoder(), what);
    let message =
        infer(folder.path(), "features encoder.onnx --data folder --data-root DATA --timesteps 1 -o out");
    assert!(message.error(&[2]).contains("--timesteps: this graph has none"));
    let message = infer(folder.path(), "features encoder.onnx -o out");
    assert!(
        message
            .error(&[2])
            .contains("--data is needed: the graph does not say what its network was trained on")
    );
    let message = infer(folder.path(), "sample encoder.onnx -o out");
    assert!(message.error(&[1, 2]).contains("is a graph of kind 'encoder', and 'sample' wants 'sampler'"));

    let dit = DitConfig {
        hidden_size: 16,
        num_heads: 2,
        depth: 1,
        num_classes: 3,
        ..DitConfig::new(DitSize::S, 2, 4)
    };
    let process = Some(ProcessConfig::Ddpm(DdpmConfig::published(Timesteps::Index)));
    let dit = ModelConfig { process, ..ModelConfig::of(Architecture::DiT(dit)) };
    export(folder.path(), "dit", &dit, Export::features(&["layer-0"]));
    let message = infer(folder.path(), "features dit.onnx --data folder --data-root DATA -o out");
    assert!(message.error(&[1]).contains("it takes latents of an autoencoder, and data sets hold pictures"));
}
