//! Where a graph runs.

use std::fmt;
use std::str::FromStr;

use ddae_base::device::DeviceName;

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

/// What `--device` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Devices {
    /// This device.
    One(DeviceName),
    /// `cuda`: the first GPU, or, for each of several processes, one of its own.
    Cuda,
    /// `cuda:all`: every GPU, with a process for each.
    All,
}

impl FromStr for Devices {
    type Err = String;

    fn from_str(text: &str) -> Result<Devices, String> {
        match text {
            "cuda" => Ok(Devices::Cuda),
            "cuda:all" => Ok(Devices::All),
            _ => match text.parse() {
                Ok(one) => Ok(Devices::One(one)),
                Err(error) => Err(format!("{error}, and cuda:all for `ddae-infer features` and `sample`")),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_one_or_all() {
        for (text, wanted) in [
            ("cpu", Devices::One(DeviceName::Cpu)),
            ("cuda", Devices::Cuda),
            ("cuda:0", Devices::One(DeviceName::Cuda(0))),
            ("cuda:all", Devices::All),
        ] {
            assert_eq!(text.parse(), Ok(wanted));
        }
        let error = "cuda:some".parse::<Devices>().expect_err("no device");
        let wanted = "'cuda:some' is no device; there are cpu, cuda and cuda:N, and cuda:all for `ddae-infer features` and `sample`";
        assert_eq!(error, wanted);
    }
}
