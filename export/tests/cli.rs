//! The program: what it writes, what it says, how it ends.

use std::path::Path;
use std::process::Command;

use ddae_checkpoint::{TrainingState, WeightSet};
use ddae_model::config::{Config, EdmConfig, Override, ProcessConfig};
use ddae_model::reference;
use ddae_model::tensor::Tensor;
use ddae_model::weights::Weights;
use ddae_tests::golden::assert_help;
use ddae_tests::programs::{Ended, run};
use ddae_tests::refusals::{self, snapshot};
use serde_json::Value;
use tempfile::TempDir;

fn config(overrides: &[&str]) -> Config {
    let small = [
        "network.image_shape=[1, 8, 8]",
        "network.n_channels=32",
        "network.ch_mults=[1, 2]",
        "network.is_attn=[False, True]",
    ];
    let overrides: Vec<Override> =
        small.iter().chain(overrides).map(|text| text.parse().expect("key=value")).collect();
    Config::parse(include_str!("../../configs/demo.yaml"), "demo.yaml", &overrides).expect("a config")
}

fn weights(config: &Config, seed: u64) -> Weights {
    Weights::initial(&config.network.network_graph(true).expect("a graph"), seed)
}

fn named<'a>(prefix: &'a str, weights: &'a Weights) -> impl Iterator<Item = (String, Tensor)> + 'a {
    weights.iter().map(move |(name, tensor)| (format!("{prefix}{name}"), tensor.clone()))
}

/// A training checkpoint after `epoch` epochs, whose record is right but for `record_error`.
fn write_checkpoint(path: &Path, config: &Config, epoch: u64, record_error: f32) {
    let (model, ema) = (weights(config, 1), weights(config, 2));
    let graph = config.network.network_graph(false).expect("a graph");
    let [c, h, w] = config.image_shape();
    let x = Tensor::f32(&[2, c, h, w], (0..2 * c * h * w).map(|i| (i % 7) as f32 / 7.0 - 0.5).collect());
    let t = Tensor::f32(&[2], vec![0.01, 0.5]);
    let y = reference::run::<f32>(&graph, &ema, &[("x", x.clone()), ("t", t.clone())]).expect("outputs");
    let y = y.into_iter().next().expect("y").1;
    let values = y.as_f32().expect("f32").iter().map(|v| v + record_error).collect();
    let y = Tensor::f32(y.shape(), values);
    let mut tensors: Vec<(String, Tensor)> = named(WeightSet::Model.prefix(), &model).collect();
    tensors.extend(named(WeightSet::Ema.prefix(), &ema));
    tensors.extend([("record.x", x), ("record.t", t), ("record.y", y)].map(|(n, t)| (n.to_string(), t)));
    let state = TrainingState { epoch, step: 10 * epoch, ..TrainingState::default() };
    ddae_checkpoint::write(path, &config.clone().into(), &state, &tensors).expect("a checkpoint");
}

/// A folder with a run `demo` of two checkpoints, a file of weights `plain.safetensors`, `config.yaml`, and the same
/// network in an EDM, `edm.yaml`.
fn workplace(overrides: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let config = config(overrides);
    let checkpoints = folder.path().join("demo/checkpoints");
    std::fs::create_dir_all(&checkpoints).expect("folders");
    write_checkpoint(&checkpoints.join("epoch_0001.safetensors"), &config, 1, 0.0);
    write_checkpoint(&checkpoints.join("latest.safetensors"), &config, 2, 0.0);
    std::fs::write(folder.path().join("config.yaml"), config.to_yaml()).expect("a file");
    let edm = Config { process: ProcessConfig::Edm(EdmConfig::published()), ..config.clone() };
    std::fs::write(folder.path().join("edm.yaml"), edm.to_yaml()).expect("a file");
    let plain = weights(&config, 3);
    let plain_path = folder.path().join("plain.safetensors");
    ddae_checkpoint::write_tensors(&plain_path, Default::default(), plain.iter()).expect("a file of weights");
    folder
}

