//! Which program made something, how it was called, and on which machine.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::Path;

use serde::Serialize;

use crate::shell;

/// What it takes to make a number again, beside the files that the command names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MadeBy {
    /// The program and its version.
    pub tool: String,
    /// The command line, as it is typed into a shell; names of files are those of the folder it ran in.
    pub command: String,
    /// Cores and kind of the processor, system and architecture.
    pub machine: String,
}

impl MadeBy {
    /// This process.
    pub fn this() -> MadeBy {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        MadeBy::of(&env::args_os().collect::<Vec<_>>(), cores, &cpuinfo)
    }

    fn of(arguments: &[OsString], cores: usize, cpuinfo: &str) -> MadeBy {
        let program = arguments.first().and_then(|path| Path::new(path).file_name()).unwrap_or_default();
        let words = arguments.iter().skip(1).map(shell::word);
        let command: Vec<String> = [shell::word(program)].into_iter().chain(words).collect();
        let fields = cpuinfo.lines().filter_map(|line| line.split_once(':'));
        let mut models = fields.filter(|(key, _)| ["model name", "Model"].contains(&key.trim()));
        let model = models.next().map_or("an unknown processor", |(_, model)| model.trim());
        let cores = if cores == 1 { "1 core".to_string() } else { format!("{cores} cores") };
        MadeBy {
            tool: format!("{} {}", program.to_string_lossy(), env!("CARGO_PKG_VERSION")),
            command: command.join(" "),
            machine: format!("{cores} of {model}, {} {}", env::consts::OS, env::consts::ARCH),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_can_be_typed_again() {
        let arguments = ["/opt/bin/ddae-probe", "knn", "--train", "my file.h5"].map(OsString::from);
        let made_by =
            MadeBy::of(&arguments, 2, "processor\t: 0\nmodel name\t: A CPU @ 2 GHz\nmodel name\t: other\n");
        assert_eq!(made_by.tool, concat!("ddae-probe ", env!("CARGO_PKG_VERSION")));
        assert_eq!(made_by.command, "ddae-probe knn --train 'my file.h5'");
        let (system, architecture) = (env::consts::OS, env::consts::ARCH);
        assert_eq!(made_by.machine, format!("2 cores of A CPU @ 2 GHz, {system} {architecture}"));
        assert!(MadeBy::of(&[], 1, "").machine.starts_with("1 core of an unknown processor, "));
    }
}
