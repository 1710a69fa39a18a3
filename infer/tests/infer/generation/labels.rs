//! What numbers are called, and what is said of files that were kept.

use std::path::Path;

use ddae_infer::fid::{Statistics, archive};
use ndarray::{Array1, Array2};
use serde_json::{Value, json};

use super::line;
use crate::scene::{done, infer, refuses};

/// Statistics of `dim` features, three of which vary.
fn keep(root: &Path, name: &str, dim: usize, count: Option<u64>, network: Option<&str>) {
    let covariance = Array2::from_shape_fn((dim, dim), |(i, j)| f64::from(i == j && i < 3));
    let network = network.map(str::to_string);
    let statistics = Statistics { mean: Array1::zeros(dim), covariance, count, network };
    archive::write(&root.join(format!("{name}.npz")), &statistics).expect("written");
}

fn warnings(found: &Value) -> String {
    found["warnings"].to_string()
}

/// What is not of Inception is not called so, from whatever file it comes.
#[test]
fn kept_features_of_other_networks_are_not_called_inceptions() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    let dinov2 = "aa/last_hidden_state/224x224/imagenet/clean-fid";
    for (name, network) in [("real", dinov2), ("fake", dinov2), ("layer", "aa/t11/out_6")] {
        keep(root, name, 4, Some(50_000), Some(network));
    }
    for (files, layer) in
        [("real.npz fake.npz", "last_hidden_state/224x224/imagenet"), ("layer.npz layer.npz", "t11/out_6")]
    {
        let found = infer(root, &format!("fid {files} --json")).json();
        assert_eq!((found.get("fid"), &found["name"], &found["layer"]), (None, &json!("FD"), &json!(layer)));
        assert_eq!(found["weights"]["published"], false);
    }
    let text = done(root, "fid real.npz fake.npz");
    assert!(text.starts_with("FD        0.0000\n"), "{text}");
    assert!(
        text.contains(
            "\nfeatures  4, of the layer last_hidden_state/224x224/imagenet; images resized like clean-fid\n"
        ),
        "{text}"
    );
    refuses(
        root,
        [
            (
                2,
                "fid real.npz fake.npz --layer t0/pool",
                "--layer is for .h5 files and for encoders, and there are none",
            ),
            (
                2,
                "fid real.npz fake.npz --resize adm",
                "--resize is for images, and there are only statistics and features",
            ),
            (2, "fid real.npz fake.npz --colour grey", "--colour is for images, and …"),
            (2, "fid real.npz fake.npz --orient", "--orient is for images, and …"),
            (2, "fid real.npz fake.npz --skip-broken", "--skip-broken is for images, and …"),
        ],
    );
}

#[test]
fn numbers_of_images_have_their_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    for (name, count) in [("fifty", 50_000), ("fewer", 49_999), ("ten", 10_000)] {
        keep(root, name, 3, Some(count), Some("aa/clean-fid"));
    }
    for (name, called) in [("fifty", "FID-50k   0.0000\n"), ("fewer", "FID       "), ("ten", "FID-10k   ")] {
        let text = done(root, &format!("fid fifty.npz {name}.npz"));
        assert!(text.starts_with(called), "{text}");
        // The convention that was recorded.
        assert!(
            text.contains("\nfeatures  3, of Inception's last layer; images resized like clean-fid\n"),
            "{text}"
        );
    }
    assert!(done(root, "fid fewer.npz fifty.npz --metrics fid-50k").starts_with("FID-50k   0.0000\n"));
}

/// The weights as they are published, and not a precision or an edited graph of them.
#[test]
fn only_whole_weights_are_called_published() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    let edited = format!("6726825d00/{}", "ab".repeat(32));
    for (network, is_published, warning) in [
        ("6726825d00", true, ""),
        ("6726825d00/clean-fid", true, ""),
        ("6726825d00/f16", false, "Inception was computed in f16"),
        (&*edited, false, "the graph of Inception was changed after it was exported"),
        ("6726825e00", false, "the weights (6726825e00) are not the file"),
    ] {
        keep(root, "set", 3, Some(50_000), Some(network));
        let found = infer(root, "fid set.npz set.npz --json").json();
        assert_eq!(found["weights"]["published"], is_published, "{network}");
        let warnings = warnings(&found);
        assert!(if warning.is_empty() { warnings == "[]" } else { warnings.contains(warning) }, "{warnings}");
        let text = done(root, "fid set.npz set.npz");
        assert_eq!(text.contains(", as published\n"), is_published, "{text}");
    }
}

/// pytorch-fid's own files do not say what they are of.
#[test]
fn what_does_not_say_its_network_is_warned_of() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    keep(root, "untold", 2048, None, None);
    keep(root, "told", 2048, Some(50_000), Some("6726825d00"));
    keep(root, "clean", 2048, Some(50_000), Some("6726825d00/clean-fid"));
    keep(root, "small", 3, None, None);
    let warning = "untold.npz does not say which network or resizing made it";
    for files in ["untold.npz told.npz", "told.npz untold.npz", "untold.npz untold.npz"] {
        let found = infer(root, &format!("fid {files} --json")).json();
        assert!(found["name"].as_str().is_some_and(|name| name.starts_with("FID")), "{found}");
        assert!(warnings(&found).contains(warning), "{found}");
    }
    let text = done(root, "fid untold.npz told.npz");
    assert!(text.contains("\nweights   SHA-256 6726825d00, as published (of told.npz)\n"), "{text}");
    let text = done(root, "fid small.npz small.npz");
    assert!(text.starts_with("FD        0.0000\n"), "of another number of features: {text}");
    refuses(
        root,
        [
            (
                "fid untold.npz clean.npz",
                1,
                "the real statistics do not say which network or resizing made them",
            ),
            (
                "fid clean.npz untold.npz",
                1,
                "the fake statistics do not say which network or resizing made them",
            ),
            // Before images are seen.
            (
                "fid untold.npz FAKE --inception INCEPTION --like torch-fidelity",
                1,
                "resized like torch-fidelity",
            ),
            (
                "fid told.npz FAKE --inception INCEPTION",
                1,
                "were made by the network 6726825d00 and the fake ones by",
            ),
        ]
        .map(|(text, code, wanted)| (code, line(text), format!("…{wanted}…"))),
    );
}
