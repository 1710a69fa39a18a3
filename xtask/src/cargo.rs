//! Starts cargo and the workspace's programs.

use std::env;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

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

/// The programs of the workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries {
    /// `ddae-data`
    pub data: PathBuf,
    /// `ddae-train`
    pub train: PathBuf,
    /// `ddae-export`
    pub export: PathBuf,
    /// `ddae-infer`
    pub infer: PathBuf,
    /// `ddae-probe`
    pub probe: PathBuf,
}

impl Binaries {
    /// All of them.
    pub fn paths(&self) -> [&PathBuf; 5] {
        [&self.data, &self.train, &self.export, &self.infer, &self.probe]
    }
}

/// Builds the programs as `cargo build --release` does; cargo's progress goes to the terminal.
///
/// # Errors
/// Fails when the build does.
pub fn build_binaries(native: &Native) -> Result<Binaries> {
    // All packages at once, this one too: dependencies then get the features that `cargo test --workspace` gives
    // them, and are built once for both.
    let built = build(native, "programs", &["--workspace", "--bins"])?;
    Ok(Binaries {
        data: built.path("ddae-data")?,
        train: built.path("ddae-train")?,
        export: built.path("ddae-export")?,
        infer: built.path("ddae-infer")?,
        probe: built.path("ddae-probe")?,
    })
}

/// Programs that cargo built, by name.
#[derive(Debug)]
pub struct Built(Vec<(String, PathBuf)>);

impl Built {
    /// Where the program of this name is.
    ///
    /// # Errors
    /// When it was not built.
    pub fn path(&self, name: &str) -> Result<PathBuf> {
        let found = self.0.iter().find(|(built, _)| built == name);
        found.map(|(_, path)| path.clone()).with_context(|| format!("cargo built no program {name}"))
    }
}

/// Runs `cargo build --release` with `arguments`; `what` names the result in an error.
///
/// # Errors
/// Fails when the build does.
pub fn build(native: &Native, what: &str, arguments: &[&str]) -> Result<Built> {
    let output = command(native)
        .args(["build", "--release"])
        .args(arguments)
        .arg("--message-format=json-render-diagnostics")
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start cargo")?;
    if !output.status.success() {
        bail!("the {what} could not be built ({}): see cargo's messages above", ending(output.status));
    }
    Ok(Built(executables(&String::from_utf8_lossy(&output.stdout))?))
}

/// (name, path) of the programs in cargo's JSON messages.
fn executables(messages: &str) -> Result<Vec<(String, PathBuf)>> {
    #[derive(Deserialize)]
    struct Message {
        reason: String,
        target: Option<Target>,
        executable: Option<PathBuf>,
    }
    #[derive(Deserialize)]
    struct Target {
        name: String,
    }
    let mut found = Vec::new();
    for line in messages.lines().filter(|line| line.starts_with('{')) {
        let message: Message = serde_json::from_str(line).context("cannot read cargo's messages")?;
        if let ("compiler-artifact", Some(target), Some(path)) =
            (message.reason.as_str(), message.target, message.executable)
        {
            found.push((target.name, path));
        }
    }
    Ok(found)
}

/// What a program printed on stdout, and how long it ran.
#[derive(Debug, Clone)]
pub struct Captured {
    /// Standard output.
    pub stdout: String,
    /// Wall-clock time.
    pub elapsed: Duration,
}

/// Runs a program to its end: stdout is captured, stderr (progress) goes to the terminal.
///
/// # Errors
/// Fails when the program cannot be started or ends with another code than 0; the message names the command line.
pub fn run(command: &mut Command) -> Result<Captured> {
    let start = Instant::now();
    let line = line_of(command);
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start {line}"))?;
    if !output.status.success() {
        bail!("{line}: {}", ending(output.status));
    }
    let stdout =
        String::from_utf8(output.stdout).with_context(|| format!("{line}: its output is not UTF-8"))?;
    Ok(Captured { stdout, elapsed: start.elapsed() })
}

/// The command line as one would type it, without quoting.
pub fn line_of(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
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
        assert_eq!(run(Command::new("echo").arg("result"))?.stdout, "result\n");
        assert_eq!(message_of(run(Command::new("sh").args(["-c", "exit 3"]))), "sh -c exit 3: exit code 3");
        assert!(
            message_of(run(&mut Command::new("/nowhere/tool"))).starts_with("cannot start /nowhere/tool")
        );
        Ok(())
    }
}
