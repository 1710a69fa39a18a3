//! `cargo xtask test` and `cargo xtask check`.
//!
//! Every step uses the release profile: the native parts are built once, for the demo and the tests alike.

use std::ffi::{OsStr, OsString};

use anyhow::{Context, Result, bail};

use crate::cargo;
use crate::native::Native;
use crate::setup::ensure_setup;

/// The steps before the tests: name, arguments of cargo, and what to do when it fails.
const STEPS: [(&str, &[&str], &str); 3] = [
    ("format", &["fmt", "--all", "--check"], "run `cargo fmt --all`"),
    (
        "clippy",
        &["clippy", "--release", "--workspace", "--all-targets", "--", "-D", "warnings"],
        "mend what it names above; `cargo clippy --fix --release --workspace --all-targets` mends some of it",
    ),
    (
        "docs",
        &["doc", "--release", "--workspace", "--no-deps"],
        "mend the links and comments that it names above",
    ),
];

/// Runs the tests of the workspace; `arguments` go to `cargo test`.
pub fn test(arguments: &[OsString]) -> Result<()> {
    run_tests(&ensure_setup()?, arguments)
}

/// Runs everything that must hold before a commit and stops at the first step that fails.
pub fn check(with_tests: bool) -> Result<()> {
    let native = ensure_setup()?;
    for (name, arguments, advice) in STEPS {
        eprintln!("check: {name}");
        let mut command = cargo::command(&native);
        command.args(arguments).env("RUSTDOCFLAGS", "-D warnings");
        let status = command.status().context("cannot start cargo")?;
        if !status.success() {
            let (line, ending) = (arguments.join(" "), cargo::ending(status));
            bail!("check: the step `{name}` failed (cargo {line}: {ending}): {advice}");
        }
    }
    if with_tests {
        eprintln!("check: test");
        run_tests(&native, &[]).context("check: the step `test` failed")?;
    }
    eprintln!("check: all is well");
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
