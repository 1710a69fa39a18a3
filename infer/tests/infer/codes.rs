//! Graphs that see images as they are: encoders and Inception; and those that take none.

use std::path::{Path, PathBuf};

use ddae_base::random::{ImageKey, Purpose};
use ddae_data::augment::{Augmentation, Augmenter};
use ddae_data::datasets;
use ddae_model::config::{ChannelStatistics, DdpmConfig, ModelConfig, ProcessConfig, Timesteps};
use ddae_model::networks::{Architecture, DitConfig, DitSize, EncoderArch, EncoderConfig, VaeEncoderConfig};
use ddae_model::tensor::{Data, Tensor};
use ddae_onnx::metadata::GraphKind;
use ddae_onnx::runtime::OnnxNetwork;
use ddae_store::{FeatureFile, FeatureKey};
use ddae_tests::relative_error;
use serde_json::json;

use crate::scene::{Export, TEST, data, done, export_graph, infer, refuses};

pub(crate) fn export(folder: &Path, name: &str, model: &ModelConfig, what: Export) -> PathBuf {
    let graph = model.architecture.network_graph(false).expect("a network");
    export_graph(folder, name, &model.to_yaml(), &graph, what)
}

/// An encoder of the data set's grey images.
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
        let what = Export {
            kind: GraphKind::Encoder,
            taps: vec![],
            timestep: None,
            bytes,
            label: false,
            unpooled: false,
        };
        let model = export(folder.path(), "encoder", &encoder(), what);
        let line = "features encoder.onnx --data folder --data-root DATA --split test -o out";
        if bytes {
            // Of the same checkpoint, in another way.
            let wanted = "error: out.h5 holds pixels \"[0,1]\" where this job has \"0..255\"";
            assert!(infer(folder.path(), line).error(&[1]).starts_with(wanted));
        }
        done(folder.path(), &format!("{line} --overwrite"));
        let file = FeatureFile::open(folder.path().join("out.h5")).expect("a feature file");
        let keys: Vec<String> = file.keys().iter().map(FeatureKey::to_string).collect();
        assert_eq!((keys, file.len()), (vec!["t0/z".to_string()], TEST));
        assert_eq!(file.attributes()["timesteps"], json!([0]));
        assert_eq!(file.attributes()["graph"], json!("encoder"));
        assert_eq!(file.attributes()["pooling"], json!("none"));

        // The first image of the first class, by itself.
        let found = file.read(&FeatureKey::new(0, "z"), 0, 0..1).expect("features");
        let image = image::open(data().join("test/dark/00.png")).expect("an image").to_luma8().into_raw();
        let image = match bytes {
            true => Tensor::new(&[1, 12, 12, 1], Data::U8(image)).expect("144 bytes"),
            false => Tensor::f32(&[1, 1, 12, 12], image.iter().map(|&p| f32::from(p) / 255.0).collect()),
        };
        let mut network = OnnxNetwork::open(&model, 1).expect("a session");
        let expected = network.run(&[("image", image)]).expect("a code");
        let expected = expected[0].1.as_f32().expect("f32");
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5), "{found} {expected:?}");
    }
}

#[test]
fn codes_of_resized_crops() {
    let folder = tempfile::tempdir().expect("a folder");
    let what = Export {
        kind: GraphKind::Encoder,
        taps: vec![],
        timestep: None,
        bytes: false,
        label: false,
        unpooled: false,
    };
    let model = export(folder.path(), "encoder", &encoder(), what);
    let job = "features encoder.onnx --data folder --data-root DATA --split test --resized-crop -o out";
    let told = done(folder.path(), &format!("{job} --views 3 --seed 5 --dry-run"));
    assert!(told.starts_with("images    10 of folder/test, 3 views each, resized crops\n"), "{told}");
    done(folder.path(), &format!("{job} --views 3 --seed 5"));
    let file = FeatureFile::open(folder.path().join("out.h5")).expect("a feature file");
    assert_eq!((&file.attributes()["resized_crop"], file.views()), (&json!(true), 3));

    let split = datasets::open("folder", Some(data())).expect("images").test;
    let mut network = OnnxNetwork::open(&model, 1).expect("a session");
    let mut crop = Augmenter::new(Augmentation::ResizedCrop, [1, 12, 12]).expect("grey");
    let mut altered = 0;
    for row in 0..TEST {
        for view in 0..3 {
            let mut levels = vec![0; 144];
            split.read(row, &mut levels).expect("an image");
            let before = levels.clone();
            let key = ImageKey::new("folder/test", row as u64, &levels);
            crop.apply(&mut levels, &mut key.stream(5, Purpose::Augment, view as u64));
            altered += usize::from(levels != before);
            let image = levels.iter().map(|&level| f32::from(level) / 255.0).collect();
            let inputs = [("image", Tensor::f32(&[1, 1, 12, 12], image))];
            let expected = network.run(&inputs).expect("a code").remove(0).1;
            let found = file.read(&FeatureKey::new(0, "z"), view, row..row + 1).expect("features");
            let error = relative_error(found.as_slice().expect("a row"), expected.as_f32().expect("f32"));
            assert!(error < 1e-5, "{row} {view}: {error:e}");
        }
    }
    assert!((10..30).contains(&altered), "{altered} of 30");

    let line = job.replace("-o out", "-o plain");
    refuses(
        folder.path(),
        [
            (
                2,
                line.replace("--resized-crop", "--views 2"),
                "--views 2: this graph sees images without noise…",
            ),
            (2, format!("{line} --flip"), "--resized-crop excludes --flip; leave one out…"),
            (2, format!("{line} --crop"), "--resized-crop excludes --crop; leave one out…"),
        ],
    );
    done(folder.path(), &line.replace("--resized-crop", "--views 2 --flip"));
}

