//! Ctrl-C, SIGTERM and SIGHUP end a run in good order: after the step, with a checkpoint.

use std::sync::atomic::{AtomicBool, Ordering};

use ddae_base::tell;

static ASKED: AtomicBool = AtomicBool::new(false);

/// From now on a first signal sets [`asked`], and a second one ends the program at once with exit code 1.
///
/// Where the system refuses handlers, a signal ends the program as it always does.
pub fn watch() {
    let handler = || {
        if ASKED.swap(true, Ordering::SeqCst) {
            std::process::exit(1);
        }
        tell("\nstopping after this step (again to stop at once, without a checkpoint)");
    };
    // The only errors are a second handler and a system without signals; both leave signals as they were.
    let _ = ctrlc::set_handler(handler);
}

/// Whether a signal came.
pub fn asked() -> bool {
    ASKED.load(Ordering::SeqCst)
}
