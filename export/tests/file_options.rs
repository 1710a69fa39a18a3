//! The program's options for other precisions than float32 and for data files: what it writes and what it says.

use std::path::Path;
use std::process::{Command, Output};

use ddae_model::config::{Config, Override};
use ddae_model::weights::Weights;
use serde_json::Value;
use tempfile::TempDir;

/// A folder with weights of a small network for grey 28 x 28 images, and its configuration.
fn workplace() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let small = ["network.n_channels=32", "network.ch_mults=[1, 2]", "network.is_attn=[False, True]"];
    let overrides: Vec<Override> = small.iter().map(|text| text.parse().expect("key=value")).collect();
    let config = Config::parse(include_str!("../../configs/demo.yaml"), "demo.yaml", &overrides);
    let config = config.expect("a configuration");
    let weights = Weights::initial(&config.network.network_graph(false).expect("a graph"), 3);
    let path = folder.path().join("w.safetensors");
    ddae_checkpoint::write_tensors(&path, Default::default(), weights.iter()).expect("a file of weights");
    std::fs::write(folder.path().join("config.yaml"), config.to_yaml()).expect("a file");
    folder
}

fn command(folder: &TempDir, arguments: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ddae-export"))
        .args(arguments.split_whitespace())
        .current_dir(folder.path())
        .env_remove("DDAE_DATA")
        .output()
        .expect("the program starts")
}