#[test]
fn what_such_graphs_do_not_have_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let what = Export {
        kind: GraphKind::Encoder,
        taps: vec![],
        timestep: None,
        bytes: false,
        label: false,
        unpooled: false,
    };
    export(folder.path(), "encoder", &encoder(), what);
    export(folder.path(), "dit", &dit(), Export::features(&["layer-0"]));
    export(folder.path(), "vae", &latent_encoder([16, 8]), latent());
    let job = "features dit.onnx --data folder --data-root DATA --timesteps 0 -o out";
    let images = "features encoder.onnx --data folder --data-root DATA -o out";
    refuses(
        folder.path(),
        [
            (2, format!("{images} --timesteps 1"), "--timesteps: this graph has none…"),
            (
                2,
                "features encoder.onnx -o out".to_string(),
                "--data is needed: the graph does not say what its network was trained on…",
            ),
            (
                1,
                "sample encoder.onnx -o out".to_string(),
                "…is a graph of kind 'encoder', and 'sample' wants 'sampler'…",
            ),
            (2, job.to_string(), "…give the graph that makes them with --latents FILE…"),
            (
                2,
                format!("{job} --latents vae.onnx"),
                "…it makes latents of 4x8x4, and the graph takes 4x4x4…",
            ),
            (
                2,
                format!("{images} --latents vae.onnx"),
                "…--latents is for graphs that take latents; this one takes images…",
            ),
            (
                1,
                format!("{job} --latents encoder.onnx"),
                "…is a graph of kind 'encoder', and 'features --latents' wants 'latent'…",
            ),
        ],
    );
}

/// A tiny DiT on latents of 4x4.
pub(crate) fn dit() -> ModelConfig {
    let config = DitConfig {
        hidden_size: 16,
        num_heads: 2,
        depth: 1,
        num_classes: 3,
        null_label: true,
        ..DitConfig::new(DitSize::S, 2, 4)
    };
    let process = Some(ProcessConfig::Ddpm(DdpmConfig::published(Timesteps::Index)));
    ModelConfig { process, ..ModelConfig::of(Architecture::DiT(config)) }
}

/// A tiny latent encoder that halves once.
pub(crate) fn latent_encoder(image_size: [usize; 2]) -> ModelConfig {
    let config = VaeEncoderConfig {
        image_size,
        in_channels: 1,
        block_out_channels: vec![32, 32],
        layers_per_block: 1,
        ..VaeEncoderConfig::sd_vae_ft_mse(8, 8)
    };
    ModelConfig::of(Architecture::VaeEncoder(config))
}

pub(crate) fn latent() -> Export {
    Export {
        kind: GraphKind::Latent,
        taps: vec![],
        timestep: None,
        bytes: false,
        label: false,
        unpooled: false,
    }
}

#[test]
fn features_of_latents() {
    let folder = tempfile::tempdir().expect("a folder");
    let dit = export(folder.path(), "dit", &dit(), Export::features(&["layer-0"]));
    let vae = export(folder.path(), "vae", &latent_encoder([8, 8]), latent());
    // The images are resized to the encoder's.
    let job = "features dit.onnx --latents vae.onnx --data folder --data-root DATA --split test";
    done(folder.path(), &format!("{job} --timesteps 0,81 --views 2 --seed 5 -o out"));
    let file = FeatureFile::open(folder.path().join("out.h5")).expect("a feature file");
    let keys: Vec<String> = file.keys().iter().map(FeatureKey::to_string).collect();
    assert_eq!(keys, ["t0/layer-0", "t81/layer-0"]);
    assert_eq!(file.attributes()["latents"].as_str().map(str::len), Some(64));

    // By hand: the posterior's noise is of the view, the process's of the view and the timestep.
    let image = image::open(data().join("test/dark/00.png")).expect("an image");
    let small = datasets::open("folder", Some(data())).expect("images").test.fit([1, 8, 8]).expect("resized");
    let mut levels = vec![0; 64];
    small.read(0, &mut levels).expect("an image");
    assert_eq!((image.width(), levels.len()), (12, 64));
    let image = Tensor::f32(&[1, 1, 8, 8], levels.iter().map(|&level| f32::from(level) / 255.0).collect());
    let key = ImageKey::new("folder/test", 0, &levels);
    let noise = |variant: u64| {
        let mut values = vec![0.0; 64];
        key.stream(5, Purpose::Noise, variant).fill_normal(&mut values);
        Tensor::f32(&[1, 4, 4, 4], values)
    };
    let mut vae = OnnxNetwork::open(&vae, 1).expect("a session");
    let mut dit = OnnxNetwork::open(&dit, 1).expect("a session");
    for (view, timestep) in [(0, 0), (1, 81)] {
        let posterior = noise(view << 32 | u64::from(u32::MAX));
        let latent =
            vae.run(&[("image", image.clone()), ("noise", posterior)]).expect("a latent").remove(0).1;
        let inputs = [
            ("latent", latent),
            ("noise", noise(view << 32 | timestep)),
            ("timestep", Tensor::i64(&[1], vec![timestep as i64])),
        ];
        let expected = dit.run(&inputs).expect("a feature").remove(0).1;
        let key = FeatureKey::new(timestep as i64, "layer-0");
        let found = file.read(&key, view as usize, 0..1).expect("features");
        let pairs = found.iter().zip(expected.as_f32().expect("f32"));
        assert!(pairs.clone().all(|(a, b)| (a - b).abs() < 1e-4), "{view} {timestep}: {found} {expected:?}");
    }
}
