//! The native libraries this project builds on: exact versions, checksums, and which files of each wheel are kept.
//!
//! To move to another version: change the pins below (`pip download` the wheels, `sha256sum`, `stat -c %s`), raise
//! [`LAYOUT`] if only the choice of files changed, and run `cargo xtask setup`.

/// Raised when the files kept from the same wheels change, so that existing folders are fetched again.
pub const LAYOUT: u32 = 1;

/// One wheel on the package index.
#[derive(Debug, Clone)]
pub struct Wheel {
    /// Name on the package index.
    pub name: &'static str,
    /// Exact version.
    pub version: &'static str,
    /// ABI tag of the wheel: `cp311`, or `none` where no Python code is compiled in. Nothing runs Python: any host
    /// Python 3 can fetch a `cp311` wheel.
    pub abi: &'static str,
    /// Platform tag of the wheel; pip takes it literally.
    pub platform: &'static str,
    /// SHA-256 of the file, lower-case hexadecimal.
    pub sha256: &'static str,
    /// Size of the file in bytes, for progress and the disk-space check.
    pub bytes: u64,
}

/// Chooses from a wheel: the path inside the part's folder for an entry to keep, or `None`.
pub type Select = fn(&str) -> Option<String>;

/// How a freshly unpacked part reaches its final place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// The part owns its folder, which is swapped in as a whole.
    Own,
    /// The part adds files to the folder of another part that was placed before it.
    Beside,
}

/// A unit of installation: files from some wheels in one folder, with one completion stamp.
#[derive(Debug, Clone)]
pub struct Part {
    /// Name for people.
    pub label: &'static str,
    /// Folder below `native/`.
    pub folder: &'static str,
    /// Completion stamp, relative to the folder.
    pub stamp: &'static str,
    /// Own folder or an addition to another's.
    pub placement: Placement,
    /// The wheels and what to keep of each.
    pub wheels: Vec<(Wheel, Select)>,
    /// Text files written beside the unpacked ones: path and content.
    pub texts: &'static [(&'static str, &'static str)],
    /// Symbolic links: path and target.
    pub links: &'static [(&'static str, &'static str)],
    /// Files without which the part is useless; a part that lacks one is fetched again.
    pub key_files: &'static [&'static str],
    /// Bytes on disk once unpacked.
    pub unpacked_bytes: u64,
}

/// Folder of libtorch below `native/`; `LIBTORCH` is its subfolder `torch`.
pub const LIBTORCH_FOLDER: &str = "libtorch-2.11.0";
/// The folder that `LIBTORCH` names, below [`LIBTORCH_FOLDER`].
pub const LIBTORCH_ROOT: &str = "torch";
/// The library inside the folder of either ONNX Runtime part.
pub const ORT_LIBRARY: &str = "libonnxruntime.so";
/// The program inside the folder of the cmake part.
pub const CMAKE_PROGRAM: &str = "cmake/data/bin/cmake";

const TORCH: Wheel = Wheel {
    name: "torch",
    version: "2.11.0",
    abi: "cp311",
    platform: "manylinux_2_28_x86_64",
    sha256: "7aa2f9bbc6d4595ba72138026b2074be1233186150e9292865e04b7a63b8c67a",
    bytes: 530_604_548,
};

/// Wheels without compiled Python code: `py3-none-PLATFORM`.
const fn plain(
    name: &'static str,
    version: &'static str,
    platform: &'static str,
    bytes: u64,
    sha256: &'static str,
) -> Wheel {
    Wheel { name, version, abi: "none", platform, sha256, bytes }
}

/// libtorch for the CPU. The published build links CUDA's runtime and profiler libraries even for CPU work, so those
/// two come along. `torch/` and `nvidia/` stay siblings because the RPATH of libtorch_cpu.so is
/// `$ORIGIN/../../nvidia/cu13/lib:$ORIGIN`.
///
/// The wheel's own `libtorch.so` needs `libtorch_cuda.so`, which would make every binary need CUDA; a linker script
/// takes its place. For the same reason `libtorch_cuda.so` is never put into `torch/lib`.
pub fn libtorch() -> Part {
    Part {
        label: "libtorch 2.11.0",
        folder: LIBTORCH_FOLDER,
        stamp: "complete.json",
        placement: Placement::Own,
        wheels: vec![
            (TORCH, torch_cpu_files),
            (
                plain(
                    "nvidia-cuda-runtime",
                    "13.0.96",
                    "manylinux2014_x86_64",
                    2_243_632,
                    "7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548",
                ),
                shared_libraries,
            ),
            (
                plain(
                    "nvidia-cuda-cupti",
                    "13.0.85",
                    "manylinux_2_25_x86_64",
                    10_715_597,
                    "4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8",
                ),
                cupti_files,
            ),
        ],
        texts: &[("torch/lib/libtorch.so", "INPUT(AS_NEEDED(-ltorch_cpu))\n")],
        links: &[],
        key_files: &[
            "torch/lib/libtorch_cpu.so",
            "torch/lib/libtorch.so",
            "torch/lib/libc10.so",
            "torch/lib/libgomp.so.1",
            "torch/include/torch/csrc/api/include/torch/torch.h",
            "nvidia/cu13/lib/libcudart.so.13",
            "nvidia/cu13/lib/libcupti.so.13",
        ],
        unpacked_bytes: 500_000_000,
    }
}

