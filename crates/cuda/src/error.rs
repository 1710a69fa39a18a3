//! Why a kernel cannot be had.

use std::path::PathBuf;

use cudarc::driver::result::DriverError;

/// Why a kernel cannot be had or started.
#[derive(Clone, Debug, thiserror::Error)]
#[allow(missing_docs)] // The messages say it.
pub enum CudaError {
    #[error("there is no {0}: install NVIDIA's driver")]
    NoDriver(&'static str),
    #[error(
        "CUDA's runtime compiler (libnvrtc.so.13) is not installed{}: run `cargo xtask setup --cuda`",
        looked(.0)
    )]
    NoCompiler(Vec<PathBuf>),
    #[error("CUDA's runtime compiler refuses {file} for {architecture}: {message}")]
    Compile { file: &'static str, architecture: String, message: String },
    #[error("CUDA says, {action}: {message}")]
    Driver { action: String, message: String },
    #[error("{0}")]
    Shape(String),
}

impl CudaError {
    pub(crate) fn driver(action: &str) -> impl FnOnce(DriverError) -> CudaError {
        move |error| {
            let message = error.error_string().map(|text| text.to_string_lossy().into_owned());
            let message = message.unwrap_or_else(|_| format!("{:?}", error.0));
            CudaError::Driver { action: action.to_string(), message }
        }
    }
}

fn looked(places: &[PathBuf]) -> String {
    if places.is_empty() {
        return String::new();
    }
    let places: Vec<String> = places.iter().map(|place| place.display().to_string()).collect();
    format!(" (looked in {} and where the system looks)", places.join(", "))
}
