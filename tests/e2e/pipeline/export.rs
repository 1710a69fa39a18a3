//! What an exported file says of itself, and the check against what training recorded.

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::tiny::{CHANNELS, SIDE, STEPS, TAPS, trained, with};

/// What `ddae-export inspect --json` says of a file.
fn inspect(file: &str) -> Value {
    trained().run(&format!("ddae-export inspect {file} --json")).json()
}

/// `name type [shape]` of inputs or outputs.
fn signature(values: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().expect("text").to_string();
    let one = |value: &Value| {
        let shape: Vec<String> = value["shape"].as_array().expect("a shape").iter().map(text).collect();
        format!("{} {} [{}]", text(&value["name"]), text(&value["dtype"]), shape.join(", "))
    };
    values.as_array().expect("a list").iter().map(one).collect()
}

#[test]
fn files_describe_themselves() {
    let checkpoint = trained().read("run/checkpoints/epoch_0002.safetensors");
    let digest: String = Sha256::digest(checkpoint).iter().map(|byte| format!("{byte:02x}")).collect();
    for (kind, pixels, taps) in [
        ("features", "[0,1]", &TAPS[..]),
        ("sampler", "[-1,1]", &[]),
        ("network", "[-1,1]", &["out_2", "out_4"]),
    ] {
        let report = inspect(&format!("{kind}.onnx"));
        let entry = |key: &str| {
            let value = report["metadata"][format!("ddae.{key}")].as_str();
            value.unwrap_or_else(|| panic!("{kind} has no ddae.{key}: {report}"))
        };
        let json = |key: &str| -> Value { serde_json::from_str(entry(key)).expect("JSON") };
        assert_eq!(entry("kind"), kind);
        assert_eq!((entry("digest"), entry("weights")), (&*digest, "ema"));
        assert_eq!((entry("epoch"), entry("step")), ("2", &*(2 * STEPS).to_string()));
        assert_eq!(entry("pixels"), pixels, "{kind}");
        let (listed, empty) = (json("taps"), vec![]);
        let listed =
            listed.as_array().unwrap_or(&empty).iter().map(|tap| tap["name"].as_str().unwrap_or_default());
        assert!(listed.eq(taps.iter().copied()), "{kind}: {}", entry("taps"));
        let config = entry("config");
        assert!(config.contains("model_type: DDPM") && config.contains("n_T: 100"), "{config}");
        // What ONNX Runtime computes was compared with the reference interpreter, and the weights with training.
        let verification = json("verification");
        for against in ["reference", "record"] {
            let difference = verification[against].as_f64().expect("a difference");
            assert!((0.0..1e-5).contains(&difference), "{kind}: {difference} from the {against}");
        }
    }
}

#[test]
fn inputs_and_outputs_have_the_public_names() {
    let pixels = format!("f32 [batch, 1, {SIDE}, {SIDE}]");
    let pooled: Vec<String> = TAPS.iter().map(|tap| format!("{tap} f32 [batch, {CHANNELS}]")).collect();
    let map = |tap: &str, side: usize| format!("{tap} f32 [batch, {CHANNELS}, {side}, {side}]");
    let check = |file: &str, inputs: &[&str], outputs: &[String]| {
        let report = inspect(file);
        assert_eq!(signature(&report["inputs"]), inputs, "{file}");
        assert_eq!(signature(&report["outputs"]), outputs, "{file}");
    };
    let (image, noise) = (format!("image {pixels}"), format!("noise {pixels}"));
    check("features.onnx", &[&image, &noise, "timestep i64 [batch]"], &pooled);
    let x = format!("x {pixels}");
    let outputs = [format!("y {pixels}"), map("out_2", SIDE / 2), map("out_4", SIDE)];
    check("network.onnx", &[&x, "t f32 [batch]"], &outputs);
    let carry = format!("carry {pixels}");
    let step = [&*x, &noise, "t f32 [1]", "preconditioning f32 [2]", "coefficients f32 [5]", &carry];
    check("sampler.onnx", &step, &[format!("next {pixels}"), format!("next_carry {pixels}")]);
}

#[test]
fn layers_are_listed() {
    let listed = trained().done("ddae-export run --list-taps");
    let listed: Vec<Vec<&str>> = listed.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(listed, [["out_1", "64x4x4"], ["out_2", "64x4x4"], ["out_3", "64x8x8"], ["out_4", "64x8x8"]]);
}

/// Weights that do not give what training recorded are not the ones that were trained.
#[test]
fn weights_that_do_not_give_the_recorded_outputs_are_not_exported() {
    let place = with(&["run"]);
    let file = "run/checkpoints/epoch_0002.safetensors";
    let mut bytes = place.read(file);
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().expect("8 bytes")) as usize;
    let mut json: Value = serde_json::from_slice(&bytes[8..header]).expect("a JSON header");
    // With its checksums it would be known as damaged.
    let metadata = json["__metadata__"].as_object_mut().expect("metadata");
    assert!(metadata.remove("ddae.checksums").is_some());
    let mut text = json.to_string().into_bytes();
    text.resize(header - 8, b' ');
    bytes[8..header].copy_from_slice(&text);
    let offsets = &json["record.y"]["data_offsets"];
    let first = header + offsets[0].as_u64().expect("an offset") as usize;
    bytes[first..first + 4].copy_from_slice(&5f32.to_le_bytes());
    place.write("altered.safetensors", bytes);
    let before = place.names("");
    let ended = place.run("ddae-export altered.safetensors --graph sampler -o altered.onnx");
    let error = ended.error(&[1]);
    assert!(error.contains("verification failed: output 'y' differs from "), "{error}");
    assert!(error.contains("no file was written"), "{error}");
    assert_eq!(place.names(""), before);
}

#[test]
fn the_same_export_twice_gives_the_same_file() {
    let place = with(&["run"]);
    place.done("ddae-export run --graph features --taps all -o again.onnx");
    assert!(place.read("again.onnx") == trained().read("features.onnx"));
}
