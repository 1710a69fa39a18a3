//! Where a graph runs.

use std::fmt;
use std::str::FromStr;

/// The CPU, or one CUDA device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Device {
    /// Single-threaded sessions side by side.
    #[default]
    Cpu,
    /// One session on a GPU.
    Cuda {
        /// The GPU, as nvidia-smi counts them.
        number: i32,
        /// Whether products may be rounded to TF32 (three decimal digits), which is several times as fast.
        tf32: bool,
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

impl FromStr for Device {
    type Err = String;

    /// `cpu`, `cuda` or `cuda:N`, without TF32.
    fn from_str(text: &str) -> Result<Device, String> {
        let cuda = |number| Device::Cuda { number, tf32: false };
        match text.split_once(':') {
            None if text == "cpu" => Ok(Device::Cpu),
            None if text == "cuda" => Ok(cuda(0)),
            Some(("cuda", number)) if number.bytes().all(|byte| byte.is_ascii_digit()) => {
                number.parse().map(cuda).map_err(|_| format!("'{number}' is no number of a GPU"))
            }
            _ => Err(format!("'{text}' is no device; there are cpu, cuda and cuda:N")),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_read_as_they_are_written() {
        for text in ["cpu", "cuda:0", "cuda:3"] {
            assert_eq!(text.parse::<Device>().map(|device| device.to_string()), Ok(text.to_string()));
        }
        assert_eq!("cuda".parse(), Ok(Device::Cuda { number: 0, tf32: false }));
        for text in ["gpu", "cpu:0", "cuda:", "cuda:-1", "cuda:+1", "cuda:99999999999", "CPU", ""] {
            assert!(text.parse::<Device>().is_err(), "{text}");
        }
    }
}