/// What libtorch needs for CUDA, placed beside the CPU files: the programs are linked without it and load
/// `$LIBTORCH/cuda/libtorch_cuda.so` when CUDA is asked for.
///
/// The folder must be two levels below the one that holds `nvidia/`: the RPATH of these libraries is
/// `$ORIGIN/../../nvidia/{cudnn,nvshmem,nccl,cusparselt,cu13}/lib:$ORIGIN`. `libc10.so` and `libtorch_cpu.so`, which
/// they also need, are not in this folder on purpose: they are found by name among the libraries already loaded, and
/// a second copy in one process would be fatal.
///
/// The versions are those that the torch wheel requires (`Requires-Dist` of torch 2.11.0 and of cuda-toolkit 13.0.2).
pub fn libtorch_cuda() -> Part {
    let nvidia = [
        plain(
            "nvidia-cublas",
            "13.1.0.3",
            "manylinux_2_27_x86_64",
            423_133_236,
            "ee8722c1f0145ab246bccb9e452153b5e0515fd094c3678df50b2a0888b8b171",
        ),
        plain(
            "nvidia-cuda-nvrtc",
            "13.0.88",
            "manylinux2010_x86_64",
            90_215_200,
            "ad9b6d2ead2435f11cbb6868809d2adeeee302e9bb94bcf0539c7a40d80e8575",
        ),
        plain(
            "nvidia-cudnn-cu13",
            "9.19.0.56",
            "manylinux_2_27_x86_64",
            366_066_321,
            "d20e1734305e9d68889a96e3f35094d733ff1f83932ebe462753973e53a572bf",
        ),
        plain(
            "nvidia-cufft",
            "12.0.0.61",
            "manylinux2014_x86_64",
            214_085_489,
            "6c44f692dce8fd5ffd3e3df134b6cdb9c2f72d99cf40b62c32dde45eea9ddad3",
        ),
        plain(
            "nvidia-cufile",
            "1.15.1.6",
            "manylinux2014_x86_64",
            1_223_672,
            "08a3ecefae5a01c7f5117351c64f17c7c62efa5fffdbe24fc7d298da19cd0b44",
        ),
        plain(
            "nvidia-curand",
            "10.4.0.35",
            "manylinux_2_27_x86_64",
            59_544_258,
            "1aee33a5da6e1db083fe2b90082def8915f30f3248d5896bcec36a579d941bfc",
        ),
        plain(
            "nvidia-cusolver",
            "12.0.4.66",
            "manylinux_2_27_x86_64",
            200_941_980,
            "0a759da5dea5c0ea10fd307de75cdeb59e7ea4fcb8add0924859b944babf1112",
        ),
        plain(
            "nvidia-cusparse",
            "12.6.3.3",
            "manylinux2014_x86_64",
            145_942_937,
            "2b3c89c88d01ee0e477cb7f82ef60a11a4bcd57b6b87c33f789350b59759360b",
        ),
        plain(
            "nvidia-cusparselt-cu13",
            "0.8.0",
            "manylinux2014_x86_64",
            169_884_119,
            "25e30a8a7323935d4ad0340b95a0b69926eee755767e8e0b1cf8dd85b197d3fd",
        ),
        plain(
            "nvidia-nccl-cu13",
            "2.28.9",
            "manylinux_2_18_x86_64",
            196_493_177,
            "e4553a30f34195f3fa1da02a6da3d6337d28f2003943aa0a3d247bbc25fefc42",
        ),
        plain(
            "nvidia-nvjitlink",
            "13.0.88",
            "manylinux2010_x86_64",
            40_713_933,
            "13a74f429e23b921c1109976abefacc69835f2f433ebd323d3946e11d804e47b",
        ),
        plain(
            "nvidia-nvshmem-cu13",
            "3.4.5",
            "manylinux2014_x86_64",
            60_412_546,
            "290f0a2ee94c9f3687a02502f3b9299a9f9fe826e6d0287ee18482e78d495b80",
        ),
        plain(
            "nvidia-nvtx",
            "13.0.85",
            "manylinux1_x86_64",
            148_047,
            "4936d1d6780fbe68db454f5e72a42ff64d1fd6397df9f363ae786930fd5c1cd4",
        ),
    ];
    let mut wheels: Vec<(Wheel, Select)> = vec![(TORCH, torch_cuda_files)];
    wheels.extend(nvidia.into_iter().map(|wheel| (wheel, shared_libraries as Select)));
    Part {
        label: "libtorch 2.11.0, CUDA 13",
        folder: LIBTORCH_FOLDER,
        stamp: "torch/cuda/complete.json",
        placement: Placement::Beside,
        wheels,
        texts: &[],
        links: &[],
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
        unpacked_bytes: 3_100_000_000,
    }
}

