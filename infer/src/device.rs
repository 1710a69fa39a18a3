//! Where a graph runs.

use std::fmt;

/// The CPU, or one CUDA device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Device {
    /// Single-threaded sessions side by side.
    #[default]
    Cpu,
    /// Sessions on a GPU.
    Cuda {
        /// The GPU, as nvidia-smi counts them.
        number: u16,
        /// Whether products may be rounded to TF32 (three decimal digits), which is several times as fast.
        tf32: bool,
        /// Whether the kernels of a run are recorded once and replayed as one CUDA graph.
        graph: bool,
    },
}

impl Device {
    /// The execution provider, under ONNX Runtime's name.
    pub fn provider(self) -> &'static str {
        match self {
            Device::Cpu => "CPUExecutionProvider",
            Device::Cuda { .. } => "CUDAExecutionProvider",
        }
    }

    /// How products are computed.
    pub fn precision(self) -> &'static str {
        match self {
            Device::Cuda { tf32: true, .. } => "tf32",
            _ => "f32",
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Cpu => f.write_str("cpu"),
            Device::Cuda { number, .. } => write!(f, "cuda:{number}"),
        }
    }
}