fn command(folder: &TempDir, arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ddae-export"));
    command.args(arguments.split_whitespace()).current_dir(folder.path());
    command
}

fn export(folder: &TempDir, arguments: &str) -> Ended {
    run(&mut command(folder, arguments))
}

fn succeed(folder: &TempDir, arguments: &str) -> String {
    export(folder, arguments).success().to_string()
}

fn json(folder: &TempDir, arguments: &str) -> Value {
    export(folder, arguments).json()
}

/// Command lines that fail ([`refusals::refused`]).
#[track_caller]
fn refuses<L: AsRef<str>, W: AsRef<str>>(folder: &TempDir, cases: impl IntoIterator<Item = (i32, L, W)>) {
    refusals::refused(folder.path(), |line| export(folder, line), cases);
}

#[test]
fn a_features_file_describes_itself() {
    let folder = workplace(&[]);
    let out = succeed(&folder, "demo --graph features --taps out_2,out_3 --timestep 11");
    let name = "demo-features-out_2-out_3-t11.onnx";
    assert!(out.contains(&format!("wrote {name}")), "{out}");
    let next = format!("next: ddae-infer features {name} -o demo-features-out_2-out_3-t11\n");
    assert!(out.ends_with(&next), "{out}");
    let report = json(&folder, &format!("inspect {name} --json"));
    let inputs: Vec<&str> = report["inputs"]
        .as_array()
        .expect("inputs")
        .iter()
        .filter_map(|input| input["name"].as_str())
        .collect();
    assert_eq!(inputs, ["image", "noise"]);
    let metadata = &report["metadata"];
    for (key, value) in [
        ("ddae.kind", "features"),
        ("ddae.weights", "ema"),
        ("ddae.checkpoint", "latest.safetensors"),
        ("ddae.epoch", "2"),
        ("ddae.step", "20"),
        ("ddae.timestep", "11"),
        ("ddae.pixels", "[0,1]"),
        ("ddae.taps", r#"[{"name":"out_2","shape":[64]},{"name":"out_3","shape":[32]}]"#),
    ] {
        assert_eq!(metadata[key], value, "{key}");
    }
    let verification: Value =
        serde_json::from_str(metadata["ddae.verification"].as_str().expect("an entry")).expect("JSON");
    for key in ["reference", "record"] {
        let difference = verification[key].as_f64().expect("a number");
        assert!((0.0..1e-5).contains(&difference), "{key}: {difference}");
    }
    assert_eq!(metadata["ddae.digest"].as_str().map(str::len), Some(64));
    assert_eq!(metadata["ddae.config"].as_str().expect("YAML"), config(&[]).to_yaml());
    let words = succeed(&folder, &format!("inspect {name}"));
    assert!(
        words.contains("timestep  11, fixed") && words.contains("from      latest.safetensors"),
        "{words}"
    );
}

#[test]
fn the_same_command_gives_the_same_bytes() {
    let folder = workplace(&[]);
    let bytes = |name: &str| {
        succeed(&folder, &format!("demo --graph sampler -o {name}"));
        std::fs::read(folder.path().join(name)).expect("the file")
    };
    assert!(bytes("a.onnx") == bytes("b.onnx"));
}

#[test]
fn every_kind_of_graph_and_source_works() {
    let folder = workplace(&["network.augment_dim=9", "network.use_res_for_updown=True"]);
    for (arguments, file) in [
        ("demo", "demo-network.onnx"),
        ("demo/checkpoints/epoch_0001.safetensors --taps all", "demo-network-4-layers.onnx"),
        ("demo --label --taps out_1", "demo-network-out_1-label.onnx"),
        ("demo --weights model", "demo-model-network.onnx"),
        ("plain.safetensors", "plain-network.onnx"),
        ("plain.safetensors --config config.yaml --graph features", "plain-features-out_2.onnx"),
        ("demo -g features -t out_1 --input u8", "demo-features-out_1-u8.onnx"),
        ("demo -g sampler --quiet", "demo-sampler.onnx"),
        ("demo -g loss --input u8", "demo-loss-u8.onnx"),
        ("plain.safetensors -c config.yaml -g loss --dtype f16", "plain-loss-f16.onnx"),
        ("plain.safetensors -c edm.yaml -g loss", "plain-loss.onnx"),
    ] {
        let out = succeed(&folder, arguments);
        assert!(out.contains(&format!("wrote {file}")), "{arguments}: {out}");
        assert!(folder.path().join(file).is_file(), "{arguments}");
    }
    let report = json(&folder, "demo --label --json --force -o label.onnx");
    assert_eq!((&report["kind"], &report["weights"]), (&Value::from("network"), &Value::from("ema")));
    // The record was made without a label: the weights are checked by way of the reference interpreter.
    let loss = json(&folder, "demo -g loss --json");
    for report in [&report, &loss] {
        assert!(report["verification"]["record"].as_f64().expect("a number") < 1e-5);
    }
    assert!(json(&folder, "plain.safetensors --json --force")["verification"]["record"].is_null());
}

#[test]
fn an_unreadable_checkpoint_of_a_run_is_passed_over_aloud() {
    let folder = workplace(&[]);
    std::fs::write(folder.path().join("demo/checkpoints/latest.safetensors"), "half a file").expect("a file");
    let ended = export(&folder, "demo -g sampler --json");
    let warning = "warning: passed over: demo/checkpoints/latest.safetensors: is not";
    assert!(ended.stderr.starts_with(warning), "{ended}");
    assert_eq!(ended.json()["epoch"], 1);
    let ended = export(&folder, "demo -g sampler --force --quiet");
    assert_eq!((ended.code, &*ended.stderr), (Some(0), ""));
}

#[test]
fn a_damaged_checkpoint_is_refused_by_its_tensors_name_and_passed_over_in_a_run() {
    let folder = workplace(&[]);
    let path = folder.path().join("demo/checkpoints/latest.safetensors");
    let mut bytes = std::fs::read(&path).expect("a checkpoint");
    *bytes.last_mut().expect("bytes") ^= 1;
    std::fs::write(&path, bytes).expect("damaged");
    let damaged = "demo/checkpoints/latest.safetensors: is damaged: 'record.y' has the checksum ";
    let ended = export(&folder, "demo/checkpoints/latest.safetensors -g sampler");
    let error = ended.error(&[1]);
    assert!(error.contains(damaged) && error.ends_with("take another checkpoint"), "{error}");
    let ended = export(&folder, "demo -g sampler --json");
    assert!(ended.stderr.starts_with(&format!("warning: passed over: {damaged}")), "{ended}");
    assert_eq!(ended.json()["epoch"], 1);
}

#[test]
fn the_exit_code_is_there_when_nobody_reads_the_error() {
    let folder = workplace(&[]);
    let mut command = command(&folder, "missing.safetensors");
    let mut child = command.stderr(std::process::Stdio::piped()).spawn().expect("the program starts");
    drop(child.stderr.take());
    assert_eq!(child.wait().expect("a child").code(), Some(1));
}

#[test]
fn layers_are_listed_and_a_dry_run_writes_nothing() {
    let folder = workplace(&[]);
    let before = snapshot(folder.path());
    assert_eq!(
        succeed(&folder, "demo --list-taps"),
        "out_1    64x4x4\nout_2    64x4x4\nout_3    32x8x8\nout_4    32x8x8\n"
    );
    assert_eq!(json(&folder, "--config config.yaml --list-taps --json")["taps"][3]["name"], "out_4");
    let out = succeed(&folder, "demo -g features --dry-run");
    assert!(out.contains("would write demo-features-out_2.onnx"), "{out}");
    assert!(snapshot(folder.path()) == before);
}

#[test]
fn a_checkpoint_is_inspected() {
    let folder = workplace(&[]);
    let out = succeed(&folder, "inspect demo/checkpoints/latest.safetensors");
    assert!(out.starts_with("training checkpoint, epoch 2, step 20"), "{out}");
    assert!(out.contains("ema.final.weight") && out.contains("f32  [1, 32, 3, 3]"), "{out}");
    let report = json(&folder, "inspect plain.safetensors --json");
    assert_eq!(
        (&report["type"], &report["format"]),
        (&Value::from("checkpoint"), &Value::from("safetensors"))
    );
    assert_eq!((&report["layout"], &report["state"]), (&Value::from("plain state dict"), &Value::Null));
}

#[test]
fn options_that_make_no_sense_end_with_2() {
    let folder = workplace(&[]);
    let cases = [
        (
            "demo -g features --taps out_9",
            "no layer 'out_9' in this network; it has out_1, out_2, out_3, out_4",
        ),
        ("demo -g features --taps out_1,out_1", "--taps names out_1 twice"),
        ("demo -g features --timestep 1001", "timestep: 1001 is outside 1..=1000"),
        ("demo -g features --timestep -3", "timestep: -3 is outside 1..=1000"),
        ("demo --timestep 3", "--timestep is for --graph features or classifier, not network"),
        (
            "demo -g sampler --input u8",
            "--input u8 is for --graph features, encoder, latent, classifier or loss, not sampler",
        ),
        ("demo -g sampler --taps out_1", "--taps is for --graph network or features, not sampler"),
        ("demo --label", "this network has no augmentation label"),
        ("plain.safetensors --weights model", "plain file of weights and holds only one set"),
        ("demo -o demo", "-o demo: this is a folder"),
        ("demo --set network.n_channels=33", "n_channels is 33"),
        ("demo --set network.nonsense=1", "nonsense"),
        ("--config config.yaml", "give the checkpoint"),
        (
            "demo -g network --taps out_9",
            "no layer 'out_9' in this network; it has out_1, out_2, out_3, out_4",
        ),
        ("", ""),
        ("demo --tolerance 0", ""),
        ("demo --graph encoder", ""),
        ("demo --set nonsense", ""),
        ("inspect plain.safetensors --nodes", "--nodes is for ONNX files; plain.safetensors is a checkpoint"),
    ];
    refuses(&folder, cases.map(|(line, wanted)| (2, line, format!("…{wanted}…"))));
}

#[test]
fn files_that_cannot_be_used_end_with_1() {
    let folder = workplace(&[]);
    let at = |name: &str| folder.path().join(name);
    let whole = std::fs::read(at("plain.safetensors")).expect("the file");
    std::fs::write(at("cut.safetensors"), &whole[..whole.len() / 2]).expect("a file");
    std::fs::write(at("empty.safetensors"), "").expect("a file");
    std::fs::write(at("foreign.safetensors"), "<html>404 Not Found</html>").expect("a file");
    std::fs::write(at("foreign.onnx"), "<html>404 Not Found</html>").expect("a file");
    std::fs::write(at("empty.onnx"), "").expect("a file");
    std::fs::write(at("binary.yaml"), [0xff, 0xfe, 0]).expect("a file");
    std::fs::create_dir(at("void")).expect("a folder");
    std::fs::create_dir(at("apart")).expect("a folder");
    std::fs::copy(at("plain.safetensors"), at("apart/w.safetensors")).expect("a copy");
    std::fs::remove_file(at("config.yaml")).expect("the file");
    std::fs::write(at("c.yaml"), config(&[]).to_yaml()).expect("a file");
    succeed(&folder, "demo -o there.onnx");
    std::fs::write(at("cut.onnx"), &std::fs::read(at("there.onnx")).expect("the file")[..5000])
        .expect("a file");
    let cases = [
        ("missing.safetensors", "missing.safetensors: there is no such file or folder"),
        ("cut.safetensors --config c.yaml", "cut.safetensors: is not a complete safetensors file"),
        ("empty.safetensors --config c.yaml", "empty.safetensors: is empty"),
        ("foreign.safetensors --config c.yaml", "foreign.safetensors: is a web page"),
        ("there.onnx", "there.onnx: is not a complete safetensors file"),
        ("void", "void: this folder holds no checkpoint"),
        ("plain.safetensors --config missing.yaml", "missing.yaml: there is no such file or folder"),
        ("demo -o no/such/file.onnx", "no/such: this folder does not exist; make it first"),
        ("demo -o there.onnx", "there.onnx: it exists already; replace it with --force"),
        (
            "plain.safetensors --config c.yaml --set network.n_channels=64",
            "parameter 'time_emb.lin1.weight' is [128, 32] in the file and [256, 64] in the network",
        ),
        ("plain.safetensors --config c.yaml --set network.n_blocks=2", "of the network is not in the file"),
        ("inspect missing.onnx", "cannot read missing.onnx: there is no such file or folder"),
        ("inspect empty.onnx", "empty.onnx is empty"),
        (
            "inspect foreign.onnx",
            "foreign.onnx is a web page, which a download may have given in place of the file; an ONNX file is",
        ),
        ("inspect cut.onnx", "cut.onnx is not an ONNX file, or it was cut off"),
        ("inspect cut.safetensors", "cut.safetensors: is not a complete safetensors file"),
        ("inspect void", "void"),
    ];
    refuses(&folder, cases.map(|(line, wanted)| (1, line, format!("…{wanted}…"))));
    refuses(
        &folder,
        [
            (2, "plain.safetensors --config binary.yaml", "…binary.yaml…"),
            (2, "apart/w.safetensors", "…give --image-size HxW, or --config FILE…"),
        ],
    );
}

#[test]
fn a_file_that_differs_is_not_kept() {
    let folder = workplace(&[]);
    write_checkpoint(&folder.path().join("wrong.safetensors"), &config(&[]), 3, 0.1);
    let reference = "…verification failed: output 'y' differs from the reference interpreter…";
    let record = "…verification failed: output 'y' differs from the outputs recorded in training…";
    refuses(
        &folder,
        [
            (1, "demo --tolerance 1e-12", reference),
            (1, "wrong.safetensors -g network", record),
            (1, "wrong.safetensors -g features", record),
        ],
    );
    // The record is the moving average's, not that of the weights in training.
    succeed(&folder, "wrong.safetensors --weights model");
}

#[test]
fn help_texts() {
    let lines = [("short", "-h"), ("long", "--help"), ("inspect", "inspect --help")];
    assert_help(env!("CARGO_BIN_EXE_ddae-export"), "tests/golden", &lines);
}

/// A file system that is full, by way of a limit on the size of files.
#[test]
fn a_full_disk_leaves_nothing() {
    let folder = workplace(&[]);
    let limited = |line: &str| {
        let script = format!("trap '' XFSZ; ulimit -f 64; exec {} {line}", env!("CARGO_BIN_EXE_ddae-export"));
        run(Command::new("bash").args(["-c", &script]).current_dir(folder.path()))
    };
    let wanted = "…cannot write demo-network.onnx: the file would be too large…";
    refusals::refused(folder.path(), limited, [(1, "demo", wanted)]);
}

#[test]
fn without_the_runtime_the_message_says_what_to_do() {
    let folder = workplace(&[]);
    let without =
        |line: &str| run(command(&folder, line).env("ORT_DYLIB_PATH", "/nowhere/libonnxruntime.so"));
    let wanted = "…/nowhere/libonnxruntime.so…cargo xtask setup…";
    refusals::refused(folder.path(), without, [(1, "demo", wanted)]);
}

/// Attention over two million tokens, of which every two have a score.
#[test]
fn a_graph_that_no_machine_can_verify() {
    let folder = workplace(&[]);
    let line = "demo --set network.image_shape=[1,4096,4096] -o out.onnx";
    let wanted = "verifying the graph on 2 images of 1x4096x4096 needs at least … TiB of memory, and … are free: export it \
                  for smaller images (--image-size, image_shape), or on another machine (where that is wrong, set \
                  DDAE_MEMORY)";
    refuses(&folder, [(1, line, wanted)]);
    let shown = succeed(&folder, &format!("{line} --dry-run"));
    assert!(shown.contains("\nnote: verifying the graph on 2 images of 1x4096x4096 needs"), "{shown}");
}