fn succeed(folder: &TempDir, arguments: &str) -> String {
    let output = command(folder, arguments);
    assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn fail(folder: &TempDir, arguments: &str, code: i32, message: &str) {
    let names = |path: &Path| {
        let mut names: Vec<_> = std::fs::read_dir(path)
            .expect("a folder")
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        names.sort();
        names
    };
    let before = names(folder.path());
    let output = command(folder, arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments}: {stderr}");
    assert!(stderr.contains(message), "{arguments}: {stderr}");
    assert_eq!(names(folder.path()), before, "{arguments}");
}

#[test]
fn files_for_gpus_say_so_and_are_checked() {
    let folder = workplace();
    let features =
        "w.safetensors --config config.yaml --graph features --taps out_2 --timestep 11 --target cuda";
    for (options, dtype) in [("", "f16"), ("--dtype f32", "f32")] {
        let said = succeed(&folder, &format!("{features} {options} -o {dtype}.onnx"));
        assert!(
            said.contains(&format!("for --device cuda alone, in {dtype}; checked by its twin on the CPU")),
            "{said}"
        );
        assert!(said.contains("verified: ONNX Runtime is "), "{said}");
        assert!(
            said.contains(&format!("ddae-infer features {dtype}.onnx -o {dtype} --device cuda")),
            "{said}"
        );
        let report = succeed(&folder, &format!("inspect {dtype}.onnx --json"));
        let report: Value = serde_json::from_str(&report).expect("JSON");
        assert_eq!(report["metadata"]["ddae.target"], "cuda");
        assert_eq!(report["metadata"].get("ddae.precision").and_then(Value::as_str), Some(dtype));
        let count = |operator: &str| report["operators"][operator].as_u64().unwrap_or(0);
        assert!(count("ai.ddae.GroupNormSilu") > 5 && count("com.microsoft.NhwcConv") > 10, "{report}");
        assert_eq!(count("InstanceNormalization") + count("Conv"), 0, "{report}");
        assert_eq!(
            (&report["opsets"]["ai.ddae"], &report["opsets"]["com.microsoft"]),
            (&1.into(), &1.into())
        );
    }
    for (options, message) in [
        ("--dtype bf16", "--target cuda takes --dtype f16 or f32, not bf16"),
        ("--quantize int8", "--target cuda takes --dtype f16 or f32, not int8"),
    ] {
        fail(&folder, &format!("{features} {options} -o no.onnx"), 2, message);
    }
    let planned = succeed(&folder, &format!("{features} --dry-run"));
    assert!(planned.contains("would write w-features-out_2-t11-cuda-f16.onnx"), "{planned}");
}

#[test]
fn every_precision_says_what_it_costs() {
    let folder = workplace();
    for (options, name, against) in [
        ("-g features --timestep 11", "w-features-out_2-t11.onnx", "the reference interpreter"),
        ("-g features --timestep 11 --dtype f16", "w-features-out_2-t11-f16.onnx", "float32"),
        ("-g features --dtype bf16", "w-features-out_2-bf16.onnx", "float32"),
        ("-g features --timestep 11 --quantize int8", "w-features-out_2-t11-int8.onnx", "float32"),
        ("--dtype f16 --taps out_3", "w-network-out_3-f16.onnx", "float32"),
        ("-g sampler --dtype bf16", "w-sampler-bf16.onnx", "float32"),
    ] {
        let out = succeed(&folder, &format!("w.safetensors {options}"));
        assert!(out.contains(&format!("wrote {name}")), "{out}");
        assert!(out.contains(&format!("errors against {against}, ")), "{out}");
        let inspected = succeed(&folder, &format!("inspect {name}"));
        let line = out.lines().find(|line| line.contains("relative ")).expect("an error");
        assert!(inspected.contains(line), "{inspected}");
    }
    let report = succeed(&folder, "inspect w-features-out_2-t11-int8.onnx --json");
    let report: Value = serde_json::from_str(&report).expect("JSON");
    let metadata = &report["metadata"];
    assert_eq!(metadata["ddae.precision"], "int8");
    let entry = |key: &str| -> Value {
        serde_json::from_str(metadata[key].as_str().expect("an entry")).expect("JSON")
    };
    let calibration = entry("ddae.calibration");
    assert_eq!(calibration["pictures"], "fashion-sample/train");
    assert_eq!(
        (&calibration["count"], &calibration["timesteps"]),
        (&Value::from(128), &serde_json::json!([11]))
    );
    let errors = entry("ddae.errors");
    assert_eq!(errors["inputs"], "fashion-sample/train");
    assert_eq!(errors["outputs"][0]["name"], "out_2");
    let relative = errors["outputs"][0]["relative"].as_f64().expect("a number");
    assert!((1e-4..0.1).contains(&relative), "{relative}");
    assert!(errors["outputs"][0]["cosine"].as_f64().expect("a number") > 0.9);
}

#[test]
fn calibration_can_be_chosen() {
    let folder = workplace();
    let export = |options: &str| -> Value {
        let out =
            succeed(&folder, &format!("w.safetensors -g features --quantize int8 --json --force {options}"));
        serde_json::from_str::<Value>(&out).expect("JSON")["calibration"].clone()
    };
    let chosen = export("--calibrate fashion-sample --calibration-images 9 --calibration-timesteps 3,500");
    assert_eq!((&chosen["count"], &chosen["timesteps"]), (&Value::from(9), &serde_json::json!([3, 500])));
    for rule in ["minmax", "percentile", "error"] {
        let chosen = export(&format!("--calibration-images 4 --calibration-range {rule}"));
        assert_eq!(chosen["range"], rule);
    }
    // Images of a folder.
    let class = folder.path().join("images/train/coats");
    std::fs::create_dir_all(&class).expect("folders");
    for i in 0..3u8 {
        let image = image_of(i);
        std::fs::write(class.join(format!("{i}.png")), image).expect("an image");
    }
    let chosen = export("--calibrate images");
    assert_eq!((&chosen["pictures"], &chosen["count"]), (&Value::from("images/train"), &Value::from(3)));
}

/// A grey 28 x 28 PNG of one level, uncompressed: enough for a reader.
fn image_of(level: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    let image = image::GrayImage::from_pixel(28, 28, image::Luma([level * 80]));
    image.write_to(&mut std::io::Cursor::new(&mut bytes), image::ImageFormat::Png).expect("an image");
    bytes
}

#[test]
fn options_that_would_do_nothing_are_refused() {
    let folder = workplace();
    for (options, message) in [
        ("--quantize int8", "--quantize int8 is for --graph features or encoder, not network"),
        ("-g features --calibrate fashion-sample", "--calibrate is for --quantize int8"),
        ("-g features --dtype f16 --calibration-images 3", "--calibration-images is for --quantize int8"),
        ("-g features --quantize int8 --dtype f16", "excludes"),
        (
            "-g features --quantize int8 --timestep 3 --calibration-timesteps 4",
            "this graph has the timestep 3 built in",
        ),
        ("-g features --quantize int8 --calibration-timesteps 0", "this process has 1 to 1000"),
        ("-g features --quantize int8 --calibration-images 0", "a whole number of at least 1 is wanted"),
    ] {
        fail(&folder, &format!("w.safetensors {options}"), 2, message);
    }
    let missing = "w.safetensors -g features --quantize int8 --calibrate nowhere";
    fail(&folder, missing, 1, "nowhere");
    let strict = "w.safetensors -g features --quantize int8 --tolerance 1e-6";
    fail(&folder, strict, 1, "differs from the same graph in float32");
}

#[test]
fn weights_can_lie_in_a_file_of_their_own() {
    let folder = workplace();
    let at = |name: &str| folder.path().join(name);
    let size = |name: &str| std::fs::metadata(at(name)).expect("a file").len();
    let out = succeed(&folder, "w.safetensors --external-data always -o x.onnx");
    assert!(out.contains("wrote x.onnx and x.onnx.data"), "{out}");
    assert!(size("x.onnx.data") > 10 * size("x.onnx"));
    fail(&folder, "w.safetensors -o x.onnx", 1, "x.onnx: it exists already");
    // Another file of that name takes its data along.
    succeed(&folder, "w.safetensors -o x.onnx --force");
    assert!(!at("x.onnx.data").exists());
    succeed(&folder, "w.safetensors -o x.onnx --force --external-data always --dtype bf16");
    assert!(at("x.onnx.data").exists());
    std::fs::remove_file(at("x.onnx")).expect("the file");
    fail(&folder, "w.safetensors -o x.onnx", 1, "x.onnx.data: it exists already");
}

/// Killed while it put file and data in their place: after it took the old file away, after it moved the new data, or after
/// the next one had removed those.
#[test]
fn what_a_killed_export_left_is_replaced() {
    let folder = workplace();
    let at = |name: &str| folder.path().join(name);
    let names = || {
        let entries = std::fs::read_dir(folder.path()).expect("a folder").flatten();
        let mut names: Vec<String> =
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.retain(|name| name.starts_with("x.onnx"));
        names.sort();
        names
    };
    let external = "w.safetensors --external-data always -o x.onnx";
    let staged = "x.onnx.0123456789abcdef.partial";
    for left in [&["x.onnx.data", "x.onnx.data.lock"][..], &["x.onnx.data.lock"]] {
        for again in [external, "w.safetensors -o x.onnx"] {
            std::fs::create_dir(at(staged)).expect("a folder");
            std::fs::write(at(staged).join("x.onnx"), "the new one").expect("a file");
            ["x.onnx.lock"].iter().chain(left).for_each(|name| std::fs::write(at(name), "").expect("a file"));
            let before = names();
            succeed(&folder, &format!("{again} --dry-run"));
            assert_eq!(names(), before);
            succeed(&folder, again);
            let made = if again == external { &["x.onnx", "x.onnx.data"][..] } else { &["x.onnx"] };
            assert_eq!(names(), made, "{left:?} {again}");
            fail(&folder, again, 1, "x.onnx: it exists already");
            made.iter().for_each(|name| std::fs::remove_file(at(name)).expect("removed"));
        }
    }
    // A lock that is left beside both is no reason to remove either.
    succeed(&folder, external);
    std::fs::write(at("x.onnx.data.lock"), "").expect("a lock");
    fail(&folder, external, 1, "x.onnx: it exists already");
    succeed(&folder, &format!("{external} --force"));
    assert_eq!(names(), ["x.onnx", "x.onnx.data"]);
}