/// ONNX Runtime for the CPU: one library.
pub fn onnxruntime() -> Part {
    Part {
        label: "ONNX Runtime 1.31.1",
        folder: "onnxruntime-1.31.1",
        stamp: "complete.json",
        placement: Placement::Own,
        wheels: vec![(
            Wheel {
                name: "onnxruntime",
                version: "1.31.1",
                abi: "cp311",
                platform: "manylinux_2_28_x86_64",
                sha256: "5752bd508126ae7c49894d3b9d2e83f0c3d487319246d04c444b393308d7ad7f",
                bytes: 23_753_652,
            },
            onnxruntime_files,
        )],
        texts: &[],
        links: &[],
        key_files: &[ORT_LIBRARY],
        unpacked_bytes: 30_000_000,
    }
}

/// ONNX Runtime with its CUDA provider; it serves the CPU as well, so it takes the place of [`onnxruntime`].
///
/// The provider has no RPATH: whoever asks for CUDA first loads the libraries below `nvidia/` (a link to those of
/// [`libtorch_cuda`]) by their full names.
pub fn onnxruntime_gpu() -> Part {
    Part {
        label: "ONNX Runtime 1.31.1, CUDA 13",
        folder: "onnxruntime-gpu-1.31.1",
        stamp: "complete.json",
        placement: Placement::Own,
        wheels: vec![(
            Wheel {
                name: "onnxruntime-gpu",
                version: "1.31.1",
                abi: "cp311",
                platform: "manylinux_2_28_x86_64",
                sha256: "e26c475fe361b2015f45b4b824bd13f0bb20204e59b62814e6f0acd5f3d491a6",
                bytes: 255_560_985,
            },
            onnxruntime_files,
        )],
        texts: &[],
        links: &[("nvidia", "../libtorch-2.11.0/nvidia")],
        key_files: &[ORT_LIBRARY, "libonnxruntime_providers_shared.so", "libonnxruntime_providers_cuda.so"],
        unpacked_bytes: 315_000_000,
    }
}

/// cmake, which builds HDF5.
pub fn cmake() -> Part {
    Part {
        label: "cmake 4.4.4",
        folder: "cmake-4.4.4",
        stamp: "complete.json",
        placement: Placement::Own,
        wheels: vec![(
            plain(
                "cmake",
                "4.4.4",
                "manylinux2014_x86_64",
                30_245_729,
                "f773a0544c66370408f451acd487c2c643b0dfebb48c5d64f3638bc1bb820238",
            ),
            cmake_files,
        )],
        texts: &[],
        links: &[],
        key_files: &[CMAKE_PROGRAM],
        unpacked_bytes: 80_000_000,
    }
}

fn torch_cpu_files(entry: &str) -> Option<String> {
    let library =
        matches!(entry, "torch/lib/libtorch_cpu.so" | "torch/lib/libc10.so" | "torch/lib/libgomp.so.1");
    if library || entry.starts_with("torch/include/") { Some(entry.to_owned()) } else { license(entry) }
}

fn torch_cuda_files(entry: &str) -> Option<String> {
    let name = entry.strip_prefix("torch/lib/")?;
    matches!(
        name,
        "libtorch_cuda.so"
            | "libtorch_cuda_linalg.so"
            | "libc10_cuda.so"
            | "libcaffe2_nvrtc.so"
            | "libtorch_nvshmem.so"
    )
    .then(|| format!("torch/cuda/{name}"))
}

