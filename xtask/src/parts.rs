//! The native libraries in units of installation, and which files of their wheels are kept.
//!
//! Versions and checksums stand in `requirements.txt`. To move to another version, change its lines there (`pip hash`
//! prints the checksum of a file) and run `cargo xtask setup`.

use std::path::Path;
use std::{fs, io};

use serde_json::{Value, json};

/// libtorch's folder, the one with `lib` and `include`.
pub const LIBTORCH: &str = "LIBTORCH";
/// ONNX Runtime's library file.
pub const ORT: &str = "ORT_DYLIB_PATH";
/// The cmake program.
pub const CMAKE: &str = "CMAKE";

/// The name of ONNX Runtime's library here.
pub const ORT_LIBRARY: &str = "libonnxruntime.so";

const REQUIREMENTS: &str = include_str!("../requirements.txt");

/// Raised when other files of the same wheels are kept, so that existing folders are fetched again.
const LAYOUT: u32 = 1;

/// Files from some wheels in one folder, finished together.
#[derive(Debug, Clone)]
pub struct Part {
    /// Name for people, before the version of the first wheel, ...
    pub name: &'static str,
    /// ... and after it.
    pub variant: &'static str,
    /// Folder below `native/`, before the version of the first wheel.
    pub folder: &'static str,
    /// The folder below that which is this part's alone; it appears as a whole and as the last of the part.
    pub own: &'static str,
    /// The environment variable that tells the workspace's build and programs of this part, ...
    pub variable: &'static str,
    /// ... and what it names, relative to the folder.
    pub target: &'static str,
    /// Which of the [`requirements`](Self::requirements) it is made of, by their names.
    pub wheels: fn(&str) -> bool,
    /// Lines `name==version --hash=sha256:...`.
    pub requirements: &'static str,
    /// Chooses from the wheels: the path inside the folder for an entry to keep.
    pub keep: fn(&str) -> Option<String>,
    /// Adds to the unpacked folder what is in no wheel.
    pub finish: fn(&Path) -> io::Result<()>,
    /// Files without which the part is useless; a part that lacks one is fetched again.
    pub key_files: &'static [&'static str],
    /// Megabytes to download, and on disk.
    pub size: (u64, u64),
}

/// libtorch for the CPU. The published build links CUDA's runtime and profiler libraries even for CPU work, so those
/// two come along. `torch/` and `nvidia/` stay siblings because the RPATH of libtorch_cpu.so is
/// `$ORIGIN/../../nvidia/cu13/lib:$ORIGIN`.
///
/// The wheel's own `libtorch.so` needs `libtorch_cuda.so`, which would make every binary need CUDA; a linker script
/// takes its place. For the same reason `libtorch_cuda.so` is never put into `torch/lib`.
pub static LIBTORCH_CPU: Part = Part {
    name: "libtorch",
    variant: "",
    folder: "libtorch",
    own: "",
    variable: LIBTORCH,
    target: "torch",
    wheels: |name| ["torch", "nvidia-cuda-runtime", "nvidia-cuda-cupti"].contains(&name),
    requirements: REQUIREMENTS,
    keep: libtorch_cpu_file,
    finish: |folder| fs::write(folder.join("torch/lib/libtorch.so"), "INPUT(AS_NEEDED(-ltorch_cpu))\n"),
    key_files: &[
        "torch/lib/libtorch_cpu.so",
        "torch/lib/libtorch.so",
        "torch/lib/libc10.so",
        "torch/lib/libgomp.so.1",
        "torch/include/torch/csrc/api/include/torch/torch.h",
        "nvidia/cu13/lib/libcudart.so.13",
        "nvidia/cu13/lib/libcupti.so.13",
    ],
    size: (543, 500),
};

