//! The binary `ddae-probe`: results, messages and exit codes.

mod errors;
mod files;
mod help;
mod results;

use std::path::Path;
use std::process::{Command, Output};

/// Runs the binary in `folder`.
fn probe(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ddae-probe"))
        .args(arguments)
        .current_dir(folder)
        .env_remove("COLUMNS")
        .env_remove("DDAE_DATA")
        .output()
        .expect("the binary starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// The JSON object that a successful run prints.
fn report(folder: &Path, arguments: &[&str]) -> serde_json::Value {
    let output = probe(folder, &[arguments, &["--json"]].concat());
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}
