//! Starts cargo and the workspace's programs.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::native::Native;
use crate::repository;

/// A cargo command in the root of the checkout, in the environment that a plain `cargo` of the user has.
pub fn command(native: &Native) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(repository());
    for library in native.managed() {
        command.env_remove(library.variable);
    }
    // `cargo run` describes this package to this process. Build scripts that watch such variables would run again
    // each time the same crate is built now from here and now by hand.
    for (key, _) in env::vars_os() {
        let name = key.to_string_lossy();
        if ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"].iter().any(|prefix| name.starts_with(prefix)) {
            command.env_remove(&key);
        }
    }
    command
}

/// Programs that cargo built, by name.
#[derive(Debug)]
pub struct Programs(Vec<(String, PathBuf)>);

impl Programs {
    /// The programs that users run.
    pub const USERS: [&str; 5] = ["ddae-data", "ddae-train", "ddae-export", "ddae-infer", "ddae-probe"];

    /// Builds the workspace's programs as `cargo build --release` does, and `examples`; cargo's progress goes to the
    /// terminal.
    ///
    /// All packages at once, this one too: dependencies then get the features that `cargo test --workspace` gives
    /// them, and are built once for both.
    pub fn build(native: &Native, examples: &[&str]) -> Result<Self> {
        let output = command(native)
            .args(["build", "--release", "--workspace", "--bins"])
            .args(examples.iter().flat_map(|name| ["--example", name]))
            .arg("--message-format=json-render-diagnostics")
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .context("cannot start cargo")?;
        if !output.status.success() {
            bail!("the programs could not be built ({}): see cargo's messages above", ending(output.status));
        }
        Ok(Self(executables(&String::from_utf8_lossy(&output.stdout))?))
    }

    /// The programs that users run, as they lie in `folder`.
    pub fn in_folder(folder: &Path) -> Result<Self> {
        let find = |name: &str| {
            let path = folder.join(name).canonicalize();
            Ok((name.to_owned(), path.with_context(|| folder.join(name).display().to_string())?))
        };
        Ok(Self(Self::USERS.into_iter().map(find).collect::<Result<_>>()?))
    }

    /// Where the program of this name is.
    pub fn path(&self, name: &str) -> Result<&Path> {
        let found = self.0.iter().find(|(built, _)| built == name);
        found.map(|(_, path)| path.as_path()).with_context(|| format!("cargo built no program {name}"))
    }
}

/// (name, path) of the programs in cargo's JSON messages.
fn executables(messages: &str) -> Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    for line in messages.lines().filter(|line| line.starts_with('{')) {
        let message: Value = serde_json::from_str(line).context("cannot read cargo's messages")?;
        let (name, path) = (message["target"]["name"].as_str(), message["executable"].as_str());
        if let (Some("compiler-artifact"), Some(name), Some(path)) = (message["reason"].as_str(), name, path)
        {
            found.push((name.to_owned(), path.into()));
        }
    }
    Ok(found)
}

/// Runs a program to its end: what it printed on stdout; stderr (progress) goes to the terminal. Fails, naming the
/// command line, when the program cannot be started or ends with another code than 0.
pub fn run(command: &mut Command) -> Result<String> {
    let line = line_of(command);
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start {line}"))?;
    if !output.status.success() {
        bail!("{line}: {}", ending(output.status));
    }
    String::from_utf8(output.stdout).with_context(|| format!("{line}: its output is not UTF-8"))
}

/// The command line as one would type it.
pub fn line_of(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(ddae_base::shell::word).collect::<Vec<_>>().join(" ")
}

/// "exit code 1" or "ended by signal 9".
pub fn ending(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("ended by signal {signal}"),
        (None, None) => status.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::message_of;

    #[test]
    fn programs_are_found_in_cargos_messages() -> Result<()> {
        let messages = concat!(
            "a line of a build script\n",
            r#"{"reason":"compiler-artifact","target":{"name":"ddae_data","kind":["lib"]},"executable":null}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"name":"ddae-data"},"executable":"/t/release/ddae-data"}"#,
            "\n",
            r#"{"reason":"build-finished","success":true}"#,
            "\n"
        );
        assert_eq!(executables(messages)?, [("ddae-data".to_owned(), PathBuf::from("/t/release/ddae-data"))]);
        Ok(())
    }

    #[test]
    fn a_run_returns_the_output_or_names_the_command_that_failed() -> Result<()> {
        assert_eq!(run(Command::new("echo").arg("result"))?, "result\n");
        assert_eq!(message_of(run(Command::new("sh").args(["-c", "exit 3"]))), "sh -c 'exit 3': exit code 3");
        assert!(
            message_of(run(&mut Command::new("/nowhere/tool"))).starts_with("cannot start /nowhere/tool")
        );
        Ok(())
    }
}
