//! How a grid shows its progress, and how it ends when it is asked to.

use std::fs;
use std::path::PathBuf;

use ddae_base::{Stop, ending, stop};
use ddae_probe::experiment::Progress;

use crate::cli::progress::Shown;

/// The exit code of a job that was stopped without a signal that is known.
const CTRL_C: u8 = 130;

/// Shows how far the work is, and ends the process where that was asked for while heads are trained: nothing is being written
/// then.
pub(super) struct Watched {
    pub(super) shown: Shown,
    pub(super) stop: Stop,
    pub(super) lock: PathBuf,
    /// What is said then.
    pub(super) interrupted: &'static str,
}

impl Progress for Watched {
    fn begin(&mut self, what: &str, total: Option<u64>) {
        self.shown.begin(what, total);
    }

    fn advance(&mut self, by: u64) {
        if self.stop.is_requested() {
            let _ = fs::remove_file(&self.lock);
            ending::interrupted(self.interrupted, stop::exit_code().unwrap_or(CTRL_C));
        }
        self.shown.advance(by);
    }
}
