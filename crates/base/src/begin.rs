//! How a program begins.

use std::sync::OnceLock;
use std::time::Instant;

use nix::sys::signal::{SigSet, Signal};

use crate::stop;

static BEGUN: OnceLock<Instant> = OnceLock::new();

/// Begins a program, before it has threads.
///
/// Writing beyond a limit on the size of files (`ulimit -f`) fails from now on with an error, as on a full disk, where
/// the signal SIGXFSZ would end the program without a word. That signal is held back and not taken, in this thread and
/// all that it starts, so that it never arrives. Ctrl-C, SIGTERM and SIGHUP are [listened to](stop::listen).
pub fn begin() {
    BEGUN.get_or_init(Instant::now);
    let mut limits = SigSet::empty();
    limits.add(Signal::SIGXFSZ);
    // Where this is refused, the signal does what it always does.
    let _ = limits.thread_block();
    stop::listen();
}

/// Seconds since the program began.
pub(crate) fn seconds() -> f64 {
    BEGUN.get_or_init(Instant::now).elapsed().as_secs_f64()
}
