//! The binary `ddae-probe`: results, messages and exit codes.

mod attention;
mod contrastive;
mod errors;
mod files;
mod foreign;
mod heads;
mod help;
mod linear;
mod mlp;
mod noise_mlp;
mod noise_seeds;
mod numbers;
mod predictions;
mod provenance;
mod report;
mod results;

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{PoisonError, RwLock};

use ddae_tests::programs::{Ended, Running};
use ddae_tests::refusals::refused;

/// Held while a feature file is written, and alone while a process starts: HDF5's files and their locks are inherited by
/// a process that starts in the meantime, and stay locked until it ends.
static FILES: RwLock<()> = RwLock::new(());

/// Runs the binary in `folder`.
fn probe(folder: &Path, arguments: &[&str]) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ddae-probe"));
    command.args(arguments).current_dir(folder).env_remove("COLUMNS").env_remove("DDAE_DATA");
    let nobody_writes = FILES.write().unwrap_or_else(PoisonError::into_inner);
    let running = Running::start(command.stdin(Stdio::null()));
    drop(nobody_writes);
    running.wait()
}

/// Command lines that fail ([`refused`]).
#[track_caller]
fn refuses<L: AsRef<str>, W: AsRef<str>>(folder: &Path, cases: impl IntoIterator<Item = (i32, L, W)>) {
    refused(folder, |line| probe(folder, &line.split_whitespace().collect::<Vec<_>>()), cases);
}

/// The JSON object that a successful run prints.
fn report(folder: &Path, arguments: &[&str]) -> serde_json::Value {
    probe(folder, &[arguments, &["--json"]].concat()).json()
}
