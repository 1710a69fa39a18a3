//! Where tensors live. One program serves machines with and without a GPU: libtorch's CUDA half is a library of its
//! own that is loaded when CUDA is asked for.

use std::env;
use std::path::PathBuf;
use std::sync::OnceLock;

use ddae_base::device::{DeviceChoice, DeviceName};
use tch::{Cuda, Device};

use super::{TorchError, shim};

const LIBRARY: &str = "libtorch_cuda.so";

/// The CUDA device of this index, ready for use.
///
/// Must come before anything else that asks libtorch about CUDA: libtorch looks for its CUDA half once.
///
/// # Errors
/// [`TorchError::Cuda`]: the library is not installed or does not load, there is no such GPU, or no driver.
pub fn cuda(index: usize) -> Result<Device, TorchError> {
    static LOADED: OnceLock<Result<(), String>> = OnceLock::new();
    LOADED.get_or_init(load).clone().map_err(TorchError::Cuda)?;
    let count = usize::try_from(Cuda::device_count()).unwrap_or(0);
    if count == 0 {
        let reason = "libtorch finds no GPU: does `nvidia-smi` list one? Use the CPU otherwise";
        return Err(TorchError::Cuda(reason.to_string()));
    }
    if index >= count {
        let reason = format!("there is no GPU {index}: this machine has {count}, numbered from 0");
        return Err(TorchError::Cuda(reason));
    }
    Ok(Device::Cuda(index))
}

/// The device of a choice; with it, for [`DeviceChoice::Auto`], why it is not a GPU.
///
/// # Errors
/// When a GPU was asked for and there is none.
pub fn resolve(choice: DeviceChoice) -> Result<(Device, Option<String>), TorchError> {
    match choice {
        DeviceChoice::Named(DeviceName::Cpu) => Ok((Device::Cpu, None)),
        DeviceChoice::Named(DeviceName::Cuda(index)) => Ok((cuda(index.into())?, None)),
        DeviceChoice::Auto => Ok(match cuda(0) {
            Ok(device) => (device, None),
            Err(TorchError::Cuda(reason)) => (Device::Cpu, Some(reason)),
            Err(other) => return Err(other),
        }),
    }
}

fn load() -> Result<(), String> {
    let places = places();
    let Some(library) = places.iter().map(|place| place.join(LIBRARY)).find(|path| path.is_file()) else {
        let places: Vec<String> = places.iter().map(|place| place.display().to_string()).collect();
        return Err(format!(
            "{LIBRARY} is not installed (looked in {}): run `cargo xtask setup --cuda`, or use the CPU",
            places.join(", ")
        ));
    };
    shim::load_library(&library).map_err(|reason| format!("{} does not load: {reason}", library.display()))
}

/// Where CUDA's runtime compiler may lie: beside libtorch's CUDA half, as `cargo xtask setup --cuda` puts it.
pub fn compiler_folders() -> Vec<PathBuf> {
    let beside =
        |place: PathBuf| ["../nvidia/cu13/lib", "../../nvidia/cu13/lib"].map(|folder| place.join(folder));
    places().into_iter().flat_map(beside).collect()
}

/// Where the library may lie: beside the program (`bin/` and `lib/`), in the user's libtorch, in the one this program
/// was built with. It never lies in libtorch's own `lib/`, where the linker would make every program need CUDA.
fn places() -> Vec<PathBuf> {
    let beside = env::current_exe().ok().and_then(|exe| Some(exe.parent()?.parent()?.join("lib/cuda")));
    let libtorch = env::var_os("LIBTORCH").map(|path| PathBuf::from(path).join("cuda"));
    let mut places: Vec<PathBuf> = beside.into_iter().chain(libtorch).collect();
    places.push(PathBuf::from(env!("DDAE_LIBTORCH")).join("cuda"));
    places.dedup();
    places
}
