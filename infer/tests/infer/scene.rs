//! Small networks as ONNX files, a small data set, and the binary.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use ddae_checkpoint::write_tensors;
use ddae_export::export::{ExportPlan, FileOptions};
use ddae_export::request::GraphRequest;
use ddae_export::source::{WeightOptions, WeightSource};
use ddae_export::staging::Staging;
use ddae_model::config::{Config, ProcessConfig};
use ddae_model::graph::Graph;
use ddae_model::networks::UNetConfig;
use ddae_model::tensor::Tensor;
use ddae_onnx::metadata::GraphKind;
use ddae_store::{FeatureFile, FeatureKey};
use ddae_tests::programs::{Ended, run};
use ddae_tests::refusals;
use ddae_tests::rule_weight;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A configuration with this network and process, and the rest of the demo's.
pub fn config(network: &Value, diffusion: &Value) -> Config {
    let text = include_str!("../../../configs/demo.yaml");
    let mut config = Config::parse(text, "demo.yaml", &[]).expect("the demo's configuration");
    let network: UNetConfig = serde_json::from_value(network.clone()).expect("a network");
    config.network = network.into();
    config.process = match diffusion.get("n_T") {
        Some(_) => ProcessConfig::Ddpm(serde_json::from_value(diffusion.clone()).expect("a DDPM")),
        None => ProcessConfig::Edm(serde_json::from_value(diffusion.clone()).expect("an EDM")),
    };
    config
}

/// What is exported, besides the network.
#[derive(Clone)]
pub struct Export {
    pub kind: GraphKind,
    pub taps: Vec<String>,
    pub timestep: Option<i64>,
    pub bytes: bool,
    pub label: bool,
    pub unpooled: bool,
}

impl Export {
    pub fn sampler() -> Export {
        Export {
            kind: GraphKind::Sampler,
            taps: vec![],
            timestep: None,
            bytes: false,
            label: false,
            unpooled: false,
        }
    }

    pub fn features(taps: &[&str]) -> Export {
        let taps = taps.iter().map(|tap| tap.to_string()).collect();
        Export {
            kind: GraphKind::Features,
            taps,
            timestep: None,
            bytes: false,
            label: false,
            unpooled: false,
        }
    }
}

/// Writes a network with the rule's weights as `folder/name.onnx`.
pub fn export(folder: &Path, name: &str, config: &Config, export: Export) -> PathBuf {
    let graph = config.network.network_graph(false).expect("a network");
    export_graph(folder, name, &config.to_yaml(), &graph, export)
}

/// The same of any network: its configuration and its graph.
pub fn export_graph(folder: &Path, name: &str, config: &str, graph: &Graph, export: Export) -> PathBuf {
    let weights: Vec<(String, Tensor)> = graph
        .parameters()
        .map(|(_, node)| {
            let shape = node.shape.resolve(1);
            (node.name.clone(), Tensor::f32(&shape, rule_weight(&node.name, &shape)))
        })
        .collect();
    let (checkpoint, yaml) =
        (folder.join(format!("{name}.safetensors")), folder.join(format!("{name}.yaml")));
    let named = weights.iter().map(|(name, tensor)| (name.as_str(), tensor));
    write_tensors(&checkpoint, Default::default(), named).expect("a file of weights");
    std::fs::write(&yaml, config).expect("a configuration");
    let options = WeightOptions { config: Some(yaml.clone()), ..WeightOptions::default() };
    let source = WeightSource::open(&checkpoint, &options).expect("a source");
    let Export { kind, taps, timestep, bytes, label, unpooled } = export;
    let request =
        GraphRequest { kind, taps, timestep, input_u8: bytes, label, unpooled, ..GraphRequest::default() };
    let path = folder.join(format!("{name}.onnx"));
    let plan = ExportPlan::new(source, request, FileOptions::default()).expect("a plan");
    plan.export(Staging::beside(&path).expect("a folder"), |_| {}).expect("an export");
    std::fs::remove_file(checkpoint).expect("removed");
    std::fs::remove_file(yaml).expect("removed");
    path
}

/// The ONNX files that most tests use.
pub struct Models {
    _folder: TempDir,
    /// DDPM, layers out_1 and out_2 at any timestep up to 100.
    pub features: PathBuf,
    /// The same at timestep 11, from bytes.
    pub fixed: PathBuf,
    /// DDPM's sampler.
    pub ddpm: PathBuf,
    /// EDM's sampler.
    pub edm: PathBuf,
}

/// A network small enough for hundreds of calls, for grey images of 12x12.
pub fn tiny(diffusion: Value) -> Config {
    let network = json!({
        "image_shape": [1, 12, 12], "n_channels": 32, "ch_mults": [1, 1], "is_attn": [false, true], "dropout": 0.0,
        "n_blocks": 1, "use_res_for_updown": false,
    });
    let mut config = config(&network, &diffusion);
    config.dataset = "folder".to_string();
    config.linear = None;
    config
}

pub fn ddpm_process() -> Value {
    json!({ "n_T": 100, "betas": [1e-4, 0.02] })
}