/// The shared libraries of an NVIDIA wheel, without those that nothing here loads (together 0.3 GB).
fn shared_libraries(entry: &str) -> Option<String> {
    const UNUSED: [&str; 5] =
        ["libcusolverMg.so", "libnvblas.so", "libcufftw.so", "libnvrtc.alt.so", "libnvrtc-builtins.alt.so"];
    if entry == "nvidia/cusparselt/LICENSE.txt" {
        return Some("licenses/nvidia_cusparselt/LICENSE.txt".to_owned());
    }
    let Some((_, name)) = entry.strip_prefix("nvidia/").and_then(|rest| rest.split_once("/lib/")) else {
        return license(entry);
    };
    let wanted =
        name.contains(".so") && !name.contains('/') && !UNUSED.iter().any(|unused| name.starts_with(unused));
    wanted.then(|| entry.to_owned())
}

/// Of the profiler's libraries, the one that libtorch_cpu.so links.
fn cupti_files(entry: &str) -> Option<String> {
    if entry == "nvidia/cu13/lib/libcupti.so.13" { Some(entry.to_owned()) } else { license(entry) }
}

fn onnxruntime_files(entry: &str) -> Option<String> {
    match entry.strip_prefix("onnxruntime/")? {
        "LICENSE" => Some("licenses/onnxruntime/LICENSE".to_owned()),
        "ThirdPartyNotices.txt" => Some("licenses/onnxruntime/ThirdPartyNotices.txt".to_owned()),
        "capi/libonnxruntime.so.1.31.1" => Some(ORT_LIBRARY.to_owned()),
        "capi/libonnxruntime_providers_shared.so" => Some("libonnxruntime_providers_shared.so".to_owned()),
        "capi/libonnxruntime_providers_cuda.so" => Some("libonnxruntime_providers_cuda.so".to_owned()),
        _ => None,
    }
}

/// The programs and what they read; not the manuals.
fn cmake_files(entry: &str) -> Option<String> {
    const KEPT: [&str; 3] =
        ["cmake/data/bin/", "cmake/data/share/cmake-4.4/Modules/", "cmake/data/share/cmake-4.4/Templates/"];
    if KEPT.iter().any(|folder| entry.starts_with(folder)) { Some(entry.to_owned()) } else { license(entry) }
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

    fn all() -> Vec<Part> {
        vec![libtorch(), libtorch_cuda(), onnxruntime(), onnxruntime_gpu(), cmake()]
    }

    #[test]
    fn every_pin_has_a_full_checksum() {
        for (wheel, _) in all().iter().flat_map(|part| &part.wheels) {
            assert_eq!(wheel.sha256.len(), 64, "{}", wheel.name);
            assert!(
                wheel.sha256.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)),
                "{}",
                wheel.name
            );
        }
    }

    #[test]
    fn libraries_that_pull_in_cuda_stay_out_of_the_folder_that_is_linked() {
        assert_eq!(torch_cpu_files("torch/lib/libtorch_cuda.so"), None);
        assert_eq!(torch_cpu_files("torch/lib/libtorch.so"), None);
        assert_eq!(
            torch_cuda_files("torch/lib/libtorch_cuda.so").as_deref(),
            Some("torch/cuda/libtorch_cuda.so")
        );
        assert_eq!(torch_cuda_files("torch/lib/libc10.so"), None);
    }

    #[test]
    fn unneeded_files_are_left_out() {
        assert_eq!(shared_libraries("nvidia/cu13/lib/libcudart_static.a"), None);
        assert_eq!(shared_libraries("nvidia/cu13/lib/libnvrtc.alt.so.13"), None);
        assert_eq!(shared_libraries("nvidia/cu13/include/cupti.h"), None);
        assert_eq!(
            shared_libraries("nvidia/cu13/lib/libcudart.so.13").as_deref(),
            Some("nvidia/cu13/lib/libcudart.so.13")
        );
        assert_eq!(cmake_files("cmake/data/share/cmake-4.4/Help/x.rst"), None);
    }

    #[test]
    fn licenses_keep_their_package_name() {
        assert_eq!(
            license("nvidia_cublas-13.1.0.3.dist-info/licenses/License.txt").as_deref(),
            Some("licenses/nvidia_cublas/License.txt")
        );
        assert_eq!(license("torch-2.11.0.dist-info/RECORD"), None);
    }
}
