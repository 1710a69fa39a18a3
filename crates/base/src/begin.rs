//! How a program begins.

use nix::sys::signal::{SigSet, Signal};

/// Begins a program, before it has threads: writing beyond a limit on the size of files (`ulimit -f`) fails from now on
/// with an error, as on a full disk, where the signal SIGXFSZ would end the program without a word.
///
/// The signal is held back and not taken, in this thread and all that it starts, so that it never arrives.
pub fn begin() {
    let mut limits = SigSet::empty();
    limits.add(Signal::SIGXFSZ);
    // Where this is refused, the signal does what it always does.
    let _ = limits.thread_block();
}
