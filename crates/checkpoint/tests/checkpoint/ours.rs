//! Our own checkpoints: what is written is read back, and what is none is refused by name.

use std::collections::HashMap;
use std::path::Path;

use ddae_checkpoint::{Checkpoint, TrainingState, WeightSet, write_tensors};
use ddae_model::config::{Config, RunConfig};
use ddae_model::graph::Graph;
use ddae_model::networks::Architecture;
use ddae_model::tensor::Tensor;
use ddae_model::weights::Weights;
use safetensors::tensor::{Dtype, TensorView};

fn config() -> Config {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/demo.yaml");
    Config::read(&path).unwrap()
}

fn network() -> (Config, Graph, Weights) {
    let config = config();
    let graph = config.network.network_graph(false).unwrap();
    let weights = Weights::initial(&graph, 1);
    (config, graph, weights)
}

fn named(prefix: &str, weights: &Weights) -> Vec<(String, Tensor)> {
    weights.iter().map(|(name, tensor)| (format!("{prefix}{name}"), tensor.clone())).collect()
}

#[test]
fn a_training_checkpoint_is_read_back() {
    let (config, graph, weights) = network();
    let other = Weights::initial(&graph, 2);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("epoch_0003.safetensors");
    let mut tensors = named("model.", &weights);
    tensors.extend(named("ema.", &other));
    tensors.push(("record.x".to_string(), Tensor::f32(&[1, 2], vec![1.0, -1.0])));
    tensors.push(("record.y".to_string(), Tensor::f32(&[1, 2], vec![0.5, 0.25])));
    let state = TrainingState { epoch: 3, step: 282, seed: 7, loss_scale: 65536.0, ..Default::default() };
    ddae_checkpoint::write(&path, &config.clone().into(), &state, &tensors).unwrap();

    let read = Checkpoint::open(&path).unwrap();
    assert_eq!(read.config().and_then(RunConfig::diffusion), Some(&config));
    assert_eq!(read.state(), Some(&state));
    assert_eq!(read.weights(WeightSet::Model, &graph).unwrap(), weights);
    assert_eq!(read.weights(WeightSet::Ema, &graph).unwrap(), other);
    let record = read.record().unwrap().unwrap();
    assert_eq!(record.inputs, [("x".to_string(), Tensor::f32(&[1, 2], vec![1.0, -1.0]))]);
    assert_eq!(record.y.as_f32(), Some(&[0.5, 0.25][..]));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
    let ordinary = folder.path().join("ordinary");
    std::fs::write(&ordinary, "").unwrap();
    let permissions = |path| std::fs::metadata(path).unwrap().permissions();
    assert_eq!(permissions(&path), permissions(&ordinary), "others may read it as they may read other files");
}

#[test]
fn a_plain_file_of_published_names_is_read() {
    let (_, graph, weights) = network();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plain.safetensors");
    write_tensors(&path, HashMap::new(), weights.iter()).unwrap();
    let read = Checkpoint::open(&path).unwrap();
    assert!(read.config().is_none() && read.state().is_none() && read.record().unwrap().is_none());
    assert_eq!(read.weights(WeightSet::Ema, &graph).unwrap(), weights);
}

#[test]
fn another_architecture_is_told_by_the_first_difference() {
    let (mut config, _, weights) = network();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plain.safetensors");
    write_tensors(&path, HashMap::new(), weights.iter()).unwrap();
    let read = Checkpoint::open(&path).unwrap();

    let Architecture::UNet(network) = &mut config.network else { panic!("a UNet") };
    let narrow = network.n_channels;
    network.n_channels = 2 * narrow;
    let wider = config.network.network_graph(false).unwrap();
    let message = read.weights(WeightSet::Ema, &wider).unwrap_err().to_string();
    let shapes = format!("is [{}, {narrow}] in the file and [{}, {}]", 4 * narrow, 8 * narrow, 2 * narrow);
    assert!(message.contains(&format!("parameter 'time_emb.lin1.weight' {shapes}")), "{message}");

    let Architecture::UNet(network) = &mut config.network else { panic!("a UNet") };
    network.n_channels = narrow;
    network.n_blocks += 1;
    let deeper = config.network.network_graph(false).unwrap();
    let message = read.weights(WeightSet::Ema, &deeper).unwrap_err().to_string();
    assert!(message.contains("parameter 'down.1.") && message.contains("plain.safetensors"), "{message}");
}

