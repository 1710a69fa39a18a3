//! Checkpoints that others wrote: looked into, trained on from, and refused where they would run something.

use std::collections::BTreeMap;

use ddae_checkpoint::Checkpoint;
use ddae_tests::fixtures;

use crate::formats::tensors;
use crate::place::{Place, read};
use crate::tiny::{TRAINING, ddpm, write_images};

/// Puts a fixture into a place.
fn bring(place: &Place, name: &str) {
    place.write(name, read(&fixtures().join(name)));
}

/// The tiny run with the network of the published checkpoint.
fn config() -> String {
    ddpm()
        .replace("image_shape: [1, 8, 8]", "image_shape: [3, 16, 16]")
        .replace("n_channels: 64", "n_channels: 32")
        .replace("ch_mults: [1, 1]", "ch_mults: [1]")
        .replace("is_attn: [False, True]", "is_attn: [False]")
}

#[test]
fn a_published_checkpoint_is_inspected() {
    let place = Place::new();
    bring(&place, "ddae_checkpoint.pth");
    let said = place.done("ddae-export inspect ddae_checkpoint.pth");
    let first = "PyTorch, checkpoint of the published DDAE code, EMA weights under 'EMA.ema_model.nn_model.', weights in \
                 training under 'MODEL.module.nn_model.', ";
    assert!(said.starts_with(first), "{said}");
    let line = |name: &str| said.lines().find(|line| line.trim_start().starts_with(name)).unwrap_or_default();
    let weight = line("EMA.ema_model.nn_model.image_proj.weight");
    assert!(weight.ends_with(" f32  [32, 3, 3, 3]"), "{weight}");
    assert!(line("EMA.step ").ends_with(" i64  []") && line("EMA.initted ").ends_with(" bool []"), "{said}");
    assert_eq!(line("opt.param_groups.0.lr"), "  opt.param_groups.0.lr = 0.0001");

    let report = place.run("ddae-export inspect ddae_checkpoint.pth --json").json();
    assert_eq!((&report["type"], &report["format"]), (&"checkpoint".into(), &"PyTorch".into()));
    assert_eq!(report["weight_sets"], serde_json::json!(["ema", "model"]));
    assert_eq!(report["tensors"].as_array().map(Vec::len), Some(422));
}

#[test]
fn files_of_either_format_and_precision_are_inspected() {
    let place = Place::new();
    for (name, format) in
        [("bare_half_state_dict.pt", "PyTorch"), ("legacy_state_dict.pt", "PyTorch (before 1.6)")]
    {
        bring(&place, name);
        let said = place.done(&format!("ddae-export inspect {name}"));
        assert!(said.starts_with(&format!("{format}, plain state dict, ")), "{said}");
        let line = said.lines().find(|line| line.starts_with("final.bias")).unwrap_or_default();
        assert!(line.ends_with(" f16  [3]"), "{said}");
    }
}

#[test]
fn a_run_starts_with_published_weights() {
    let place = Place::new();
    write_images(&place);
    bring(&place, "ddae_checkpoint.pth");
    place.write("published.yaml", config());
    let start = format!("ddae-train diffusion --config published.yaml --epochs 1 {TRAINING}");
    place.done(&format!("{start} --init ddae_checkpoint.pth"));
    let log = place.text("run/log.txt");
    assert!(
        log.contains("with the weights of ddae_checkpoint.pth: 'EMA.ema_model.nn_model' (moving average)"),
        "{log}"
    );

    let published = Checkpoint::open(&place.path("ddae_checkpoint.pth")).expect("the fixture");
    let run = tensors(&place.read("run/checkpoints/epoch_0000.safetensors"));
    let mut compared = BTreeMap::new();
    for (name, (_, bytes)) in &run {
        let Some((set @ ("ema" | "model"), parameter)) = name.split_once('.') else { continue };
        let theirs = published.read(&format!("EMA.ema_model.nn_model.{parameter}")).expect("the average");
        let theirs: Vec<u8> =
            theirs.as_f32().expect("f32").iter().flat_map(|value| value.to_le_bytes()).collect();
        assert!(*bytes == theirs, "{name}");
        *compared.entry(set).or_insert(0) += 1;
    }
    assert_eq!(compared, BTreeMap::from([("ema", 70), ("model", 70)]));
}

#[test]
fn a_file_that_would_run_something_is_refused() {
    let place = Place::new();
    write_images(&place);
    bring(&place, "malicious.pth");
    place.write("published.yaml", config());
    let before = place.snapshot();
    for command in [
        "ddae-export inspect malicious.pth".to_string(),
        "ddae-export malicious.pth --config published.yaml -o out.onnx".to_string(),
        format!("ddae-train diffusion --config published.yaml --init malicious.pth {TRAINING}"),
    ] {
        let ended = place.run(&command);
        let error = ended.error(&[1]);
        let wanted = "malicious.pth: holds no tensors, but refers to the Python object 'posix.system', which is not known \
                      here: nothing was run";
        assert!(error.contains(wanted), "{command}: {error}");
        assert!(place.snapshot() == before, "{command} leaves {:?}", place.names(""));
    }
}
