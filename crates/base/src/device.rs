//! Devices by the names that options give them.

use std::fmt;
use std::str::FromStr;

/// A device: `cpu`, `cuda:N`, or `cuda` for `cuda:0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceName {
    /// The CPU.
    Cpu,
    /// A GPU, as nvidia-smi counts them.
    Cuda(u16),
}

/// A device, or the choice of one: `auto`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The first GPU, or the CPU where there is none.
    #[default]
    Auto,
    /// This device, or a failure.
    Named(DeviceName),
}

impl DeviceName {
    fn of(text: &str) -> Option<DeviceName> {
        match text.split_once(':') {
            None if text == "cpu" => Some(DeviceName::Cpu),
            None if text == "cuda" => Some(DeviceName::Cuda(0)),
            // Rust's own reader of numbers would take a sign.
            Some(("cuda", number)) if number.bytes().all(|byte| byte.is_ascii_digit()) => {
                number.parse().ok().map(DeviceName::Cuda)
            }
            _ => None,
        }
    }
}

impl FromStr for DeviceName {
    type Err = String;

    fn from_str(text: &str) -> Result<DeviceName, String> {
        DeviceName::of(text).ok_or_else(|| format!("'{text}' is no device; there are cpu, cuda and cuda:N"))
    }
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<DeviceChoice, String> {
        if text == "auto" {
            return Ok(DeviceChoice::Auto);
        }
        let name = DeviceName::of(text).map(DeviceChoice::Named);
        name.ok_or_else(|| format!("'{text}' is no device; there are auto, cpu, cuda and cuda:N"))
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceName::Cpu => f.write_str("cpu"),
            DeviceName::Cuda(number) => write!(f, "cuda:{number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_read_as_they_are_written() {
        for text in ["cpu", "cuda:0", "cuda:3"] {
            let device: DeviceName = text.parse().expect(text);
            assert_eq!(device.to_string(), text);
            assert_eq!(text.parse(), Ok(DeviceChoice::Named(device)));
        }
        assert_eq!("cuda".parse(), Ok(DeviceName::Cuda(0)));
        assert_eq!("auto".parse(), Ok(DeviceChoice::Auto));
    }

    #[test]
    fn what_is_no_device_is_told_what_there_is() {
        for text in ["gpu", "cpu:0", "cuda:", "cuda:-1", "cuda:+1", "cuda:99999999999", "CPU", "", "auto:0"] {
            let wanted = format!("'{text}' is no device; there are cpu, cuda and cuda:N");
            assert_eq!(text.parse::<DeviceName>(), Err(wanted));
            let wanted = format!("'{text}' is no device; there are auto, cpu, cuda and cuda:N");
            assert_eq!(text.parse::<DeviceChoice>(), Err(wanted));
        }
        assert!("auto".parse::<DeviceName>().is_err());
    }
}