pub fn edm_process() -> Value {
    json!({
        "sigma_data": 0.5, "p_mean": -1.2, "p_std": 1.2, "sigma_min": 0.002, "sigma_max": 80, "rho": 7,
        "S_min": 0.01, "S_max": 1, "S_noise": 1.007, "augment_prob": 0,
    })
}

pub static MODELS: LazyLock<Models> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder");
    let (ddpm, edm) = (tiny(ddpm_process()), tiny(edm_process()));
    let fixed = Export { timestep: Some(11), bytes: true, ..Export::features(&["out_2"]) };
    let write = |name: &str, config: &Config, what: Export| export(folder.path(), name, config, what);
    Models {
        features: write("features", &ddpm, Export::features(&["out_1", "out_2"])),
        fixed: write("fixed", &ddpm, fixed),
        ddpm: write("ddpm", &ddpm, Export::sampler()),
        edm: write("edm", &edm, Export::sampler()),
        _folder: folder,
    }
});

/// Images of the data set `folder`, 12x12, grey: 2 classes of `TRAIN / 2` to train with.
pub const TRAIN: usize = 42;
/// And to test with.
pub const TEST: usize = 10;

static DATA: LazyLock<TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder");
    for (split, count) in [("train", TRAIN), ("test", TEST)] {
        for i in 0..count {
            let class = ["dark", "light"][i % 2];
            let path = folder.path().join(format!("{split}/{class}/{i:02}.png"));
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            let level = |x: u32, y: u32| (x * 7 + y * 13 + i as u32 * 29 + (i as u32 % 2) * 90) as u8;
            image::GrayImage::from_fn(12, 12, |x, y| image::Luma([level(x, y)]))
                .save(path)
                .expect("an image");
        }
    }
    folder
});

/// The folder of the small data set.
pub fn data() -> &'static Path {
    DATA.path()
}

/// A command line of the binary, in `folder`. Words in capitals are replaced: FEATURES, FIXED, DDPM and EDM by the ONNX
/// files, DATA by the data set's folder.
pub fn command(folder: &Path, line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ddae-infer"));
    command.current_dir(folder).env_remove("DDAE_DATA").env("COLUMNS", "100").args(words(line));
    // Of whoever runs the tests.
    for variable in ["SLURM_ARRAY_TASK_ID", "JOB_COMPLETION_INDEX", "RANK", "LOCAL_WORLD_SIZE"] {
        command.env_remove(variable);
    }
    command
}

pub fn words(line: &str) -> Vec<std::ffi::OsString> {
    let word = |word: &str| match word {
        "FEATURES" => MODELS.features.clone().into(),
        "FIXED" => MODELS.fixed.clone().into(),
        "DDPM" => MODELS.ddpm.clone().into(),
        "EDM" => MODELS.edm.clone().into(),
        "DATA" => data().into(),
        other => other.into(),
    };
    line.split_whitespace().map(word).collect()
}

/// Runs a command line to its end.
#[track_caller]
pub fn infer(folder: &Path, line: &str) -> Ended {
    run(&mut command(folder, line))
}

/// Standard output of a command line that must succeed.
#[track_caller]
pub fn done(folder: &Path, line: &str) -> String {
    infer(folder, line).success().to_string()
}

/// The object that a command line printed, without how it was made.
#[track_caller]
pub fn result(folder: &Path, line: &str) -> Value {
    let mut object = infer(folder, line).json();
    object.as_object_mut().and_then(|keys| keys.remove("made_by")).expect("how it was made");
    object
}

/// Command lines that fail ([`refusals::refused`]).
#[track_caller]
pub fn refuses<L: AsRef<str>, W: AsRef<str>>(folder: &Path, cases: impl IntoIterator<Item = (i32, L, W)>) {
    refusals::refused(folder, |line| infer(folder, line), cases);
}

/// Names of the files below `folder`, sorted.
pub fn names(folder: &Path) -> Vec<String> {
    refusals::snapshot(folder).into_keys().filter(|name| !name.ends_with('/')).collect()
}

/// The number of whole shards in `folder`.
pub fn shards(folder: &Path) -> usize {
    names(folder).iter().filter(|name| name.contains("-of-") && name.ends_with(".h5")).count()
}

/// Checks that `out.h5` holds what `job`, which has `-o out`, computes where nothing ends it, and that nothing is left beside it.
#[track_caller]
pub fn assert_undisturbed(root: &Path, job: &str) {
    done(root, &job.replace("-o out", "-o whole"));
    assert!(content(&root.join("out.h5")) == content(&root.join("whole.h5")));
    assert_eq!(names(root), ["out.h5", "whole.h5"]);
}

/// Everything in a feature file: labels, indices, and the bits of each dataset's views.
pub type Content = (Vec<i64>, Vec<u64>, Vec<(FeatureKey, Vec<Vec<u32>>)>);

#[track_caller]
pub fn content(path: &Path) -> Content {
    let file = FeatureFile::open(path).expect("a feature file");
    let features = file.keys().iter().map(|key| {
        let bits = |view| {
            let features = file.read(key, view, 0..file.len()).expect("features");
            features.iter().map(|value| value.to_bits()).collect()
        };
        (key.clone(), (0..file.views()).map(bits).collect())
    });
    let features = features.collect();
    (file.labels().expect("labels"), file.indices().expect("indices"), features)
}
