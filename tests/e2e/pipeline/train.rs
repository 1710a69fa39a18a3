//! The run folder, going on, and the same run twice.

use serde_json::Value;

use crate::formats::{decode_png, tensors};
use crate::place::Place;
use crate::tiny::{STEPS, TRAINING, trained, with};

/// The tensors of two checkpoints must be the same to the bit.
#[track_caller]
pub fn assert_same_weights(place: &Place, ours: &str, theirs: &str) {
    let (ours, theirs) = (tensors(&place.read(ours)), tensors(&place.read(theirs)));
    assert!(ours.keys().eq(theirs.keys()), "{:?} and {:?}", ours.keys(), theirs.keys());
    for (name, tensor) in &ours {
        assert!(tensor == &theirs[name], "'{name}' differs");
    }
}

#[test]
fn a_run_folder_holds_what_it_promises() {
    let place = trained();
    let names = place.names("run");
    let (events, names): (Vec<String>, Vec<String>) =
        names.into_iter().partition(|name| name.starts_with("tensorboard/events.out.tfevents."));
    assert_eq!(events.len(), 1);
    assert_eq!(
        names,
        [
            "checkpoints/",
            "checkpoints/epoch_0000.safetensors",
            "checkpoints/epoch_0002.safetensors",
            "checkpoints/latest.safetensors",
            "config.yaml",
            "log.txt",
            "samples/",
            "samples/epoch_0002.png",
            "stats.jsonl",
            "tensorboard/",
        ]
    );
    let lines: Vec<Value> = place
        .text("run/stats.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).expect("a JSON object"))
        .collect();
    assert_eq!(lines.last().expect("a line")["step"], 2 * STEPS);
    let (validations, lines): (Vec<&Value>, Vec<&Value>) =
        lines.iter().partition(|line| line.get("validation_loss").is_some());
    assert_eq!(validations.iter().map(|line| &line["epoch"]).collect::<Vec<_>>(), [0, 1, 2]);
    let losses = lines.iter().map(|line| &line["loss"]);
    for loss in losses.chain(validations.iter().map(|line| &line["validation_loss"])) {
        let value = loss.as_f64().expect("a loss");
        assert!(value > 0.0 && value < 10.0, "{loss}");
    }
    // Two rows of two samples and two rows of two real images.
    let sheet = decode_png(&place.read("run/samples/epoch_0002.png"));
    assert!(sheet.width() >= 2 * 8 && sheet.height() >= 4 * 8, "{}x{}", sheet.width(), sheet.height());
    assert!(place.text("run/config.yaml").contains("n_channels: 64"));
    assert!(place.text("run/log.txt").contains("epoch 2/2: loss "), "{}", place.text("run/log.txt"));
}

#[test]
fn training_moves_the_weights() {
    let place = trained();
    let of = |name: &str| tensors(&place.read(&format!("run/checkpoints/{name}.safetensors")));
    let (before, after) = (of("epoch_0000"), of("epoch_0002"));
    let parameters: Vec<&String> = before.keys().filter(|name| name.starts_with("model.")).collect();
    assert!(parameters.len() > 50, "{}", parameters.len());
    let still: Vec<&&String> = parameters.iter().filter(|name| before[**name] == after[**name]).collect();
    assert!(still.is_empty(), "trained without moving: {still:?}");
}

#[test]
fn a_prolonged_run_ends_like_a_longer_one() {
    let place = with(&["data", "ddpm.yaml", "run"]);
    place.done(&format!("ddae-train diffusion --run run --resume --epochs 3 {TRAINING}"));
    place.done(&format!("ddae-train diffusion --config ddpm.yaml --run straight --epochs 3 {TRAINING}"));
    let last = "checkpoints/epoch_0003.safetensors";
    assert_same_weights(&place, &format!("run/{last}"), &format!("straight/{last}"));
}

#[test]
fn a_run_goes_on_from_a_plain_file_of_weights() {
    let place = with(&["data", "ddpm.yaml", "run"]);
    let start = "run/checkpoints/latest.safetensors";
    let line =
        format!("ddae-train diffusion --config ddpm.yaml --run tuned --init {start} --epochs 1 {TRAINING}");
    place.done(&line);
    let given = tensors(&place.read(start));
    let first = tensors(&place.read("tuned/checkpoints/epoch_0000.safetensors"));
    for (name, tensor) in first.iter().filter(|(name, _)| name.starts_with("model.")) {
        let average = name.replacen("model.", "ema.", 1);
        assert!(tensor == &given[&average], "'{name}' is not the given '{average}'");
    }
}
