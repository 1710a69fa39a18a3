//! Checkpoints in several files.

use std::collections::HashMap;
use std::path::Path;

use ddae_checkpoint::{Checkpoint, Format, WeightSet, write_tensors};
use ddae_model::tensor::Tensor;
use serde_json::json;

use crate::graph_of;

fn part(folder: &Path, name: &str, tensors: &[(&str, Tensor)]) {
    let tensors = tensors.iter().map(|(name, tensor)| (*name, tensor));
    write_tensors(&folder.join(name), HashMap::new(), tensors).expect("a file");
}

fn index(folder: &Path, map: serde_json::Value) -> std::path::PathBuf {
    let path = folder.join("model.safetensors.index.json");
    std::fs::write(&path, json!({ "metadata": { "total_size": 40 }, "weight_map": map }).to_string())
        .expect("a file");
    path
}

fn error(path: &Path) -> String {
    Checkpoint::open(path).err().expect("it is refused").to_string()
}

#[test]
fn the_parts_are_read_as_one() {
    let place = tempfile::tempdir().expect("a folder");
    let folder = place.path();
    part(folder, "a.safetensors", &[("layer.weight", Tensor::f32(&[2, 2], vec![1.0, 2.0, 3.0, 4.0]))]);
    let unlisted = Tensor::f32(&[1], vec![0.0]);
    part(
        folder,
        "b.safetensors",
        &[("layer.bias", Tensor::f32(&[2], vec![5.0, 6.0])), ("unlisted", unlisted)],
    );
    let path = index(folder, json!({ "layer.weight": "a.safetensors", "layer.bias": "b.safetensors" }));
    let file = Checkpoint::open(&path).expect("a checkpoint");
    assert_eq!(file.format(), Format::Sharded);
    let names: Vec<&str> = file.tensors().iter().map(|tensor| tensor.name()).collect();
    assert_eq!(names, ["layer.bias", "layer.weight"]);

    let graph = graph_of(&[("layer.weight", &[2, 2]), ("layer.bias", &[2])]);
    let weights = file.weights(WeightSet::Ema, &graph).expect("weights");
    assert_eq!(weights.get("layer.bias"), Some(&Tensor::f32(&[2], vec![5.0, 6.0])));
    assert_eq!(weights.get("layer.weight"), Some(&Tensor::f32(&[2, 2], vec![1.0, 2.0, 3.0, 4.0])));

    let digest = file.digest();
    part(folder, "a.safetensors", &[("layer.weight", Tensor::f32(&[2, 2], vec![1.0, 2.0, 3.0, 9.0]))]);
    assert_ne!(Checkpoint::open(&path).expect("a checkpoint").digest(), digest, "every part counts");
}

#[test]
fn parts_lie_beside_their_index() {
    let place = tempfile::tempdir().expect("a folder");
    let folder = place.path().join("model");
    std::fs::create_dir(&folder).expect("a folder");
    part(place.path(), "secret.safetensors", &[("w", Tensor::f32(&[1], vec![1.0]))]);
    for outside in ["../secret.safetensors", "/etc/passwd", "sub/part.safetensors", "..", ""] {
        let message = error(&index(&folder, json!({ "w": outside })));
        let wanted = format!("index.json: names the file '{outside}': its parts must lie beside it");
        assert!(message.ends_with(&wanted), "{message}");
    }
}

#[test]
fn an_index_that_does_not_fit_its_parts() {
    let place = tempfile::tempdir().expect("a folder");
    let folder = place.path();
    part(folder, "a.safetensors", &[("w", Tensor::f32(&[1], vec![1.0]))]);
    let message = error(&index(folder, json!({ "v": "a.safetensors" })));
    assert!(message.ends_with("says that 'v' is in a.safetensors, which does not hold it"), "{message}");
    let message = error(&index(folder, json!({ "w": "b.safetensors" })));
    assert!(message.contains("b.safetensors: No such file"), "{message}");
    std::fs::write(folder.join("c.safetensors"), "cut").expect("a file");
    let message = error(&index(folder, json!({ "w": "c.safetensors" })));
    assert!(message.contains("c.safetensors: is not a complete safetensors file"), "{message}");
    let path = folder.join("x.index.json");
    for text in ["", "[]", "{\"weight_map\": 1}", &"[".repeat(200_000)] {
        std::fs::write(&path, text).expect("a file");
        let message = error(&path);
        assert!(message.contains("x.index.json: is no index of a sharded checkpoint"), "{message}");
    }
}
