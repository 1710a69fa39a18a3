//! Sessions on CUDA: asked for explicitly, and never replaced in silence by the CPU.
//!
//! | module | |
//! | --- | --- |
//! | `operators` | this project's operators, on its own kernels |
//! | `session` | a session with its stream, its memory, and its graph of kernels |

mod operators;
mod session;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use ddae_cuda::{CudaError, Kernels, OwnStream};
use ddae_onnx::runtime::library_path;
use ort::ep::cuda::{ConvAlgorithmSearch, preload_dylibs};
use ort::ep::{CUDA, ExecutionProvider};
use ort::session::builder::SessionBuilder;

use crate::error::{InferError, first_line};
pub use operators::on_cuda;
pub(crate) use session::{CudaSession, SessionOptions};

/// How a session uses the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Provider {
    /// The device.
    pub number: u16,
    /// Whether products may be rounded to TF32.
    pub tf32: bool,
    /// Whether the runtime records its kernels once and replays them as one graph.
    pub graph: bool,
    /// Whether cuDNN's slower rules choose algorithms.
    pub slow_rules: bool,
    /// Whether the runtime makes standard convolutions channels-last by itself.
    pub prefer_nhwc: bool,
}

/// Makes a session run on a CUDA device, on `stream`.
///
/// The libraries of CUDA and cuDNN are taken from `nvidia/cu13/lib` and `nvidia/cudnn/lib` beside ONNX Runtime's
/// library, where `cargo xtask setup --cuda` puts them; without these folders, from wherever the system finds them.
///
/// Products of float32 are computed in float32 unless `tf32` is set: the runtime's own default is TF32, three decimal
/// digits. A file whose products are in float16 must have it set: ONNX Runtime 1.31 else keeps convolutions from the tensor
/// cores in float16 too.
///
/// # Errors
/// [`InferError::Cuda`] when the library was built without CUDA, or the GPU, its driver or a library is missing.
pub(crate) fn register(
    builder: &mut SessionBuilder,
    Provider { number, tf32, graph, slow_rules, prefer_nhwc }: Provider,
    stream: &OwnStream,
) -> Result<(), InferError> {
    let cuda = |message: String| InferError::Cuda { device: number, message };
    let provider = CUDA::default()
        .with_device_id(number.into())
        .with_tf32(tf32)
        .with_cuda_graph(graph)
        .with_conv_max_workspace(true)
        .with_prefer_nhwc(prefer_nhwc)
        .with_conv_algorithm_search(match slow_rules {
            false => ConvAlgorithmSearch::Heuristic,
            true => ConvAlgorithmSearch::Exhaustive,
        });
    // SAFETY: the stream is the driver's, of this device, and outlives the session.
    let provider = unsafe { provider.with_compute_stream(stream.raw().cast()) };
    provider.register(builder).map_err(|error| cuda(explained(&first_line(&error))))
}

/// Looks for everything that a session on the device `number` needs before it is made.
///
/// # Errors
/// [`InferError::Cuda`], like [`register`].
pub(crate) fn check(number: u16) -> Result<(), InferError> {
    let cuda = |message: String| InferError::Cuda { device: number, message };
    let has_cuda = CUDA::is_available().map_err(|error| cuda(first_line(&error)))?;
    if !has_cuda {
        return Err(cuda(format!(
            "{} is ONNX Runtime for the CPU only; run `cargo xtask setup --cuda` on a machine with an NVIDIA GPU, or \
             use --device cpu",
            library_path().display()
        )));
    }
    preload().map_err(cuda)
}