/// What libtorch needs for CUDA, placed beside the CPU files: the programs are linked without it and load
/// `$LIBTORCH/cuda/libtorch_cuda.so` when CUDA is asked for.
///
/// The folder must be two levels below the one that holds `nvidia/`: the RPATH of these libraries is
/// `$ORIGIN/../../nvidia/{cudnn,nvshmem,nccl,cusparselt,cu13}/lib:$ORIGIN`. `libc10.so` and `libtorch_cpu.so`, which
/// they also need, are not in this folder on purpose: they are found by name among the libraries already loaded, and
/// a second copy in one process would be fatal.
pub static LIBTORCH_CUDA: Part = Part {
    variant: ", CUDA 13",
    own: "torch/cuda",
    wheels: |name| name == "torch" || name.starts_with("nvidia-") && !(LIBTORCH_CPU.wheels)(name),
    keep: libtorch_cuda_file,
    finish: |_| Ok(()),
    key_files: &[
        "torch/cuda/libtorch_cuda.so",
        "torch/cuda/libtorch_cuda_linalg.so",
        "torch/cuda/libc10_cuda.so",
        "torch/cuda/libcaffe2_nvrtc.so",
        "torch/cuda/libtorch_nvshmem.so",
        "nvidia/cu13/lib/libcublas.so.13",
        "nvidia/cudnn/lib/libcudnn.so.9",
        "nvidia/nccl/lib/libnccl.so.2",
    ],
    size: (2500, 3100),
    ..LIBTORCH_CPU
};

/// ONNX Runtime for the CPU: one library.
pub static ONNXRUNTIME: Part = Part {
    name: "ONNX Runtime",
    folder: "onnxruntime",
    variable: ORT,
    target: ORT_LIBRARY,
    wheels: |name| name == "onnxruntime",
    keep: onnxruntime_file,
    finish: |_| Ok(()),
    key_files: &[ORT_LIBRARY],
    size: (24, 30),
    ..LIBTORCH_CPU
};

/// ONNX Runtime with its CUDA provider; it serves the CPU as well, so it takes the place of [`ONNXRUNTIME`].
///
/// The provider has no RPATH: whoever asks for CUDA first loads the libraries below `nvidia/` (a link to those of
/// [`LIBTORCH_CUDA`]) by their full names.
pub static ONNXRUNTIME_CUDA: Part = Part {
    variant: ", CUDA 13",
    folder: "onnxruntime-gpu",
    wheels: |name| name == "onnxruntime-gpu",
    finish: |folder| {
        let libraries = format!("../{}/nvidia", LIBTORCH_CUDA.folder_name());
        std::os::unix::fs::symlink(libraries, folder.join("nvidia"))
    },
    key_files: &[ORT_LIBRARY, "libonnxruntime_providers_shared.so", "libonnxruntime_providers_cuda.so"],
    size: (256, 315),
    ..ONNXRUNTIME
};

/// cmake, which builds HDF5.
pub static CMAKE_PROGRAM: Part = Part {
    name: "cmake",
    folder: "cmake",
    variable: CMAKE,
    target: "cmake/data/bin/cmake",
    wheels: |name| name == "cmake",
    keep: cmake_file,
    key_files: &["cmake/data/bin/cmake"],
    size: (30, 80),
    ..ONNXRUNTIME
};

/// One line of the requirements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wheel {
    /// Name on the package index.
    pub name: &'static str,
    pub version: &'static str,
    /// SHA-256 of the file, hexadecimal.
    pub sha256: &'static str,
    /// As pip reads it.
    pub line: &'static str,
}

