//! Signals. At Ctrl-C during set-up the work stops at the next safe point, so that temporary folders are removed on the
//! way out.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, ensure};
use ddae_base::stop;

/// Exit code of a command that a signal ended, as shells report it for Ctrl-C.
pub const EXIT_CODE: u8 = 130;

/// What the user reads then.
pub const MESSAGE: &str = "interrupted: nothing half-written was left, run the command again to go on";

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// Starts to listen for Ctrl-C, SIGTERM and SIGHUP. A second signal ends the process at once.
pub fn listen() {
    stop::at_signal(|code| {
        if REQUESTED.swap(true, Ordering::SeqCst) {
            stop::exit(code);
        }
    });
}

/// Whether a signal came.
pub fn requested() -> bool {
    REQUESTED.load(Ordering::SeqCst)
}

/// Fails once a signal came.
pub fn check() -> Result<()> {
    ensure!(!requested(), MESSAGE);
    Ok(())
}