#[test]
fn element_types_that_are_not_read_are_named() {
    let (_, graph, weights) = network();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plain.safetensors");
    let shape = weights.get("final.bias").unwrap().shape().to_vec();
    let count = shape.iter().product();
    let with_bias = |bias: Tensor| {
        let mut changed = weights.clone();
        changed.insert("final.bias", bias);
        write_tensors(&path, HashMap::new(), changed.iter()).unwrap();
        Checkpoint::open(&path).unwrap().weights(WeightSet::Ema, &graph)
    };
    let read = with_bias(Tensor::f64(&shape, vec![0.1; count])).unwrap();
    assert_eq!(read.get("final.bias").unwrap().as_f32(), Some(&vec![0.1; count][..]));
    let message = with_bias(Tensor::i64(&shape, vec![1; count])).unwrap_err().to_string();
    assert!(message.contains("parameter 'final.bias' is i64; it must be f32"), "{message}");

    let bytes = vec![0; 4 * count];
    let view = TensorView::new(Dtype::U32, shape, &bytes).unwrap();
    safetensors::serialize_to_file([("final.bias", view)], None, &path).unwrap();
    let file = Checkpoint::open(&path).unwrap();
    assert_eq!(file.tensors()[0].element().to_string(), "u32");
    let message = file.read("final.bias").unwrap_err().to_string();
    assert!(message.ends_with("holds 'final.bias' as u32, a type that is not read"), "{message}");
    let message = file.read("norm.bias").unwrap_err().to_string();
    assert!(message.ends_with("holds no tensor 'norm.bias' among its 1"), "{message}");
}

#[test]
fn foreign_files_are_refused_in_one_line() {
    let (config, _, weights) = network();
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole.safetensors");
    ddae_checkpoint::write(
        &whole,
        &config.clone().into(),
        &TrainingState::default(),
        &named("ema.", &weights),
    )
    .unwrap();
    let bytes = std::fs::read(&whole).unwrap();
    let cases: [(&str, Vec<u8>, &str); 6] = [
        ("empty.safetensors", vec![], "is empty"),
        ("short.safetensors", bytes[..bytes.len() / 2].to_vec(), "is not a complete safetensors file"),
        ("header.safetensors", bytes[..5].to_vec(), "is not a complete safetensors file"),
        (
            "foreign.safetensors",
            b"PK\x03\x04 this is a zip file, say".to_vec(),
            "is not a complete PyTorch file",
        ),
        (
            "page.safetensors",
            b"<html>404 Not Found</html>".to_vec(),
            "is a web page, which a download may have given in place of the file",
        ),
        (
            "noise.safetensors",
            b"none of the kinds that are known".to_vec(),
            "is not a complete safetensors file, nor a PyTorch file",
        ),
    ];
    for (name, content, part) in cases {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        let message = Checkpoint::open(&path).err().unwrap().to_string();
        assert!(message.contains(name) && message.contains(part) && !message.contains('\n'), "{message}");
    }
    let message = Checkpoint::open(folder.path()).err().unwrap().to_string();
    assert!(message.contains("is a folder"), "{message}");
    let newer = folder.path().join("newer.safetensors");
    let format = HashMap::from([("ddae.format".to_string(), "ddae-checkpoint-9".to_string())]);
    write_tensors(&newer, format, weights.iter()).unwrap();
    let message = Checkpoint::open(&newer).err().unwrap().to_string();
    assert!(message.contains("ddae-checkpoint-9") && message.contains("use a newer ddae"), "{message}");
}

#[test]
fn a_full_disk_leaves_no_file() {
    let (config, _, weights) = network();
    // A folder that does not exist refuses like a full disk does: at the first write.
    let path = Path::new("/nowhere/epoch_0001.safetensors");
    let message = ddae_checkpoint::write(
        path,
        &config.clone().into(),
        &TrainingState::default(),
        &named("ema.", &weights),
    )
    .unwrap_err();
    assert!(message.to_string().contains("/nowhere/epoch_0001.safetensors: No such file"), "{message}");
    assert!(!path.exists());
}