impl Part {
    /// The wheels in order.
    pub fn wheels(&self) -> impl Iterator<Item = Wheel> {
        let parse = |line: &'static str| {
            let (name, rest) = line.split_once("==")?;
            let (version, sha256) = rest.split_once(" --hash=sha256:")?;
            Some(Wheel { name, version, sha256, line })
        };
        self.requirements.lines().filter_map(parse).filter(|wheel| (self.wheels)(wheel.name))
    }

    fn version(&self) -> &'static str {
        self.wheels().next().map_or("", |wheel| wheel.version)
    }

    /// `libtorch-2.11.0`
    pub fn folder_name(&self) -> String {
        format!("{}-{}", self.folder, self.version())
    }

    /// `libtorch 2.11.0, CUDA 13`
    pub fn label(&self) -> String {
        format!("{} {}{}", self.name, self.version(), self.variant)
    }

    /// What the finished part was made of; the content of its stamp.
    pub fn stamp(&self) -> Value {
        let wheel = |w: Wheel| json!({"name": w.name, "version": w.version, "sha256": w.sha256});
        json!({"layout": LAYOUT, "wheels": self.wheels().map(wheel).collect::<Vec<_>>()})
    }
}

fn libtorch_cpu_file(entry: &str) -> Option<String> {
    const LIBRARIES: [&str; 5] = [
        "torch/lib/libtorch_cpu.so",
        "torch/lib/libc10.so",
        "torch/lib/libgomp.so.1",
        "nvidia/cu13/lib/libcudart.so.13",
        // Of the profiler's libraries, the one that libtorch_cpu.so links.
        "nvidia/cu13/lib/libcupti.so.13",
    ];
    let kept = LIBRARIES.contains(&entry) || entry.starts_with("torch/include/");
    if kept { Some(entry.to_owned()) } else { license(entry) }
}

/// The libraries of torch that belong to CUDA; the shared libraries of NVIDIA's wheels without those that nothing
/// here loads (together 0.3 GB).
fn libtorch_cuda_file(entry: &str) -> Option<String> {
    const CUDA: [&str; 5] = [
        "libtorch_cuda.so",
        "libtorch_cuda_linalg.so",
        "libc10_cuda.so",
        "libcaffe2_nvrtc.so",
        "libtorch_nvshmem.so",
    ];
    const UNUSED: [&str; 5] =
        ["libcusolverMg.so", "libnvblas.so", "libcufftw.so", "libnvrtc.alt.so", "libnvrtc-builtins.alt.so"];
    if let Some(name) = entry.strip_prefix("torch/lib/") {
        return CUDA.contains(&name).then(|| format!("torch/cuda/{name}"));
    }
    if entry == "nvidia/cusparselt/LICENSE.txt" {
        return Some("licenses/nvidia_cusparselt/LICENSE.txt".to_owned());
    }
    let Some((_, name)) = entry.strip_prefix("nvidia/").and_then(|rest| rest.split_once("/lib/")) else {
        return license(entry);
    };
    let unused = UNUSED.iter().any(|unused| name.starts_with(unused));
    (name.contains(".so") && !name.contains('/') && !unused).then(|| entry.to_owned())
}

fn onnxruntime_file(entry: &str) -> Option<String> {
    let name = entry.strip_prefix("onnxruntime/")?;
    match name.strip_prefix("capi/") {
        Some(library) if library.starts_with("libonnxruntime.so.") => Some(ORT_LIBRARY.to_owned()),
        Some(library) if library.starts_with("libonnxruntime_providers_") => {
            (!library.contains("tensorrt")).then(|| library.to_owned())
        }
        None if ["LICENSE", "ThirdPartyNotices.txt"].contains(&name) => {
            Some(format!("licenses/onnxruntime/{name}"))
        }
        _ => None,
    }
}

/// The programs and what they read; not the manuals.
fn cmake_file(entry: &str) -> Option<String> {
    let share = entry.strip_prefix("cmake/data/share/cmake-").and_then(|path| path.split_once('/'));
    let read = share.is_some_and(|(_, path)| path.starts_with("Modules/") || path.starts_with("Templates/"));
    let kept = read || entry.starts_with("cmake/data/bin/");
    if kept { Some(entry.to_owned()) } else { license(entry) }
}

