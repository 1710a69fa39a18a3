//! What the figures were measured on.

use std::fmt;
use std::fs;

/// This machine, as far as Linux tells; what it does not tell is left out.
#[derive(Debug, Default, PartialEq)]
pub struct Machine {
    cores: usize,
    model: Option<String>,
    /// Vector and matrix units that decide the speed.
    units: Vec<&'static str>,
    /// Runnable threads, averaged over the last minute.
    load: Option<f64>,
}

/// Flags of `/proc/cpuinfo` and what they are called.
const UNITS: [(&str, &str); 5] = [
    ("avx2", "AVX2"),
    ("avx512f", "AVX-512"),
    ("avx512_bf16", "AVX-512 BF16"),
    ("amx_bf16", "AMX BF16"),
    ("asimd", "NEON"),
];

impl Machine {
    /// Reads `/proc`.
    pub fn read() -> Machine {
        let text = |path| fs::read_to_string(path).unwrap_or_default();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Machine::parse(cores, &text("/proc/cpuinfo"), &text("/proc/loadavg"))
    }

    fn parse(cores: usize, cpuinfo: &str, loadavg: &str) -> Machine {
        let value = |keys: [&str; 2]| {
            let fields = cpuinfo.lines().filter_map(|line| line.split_once(':'));
            fields
                .map(|(key, value)| (key.trim(), value.trim()))
                .find(|(key, _)| keys.contains(key))
                .map(|f| f.1)
        };
        let flags: Vec<&str> = value(["flags", "Features"]).unwrap_or_default().split(' ').collect();
        Machine {
            cores,
            model: value(["model name", "Model"]).map(str::to_string),
            units: UNITS.iter().filter(|(flag, _)| flags.contains(flag)).map(|(_, name)| *name).collect(),
            load: loadavg.split(' ').next().and_then(|load| load.parse().ok()),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let model = self.model.as_deref().unwrap_or("an unknown processor");
        write!(f, "{} cores of {model}", self.cores)?;
        if !self.units.is_empty() {
            write!(f, " ({})", self.units.join(", "))?;
        }
        if let Some(load) = self.load {
            write!(f, "; load before measuring {load:.1}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_is_read() {
        let cpuinfo = "processor\t: 0\nmodel name\t: A Processor\nflags\t\t: fpu avx2 avx512f amx_bf16\n\n\
                       processor\t: 1\nmodel name\t: A Processor\n";
        let machine = Machine::parse(2, cpuinfo, "0.25 1.00 2.00 1/200 999\n");
        assert_eq!(
            machine.to_string(),
            "2 cores of A Processor (AVX2, AVX-512, AMX BF16); load before measuring 0.2"
        );
    }

    #[test]
    fn a_system_without_proc_is_described_with_what_is_known() {
        assert_eq!(Machine::parse(4, "", "").to_string(), "4 cores of an unknown processor");
    }
}
