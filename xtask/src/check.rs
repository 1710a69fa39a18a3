//! `cargo xtask test` and `cargo xtask check`.
//!
//! Every step uses the release profile: the native parts are built once, for the demo and the tests alike.

use std::ffi::{OsStr, OsString};

use anyhow::{Context, Result, bail};

use crate::cargo;
use crate::native::Native;
use crate::setup::ensure_setup;

/// One step of `check`.
#[derive(Debug, Clone, Copy)]
struct Step {
    name: &'static str,
    arguments: &'static [&'static str],
    variables: &'static [(&'static str, &'static str)],
    /// What to do when it fails.
    advice: &'static str,
}

const FORMAT: Step = Step {
    name: "format",
    arguments: &["fmt", "--all", "--check"],
    variables: &[],
    advice: "run `cargo fmt --all`",
};

const LINT: Step = Step {
    name: "clippy",
    arguments: &["clippy", "--release", "--workspace", "--all-targets", "--", "-D", "warnings"],
    variables: &[],
    advice: "mend what it names above; `cargo clippy --fix --release --workspace --all-targets` mends some of it",
};

const DOCS: Step = Step {
    name: "docs",
    arguments: &["doc", "--release", "--workspace", "--no-deps"],
    variables: &[("RUSTDOCFLAGS", "-D warnings")],
    advice: "mend the links and comments that it names above",
};

/// Runs the tests of the workspace; `arguments` go to `cargo test`.
///
/// # Errors
/// Fails when the set-up, the build or a test does.
pub fn test(arguments: &[OsString]) -> Result<()> {
    run_tests(&ensure_setup()?, arguments)
}

/// Runs everything that must hold before a commit and stops at the first step that fails.
///
/// # Errors
/// The message names the step and says how to mend it.
pub fn check(with_tests: bool) -> Result<()> {
    let native = ensure_setup()?;
    for step in [FORMAT, LINT, DOCS] {
        run_step(&native, &step)?;
    }
    if with_tests {
        eprintln!("check: test");
        run_tests(&native, &[]).context("check: the step `test` failed")?;
    }
    eprintln!("check: all is well");
    Ok(())
}

fn run_step(native: &Native, step: &Step) -> Result<()> {
    eprintln!("check: {}", step.name);
    let mut command = cargo::command(native);
    command.args(step.arguments).envs(step.variables.iter().copied());
    let status = command.status().context("cannot start cargo")?;
    if !status.success() {
        bail!(
            "check: the step `{}` failed (cargo {}: {}): {}",
            step.name,
            step.arguments.join(" "),
            cargo::ending(status),
            step.advice
        );
    }
    Ok(())
}

fn run_tests(native: &Native, arguments: &[OsString]) -> Result<()> {
    let mut command = cargo::command(native);
    command.args(["test", "--release"]);
    if !names_packages(arguments) {
        command.arg("--workspace");
    }
    let status = command.args(arguments).status().context("cannot start cargo")?;
    if !status.success() {
        bail!(
            "the tests failed ({}): `cargo xtask test NAME -- --nocapture` runs one of them with its output",
            cargo::ending(status)
        );
    }
    Ok(())
}

/// Whether the arguments, up to the `--` before those of the test programs, choose packages themselves.
fn names_packages(arguments: &[OsString]) -> bool {
    arguments.iter().take_while(|word| *word != OsStr::new("--")).any(|word| {
        let word = word.to_string_lossy();
        word.starts_with("-p") || word.starts_with("--package") || word == "--workspace" || word == "--all"
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chosen_packages_replace_the_whole_workspace() {
        let names = |words: &[&str]| names_packages(&words.iter().map(OsString::from).collect::<Vec<_>>());
        assert!(names(&["-p", "ddae-model"]));
        assert!(names(&["-pddae-model", "graph"]));
        assert!(names(&["--package=ddae-model"]));
        assert!(!names(&["graph", "--", "-p"]));
        assert!(!names(&[]));
    }
}