/// `torch-2.11.0.dist-info/licenses/NOTICE` is kept as `licenses/torch/NOTICE`: `dist` hands the libraries on, and
/// their licences travel with them.
fn license(entry: &str) -> Option<String> {
    let (info, file) = entry.split_once(".dist-info/licenses/")?;
    let (name, _version) = info.rsplit_once('-')?;
    (!file.contains('/') && !file.is_empty()).then(|| format!("licenses/{name}/{file}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wheel_is_pinned_by_a_full_checksum() {
        let parts = [&LIBTORCH_CPU, &LIBTORCH_CUDA, &ONNXRUNTIME, &ONNXRUNTIME_CUDA, &CMAKE_PROGRAM];
        assert_eq!(parts.map(|part| part.wheels().count()), [3, 14, 1, 1, 1]);
        for wheel in parts.iter().flat_map(|part| part.wheels()) {
            let hexadecimal = wheel.sha256.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            assert!(wheel.sha256.len() == 64 && hexadecimal, "{wheel:?}");
        }
        assert_eq!(LIBTORCH_CUDA.label(), "libtorch 2.11.0, CUDA 13");
        assert_eq!(ONNXRUNTIME_CUDA.folder_name(), "onnxruntime-gpu-1.31.1");
    }

    #[test]
    fn of_each_wheel_the_needed_files_are_kept() {
        let cases: [(&Part, &[(&str, &str)]); 4] = [
            (
                &LIBTORCH_CPU,
                &[
                    ("torch/lib/libtorch_cpu.so", "torch/lib/libtorch_cpu.so"),
                    ("torch/include/torch/torch.h", "torch/include/torch/torch.h"),
                    ("nvidia/cu13/lib/libcudart.so.13", "nvidia/cu13/lib/libcudart.so.13"),
                    // These would make every program need CUDA.
                    ("torch/lib/libtorch_cuda.so", ""),
                    ("torch/lib/libtorch.so", ""),
                    ("torch-2.11.0.dist-info/RECORD", ""),
                    ("torch-2.11.0.dist-info/licenses/NOTICE", "licenses/torch/NOTICE"),
                ],
            ),
            (
                &LIBTORCH_CUDA,
                &[
                    ("torch/lib/libtorch_cuda.so", "torch/cuda/libtorch_cuda.so"),
                    ("torch/lib/libc10.so", ""),
                    ("nvidia/cudnn/lib/libcudnn.so.9", "nvidia/cudnn/lib/libcudnn.so.9"),
                    ("nvidia/cu13/lib/libcudart_static.a", ""),
                    ("nvidia/cu13/lib/libnvrtc.alt.so.13", ""),
                    ("nvidia/cu13/include/cublas.h", ""),
                    ("nvidia_nvtx-1.0.dist-info/licenses/License.txt", "licenses/nvidia_nvtx/License.txt"),
                ],
            ),
            (
                &ONNXRUNTIME_CUDA,
                &[
                    ("onnxruntime/capi/libonnxruntime.so.1.31.1", "libonnxruntime.so"),
                    ("onnxruntime/capi/libonnxruntime_providers_cuda.so", "libonnxruntime_providers_cuda.so"),
                    ("onnxruntime/capi/libonnxruntime_providers_tensorrt.so", ""),
                    ("onnxruntime/LICENSE", "licenses/onnxruntime/LICENSE"),
                ],
            ),
            (
                &CMAKE_PROGRAM,
                &[
                    ("cmake/data/bin/cmake", "cmake/data/bin/cmake"),
                    ("cmake/data/share/cmake-4.4/Modules/a/b", "cmake/data/share/cmake-4.4/Modules/a/b"),
                    ("cmake/data/share/cmake-4.4/Help/Modules/b", ""),
                ],
            ),
        ];
        for (part, entries) in cases {
            for (entry, kept) in entries {
                assert_eq!((part.keep)(entry).unwrap_or_default(), *kept, "{entry} of {}", part.label());
            }
        }
    }
}
