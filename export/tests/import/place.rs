//! A folder with files of weights, and the program run in it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use ddae_checkpoint::write_tensors;
use ddae_model::tensor::Tensor;
use ddae_onnx::runtime::OnnxNetwork;
use ddae_tests::cases::Case;
use serde_json::Value;
use tempfile::TempDir;

use crate::torch_save;

/// The folder, removed at the end.
pub struct Place(TempDir);

impl Place {
    pub fn new() -> Place {
        Place(tempfile::tempdir().expect("a folder"))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes tensors as a safetensors file.
    pub fn safetensors<'a>(&self, name: &str, tensors: impl IntoIterator<Item = (&'a str, &'a Tensor)>) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a new folder");
        write_tensors(&path, Default::default(), tensors).expect("a file of weights");
    }

    /// Writes tensors as `torch.save` writes a state dict; `groups` are dictionaries around parts of it, each with the
    /// prefix of the names in it: `[("EMA", "ema_model.")]`. Without them it is the bare state dict.
    pub fn torch(&self, name: &str, tensors: &[(&str, &Tensor)], groups: &[(&str, &str)]) {
        let bytes: Vec<Vec<u8>> =
            tensors.iter().map(|(_, tensor)| torch_save::floats(tensor.as_f32().expect("f32"))).collect();
        let keys: Vec<String> = (0..bytes.len()).map(|i| i.to_string()).collect();
        let stored: Vec<Vec<u8>> = tensors
            .iter()
            .zip(&keys)
            .map(|((_, tensor), key)| {
                let shape: Vec<i64> = tensor.shape().iter().map(|&size| size as i64).collect();
                let strides: Vec<i64> =
                    (0..shape.len()).map(|axis| shape[axis + 1..].iter().product()).collect();
                let storage = torch_save::storage("FloatStorage", key, shape.iter().product());
                torch_save::tensor(storage, 0, &shape, &strides)
            })
            .collect();
        let dictionary = |prefix: &str| {
            let names: Vec<String> = tensors.iter().map(|(name, _)| format!("{prefix}{name}")).collect();
            let entries: Vec<(&str, Vec<u8>)> =
                names.iter().map(String::as_str).zip(stored.iter().cloned()).collect();
            torch_save::ordered(&entries)
        };
        let value = match groups {
            [] => dictionary(""),
            groups => {
                let groups: Vec<(&str, Vec<u8>)> =
                    groups.iter().map(|(key, prefix)| (*key, dictionary(prefix))).collect();
                torch_save::dict(&groups)
            }
        };
        let storages: Vec<(&str, &[u8])> =
            keys.iter().map(String::as_str).zip(bytes.iter().map(Vec::as_slice)).collect();
        std::fs::write(self.path(name), torch_save::archive(&value, &storages)).expect("a file");
    }

    /// Runs `ddae-export` with these arguments here.
    pub fn run(&self, arguments: &str) -> Output {
        Command::new(env!("CARGO_BIN_EXE_ddae-export"))
            .args(arguments.split_whitespace())
            .current_dir(self.0.path())
            .output()
            .expect("the program starts")
    }

    /// What a command that must succeed prints.
    #[track_caller]
    pub fn done(&self, arguments: &str) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    #[track_caller]
    pub fn json(&self, arguments: &str) -> Value {
        serde_json::from_str(&self.done(&format!("{arguments} --json"))).expect("JSON")
    }

    /// A command that must fail with `code` and one line that contains `message`.
    #[track_caller]
    pub fn fail(&self, arguments: &str, code: i32, message: &str) {
        let output = self.run(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments}: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{arguments}: {stderr}");
        assert!(stderr.contains(message), "{arguments}: {stderr}");
    }

    /// Runs an exported file in ONNX Runtime.
    #[track_caller]
    pub fn outputs(&self, file: &str, inputs: &[(&str, Tensor)]) -> Vec<(String, Tensor)> {
        let path = self.path(file);
        let mut network = OnnxNetwork::open(Path::new(&path), 1).unwrap_or_else(|e| panic!("{e}"));
        network.run(inputs).unwrap_or_else(|e| panic!("{e}"))
    }

    /// Checks a file against a case: those of its outputs that the case knows, and that these are `names`.
    #[track_caller]
    pub fn check(&self, file: &str, case: &Case, names: &[&str]) {
        let inputs: Vec<(&str, Tensor)> = case.inputs.iter().map(|(n, t)| (*n, t.clone())).collect();
        let found = self.outputs(file, &inputs);
        assert!(found.iter().map(|(name, _)| name.as_str()).eq(names.iter().copied()), "{file}: {found:?}");
        for (name, tensor) in &found {
            let expected = case.expected.iter().find(|(known, _)| known == name);
            // A layer is a map here where the case has its mean.
            let Some((_, expected)) = expected.filter(|(_, e)| e.shape() == tensor.shape()) else { continue };
            let error = distance(tensor, expected);
            assert!(error <= ddae_tests::tolerance::NETWORK, "{file} {name}: {error:e}");
        }
    }
}

/// `||a - b|| / ||b||`.
pub fn distance(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!(a.shape(), b.shape());
    ddae_tests::relative_error(a.as_f32().expect("f32"), b.as_f32().expect("f32"))
}

/// The weights of a case as names and tensors.
pub fn named(case: &Case) -> Vec<(&str, &Tensor)> {
    case.weights.iter().collect()
}
