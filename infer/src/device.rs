//! Where a graph runs.

use std::fmt;
use std::str::FromStr;

/// The CPU, or one CUDA device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Device {
    /// All cores, a single-threaded session on each.
    #[default]
    Cpu,
    /// The CUDA device of this number.
    Cuda(i32),
}

impl FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> Result<Device, String> {
        let wrong = || format!("'{text}' is no device; there are cpu, cuda and cuda:N");
        match text.split_once(':') {
            None if text == "cpu" => Ok(Device::Cpu),
            None if text == "cuda" => Ok(Device::Cuda(0)),
            Some(("cuda", number)) => {
                number.parse().ok().filter(|n| *n >= 0).map(Device::Cuda).ok_or_else(wrong)
            }
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Cpu => f.write_str("cpu"),
            Device::Cuda(number) => write!(f, "cuda:{number}"),
        }
    }
}