/// This project's kernels on the device `number`, loaded once in a process.
///
/// # Errors
/// [`InferError::Cuda`] when they cannot be had.
pub fn kernels(number: u16) -> Result<Arc<Kernels>, InferError> {
    static LOADED: OnceLock<Mutex<HashMap<u16, Arc<Kernels>>>> = OnceLock::new();
    let mut loaded = LOADED.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(kernels) = loaded.get(&number) {
        return Ok(Arc::clone(kernels));
    }
    let folders: Vec<PathBuf> = nvidia_folder(&library_path(), "cu13").into_iter().collect();
    let kernels = Kernels::load(number, &folders).map_err(|error| of_device(number, &error))?;
    let kernels = Arc::new(kernels);
    loaded.insert(number, Arc::clone(&kernels));
    Ok(kernels)
}

/// How many GPUs this process sees ([`ddae_cuda::count`]).
///
/// # Errors
/// [`InferError::Cuda`] when there is no driver or no GPU.
pub fn count() -> Result<usize, InferError> {
    match ddae_cuda::count() {
        Ok(0) => {
            Err(InferError::Cuda { device: 0, message: "there is no GPU; use --device cpu".to_string() })
        }
        Ok(count) => Ok(count),
        Err(error) => Err(of_device(0, &error)),
    }
}

/// What the driver or its compiler says, of a device.
pub(crate) fn of_device(number: u16, error: &CudaError) -> InferError {
    InferError::Cuda { device: number, message: format!("{error}; or use --device cpu") }
}

/// What the runtime says when it cannot register CUDA, without the place in its source, and what to do.
fn explained(message: &str) -> String {
    let reason =
        message.rsplit_once(" : FAIL : ").map_or(message, |(_, reason)| reason).trim_end_matches('.');
    let advice = if reason.contains("libcuda.so") {
        "install NVIDIA's driver"
    } else if reason.contains("cannot open shared object file") {
        "run `cargo xtask setup --cuda`"
    } else {
        "check that nvidia-smi shows this GPU"
    };
    format!("{reason}; {advice}, or use --device cpu")
}

/// Loads CUDA's libraries by their full names, once in a process: the provider finds only what is loaded already or on
/// the system's search path.
fn preload() -> Result<(), String> {
    static LOADED: OnceLock<Result<(), String>> = OnceLock::new();
    LOADED
        .get_or_init(|| {
            let library = library_path();
            let folder = |name: &str| nvidia_folder(&library, name);
            preload_dylibs(folder("cu13").as_deref(), folder("cudnn").as_deref()).map_err(|error| {
                format!("{}; run `cargo xtask setup --cuda` again, or use --device cpu", first_line(&error))
            })
        })
        .clone()
}

/// The folder of one of NVIDIA's packages beside the library of ONNX Runtime, if it is there.
fn nvidia_folder(library: &Path, package: &str) -> Option<PathBuf> {
    let folder = library.parent()?.join("nvidia").join(package).join("lib");
    folder.is_dir().then_some(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_say_what_to_do() {
        let place =
            "/onnxruntime_src/core/provider_bridge_ort.cc:2043 Get() [ONNXRuntimeError] : 1 : FAIL : ";
        for (reason, advice) in [
            (
                "Failed to load library x.so with error: libcublasLt.so.13: cannot open shared object file: No such file",
                "run `cargo xtask setup --cuda`",
            ),
            ("libcuda.so.1: cannot open shared object file: No such file", "install NVIDIA's driver"),
            ("CUDA failure 101: invalid device ordinal", "check that nvidia-smi shows this GPU"),
        ] {
            let expected = format!("{reason}; {advice}, or use --device cpu");
            assert_eq!(explained(&format!("{place}{reason}.")), expected);
            assert_eq!(explained(reason), expected);
        }
    }

    #[test]
    fn libraries_are_looked_for_beside_the_runtime() {
        let root = tempfile::tempdir().expect("a folder");
        let library = root.path().join("libonnxruntime.so");
        assert_eq!(nvidia_folder(&library, "cu13"), None);
        let libraries = root.path().join("nvidia/cu13/lib");
        std::fs::create_dir_all(&libraries).expect("a folder");
        assert_eq!(nvidia_folder(&library, "cu13"), Some(libraries));
        assert_eq!(nvidia_folder(&library, "cudnn"), None);
    }
}
