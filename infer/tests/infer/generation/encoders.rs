//! Other encoders in Inception's place.

use std::path::Path;

use ddae_export::lower::lower;
use ddae_infer::fid::{Accumulator, frechet_distance};
use ddae_model::config::{ChannelStatistics, ModelConfig};
use ddae_model::graph::{Conv, Graph, Path as LayerPath, Shape};
use ddae_model::networks::{Architecture, EncoderArch, EncoderConfig};
use ddae_model::tensor::DType;
use ddae_onnx::metadata::GraphKind;
use ddae_onnx::write::LARGEST_MESSAGE;
use ddae_store::{FeatureFile, FeatureKey};
use ddae_tests::cases::rule_weights;
use serde_json::json;

use super::{PLACE, close, line, number};
use crate::scene::{Export, done, export_graph, infer, refuses};

/// A small encoder of another program, for 16x16: `encoder.onnx` gives features, twice as much, and both as tokens.
fn other_encoder(folder: &Path) {
    let mut g = Graph::new();
    let image = g.input("pixel_values", DType::F32, Shape::batch(&[3, 16, 16])).expect("an input");
    let map = g.conv2d(&LayerPath::root().at("stem"), image, Conv::same(8, 3)).expect("a map");
    let pooled = g.pool(map).expect("a mean");
    g.output("pooler_output", pooled);
    let other = g.affine(pooled, 2.0, 1.0).expect("another");
    g.output("twice", other);
    let both = g.concat(&[pooled, other], 1).expect("both");
    let tokens = g.reshape(both, Shape::batch(&[2, 8])).expect("tokens");
    g.output("tokens", tokens);
    let weights = rule_weights(&g);
    let path = folder.join("encoder.onnx");
    let model = lower(&g, &weights).expect("an ONNX graph");
    model.write(&path, &[], LARGEST_MESSAGE).expect("a file");
}

#[test]
fn encoders_of_other_programs() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    other_encoder(root);
    let found = |options: &str| {
        infer(root, &line(&format!("fid REAL FAKE --encoder encoder.onnx {options} --json"))).json()
    };
    let first = found("--layer pooler_output --metrics fid,prc");
    assert_eq!(
        (&first["features"], &first["like"], &first["layer"]),
        (&json!(8), &json!("clean-fid"), &json!("pooler_output"))
    );
    assert_eq!((first.get("fid"), &first["name"]), (None, &json!("FD")), "not called FID");
    assert_eq!(first["tokens"], json!(null));
    let twice = found("--layer twice");
    close("of features twice as far", &[number(&twice, "/fd")], &[4.0 * number(&first, "/fd")]);
    let tokens = found("--layer tokens");
    close("of the first token", &[number(&tokens, "/fd")], &[number(&first, "/fd")]);
    assert_eq!((&tokens["tokens"], &tokens["features"]), (&json!(2), &json!(8)));
    let text = done(root, &line("fid REAL FAKE --encoder encoder.onnx --layer tokens"));
    assert!(
        text.contains("\nfeatures  8, of the output tokens of encoder.onnx, the first of 2 tokens; images "),
        "{text}"
    );
    // By hand: values of ImageNet's mean and deviation against values from 0 to 1.
    let unit = number(&found("--layer pooler_output --encoder-values unit"), "/fd");
    let signed = number(&found("--layer pooler_output --encoder-values signed"), "/fd");
    assert!((signed / unit - 4.0).abs() < 1e-3, "{signed} {unit}");
    assert!(number(&first, "/fd") > 10.0 * unit);
    let text = done(
        root,
        &line("fid REAL FAKE --encoder encoder.onnx --layer twice --encoder-size 16x16 --save-real real.npz"),
    );
    assert!(text.starts_with("FD        "), "{text}");
    assert!(
        text.contains(
            "\nfeatures  8, of the output twice of encoder.onnx; images resized to 16x16 like clean-fid\n"
        ),
        "{text}"
    );
    assert!(
        text.contains(
            "next: ddae-infer fid real.npz IMAGES --encoder encoder.onnx --layer twice --encoder-size 16x16\n"
        ),
        "{text}"
    );
    refuses(
        root,
        [
            (
                "fid REAL FAKE --encoder encoder.onnx",
                2,
                "gives pooler_output, twice, tokens: choose one with --layer NAME",
            ),
            (
                "fid REAL FAKE --encoder encoder.onnx --layer x",
                2,
                "gives pooler_output, twice, tokens, and not x",
            ),
            (
                "fid REAL FAKE --encoder encoder.onnx --layer twice --encoder-size 8x8",
                1,
                "its images are of 16x16",
            ),
            (
                "fid REAL FAKE --encoder encoder.onnx --layer twice --metrics is",
                2,
                "Inception scores are of Inception",
            ),
            (
                "fid REAL FAKE --encoder encoder.onnx --layer twice --resize stretch",
                2,
                "--resize: images are resized for the encoder",
            ),
            (
                "fid REAL FAKE --encoder INCEPTION",
                1,
                "is a graph of kind 'features', and 'fid' wants 'encoder'",
            ),
            (
                "fid real.npz FAKE --encoder encoder.onnx --layer pooler_output",
                1,
                "distances are between features of the same weights",
            ),
        ]
        .map(|(text, code, wanted)| (code, line(text), format!("…{wanted}…"))),
    );
}

/// An encoder of ours, from images and from the features that were extracted with it.
#[test]
fn encoders_of_ours() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    let config = EncoderConfig {
        arch: EncoderArch::ResNet18,
        feature_dim: 8,
        cifar_small_image: true,
        image_shape: [3, 32, 32],
    };
    let mut model = ModelConfig::of(Architecture::SodaEncoder(config));
    model.normalisation = ChannelStatistics::published("cifar10");
    let graph = model.architecture.network_graph(false).expect("a network");
    let what = Export {
        kind: GraphKind::Encoder,
        taps: vec![],
        timestep: None,
        bytes: false,
        label: false,
        unpooled: false,
    };
    export_graph(root, "encoder", &model.to_yaml(), &graph, what);
    let found = infer(root, &line("fid REAL FAKE --encoder encoder.onnx --save-real real.npz --json")).json();
    assert_eq!((&found["layer"], &found["name"], &found["like"]), (&json!("z"), &json!("FD"), &json!(null)));
    let statistics = ["real", "fake"].map(|set| {
        done(root, &format!("features encoder.onnx --data {} -o {set}", PLACE.path().join(set).display()));
        let file = FeatureFile::open(root.join(format!("{set}.h5"))).expect("a file");
        let mut moments = Accumulator::new(8);
        moments
            .add(file.read(&FeatureKey::new(0, "z"), 0, 0..file.len()).expect("rows").view())
            .expect("finite");
        moments.finish().expect("statistics")
    });
    let [real, fake] = &statistics;
    let expected = frechet_distance(real, fake).expect("a distance").total();
    close("of an encoder of ours", &[number(&found, "/fd")], &[expected]);
    let kept = infer(root, "fid real.npz fake.h5 --layer t0/z --json").json();
    close("of what was kept", &[number(&kept, "/fd")], &[expected]);
    refuses(
        root,
        [
            (
                "fid REAL FAKE --encoder encoder.onnx --like clean-fid",
                2,
                "--like is for encoders of other programs",
            ),
            ("fid REAL FAKE --encoder encoder.onnx --layer y", 2, "--layer y: the encoder gives z"),
            ("fid real.npz fake.h5", 1, "it has t0/z and not t0/pool"),
        ]
        .map(|(text, code, wanted)| (code, line(text), format!("…{wanted}…"))),
    );
}
