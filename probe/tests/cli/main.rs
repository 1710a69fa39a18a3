//! The binary `ddae-probe`: results, messages and exit codes.

mod contrastive;
mod errors;
mod files;
mod help;
mod linear;
mod provenance;
mod results;

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{PoisonError, RwLock};

/// Held while a feature file is written, and alone while a process starts: HDF5's files and their locks are inherited by
/// a process that starts in the meantime, and stay locked until it ends.
static FILES: RwLock<()> = RwLock::new(());

/// Runs the binary in `folder`.
fn probe(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ddae-probe"));
    command.args(arguments).current_dir(folder).env_remove("COLUMNS").env_remove("DDAE_DATA");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let nobody_writes = FILES.write().unwrap_or_else(PoisonError::into_inner);
    let process = command.spawn().expect("the binary starts");
    drop(nobody_writes);
    process.wait_with_output().expect("the binary ends")
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
