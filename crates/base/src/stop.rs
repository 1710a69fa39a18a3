//! Ending in good order: a flag that long work looks at, and the signals that set it.
//!
//! Only a program listens to signals; libraries are handed a [`Stop`], or the `&AtomicBool` it stands for.

#[cfg(feature = "terminal")]
mod signals;

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

#[cfg(feature = "terminal")]
pub use signals::{at_signal, exit, exit_code, listen};

#[cfg(feature = "terminal")]
use crate::stderr::tell;

/// A request to end, which long work looks at between two steps. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// One that nothing but [`Stop::request`] sets.
    pub fn new() -> Stop {
        Stop::default()
    }

    /// One that Ctrl-C, SIGTERM and SIGHUP set, which is told on stderr with `notice`. A second signal ends the program
    /// at once; a [request](Stop::request) counts as none.
    ///
    /// Where [`listen`] was not called or was refused, a signal ends the program as it always does.
    #[cfg(feature = "terminal")]
    pub fn on_signal(notice: Option<&'static str>) -> Stop {
        let stop = Stop::new();
        let shared = stop.clone();
        let mut has_come = false;
        at_signal(move |code| {
            if std::mem::replace(&mut has_come, true) {
                exit(code);
            }
            shared.request();
            if let Some(notice) = notice {
                tell(format_args!("\n{notice}"));
            }
        });
        stop
    }

    /// Sets it.
    pub fn request(&self) {
        self.store(true, Ordering::SeqCst);
    }

    /// Whether it was set.
    pub fn is_requested(&self) -> bool {
        self.load(Ordering::SeqCst)
    }
}

impl Deref for Stop {
    type Target = AtomicBool;

    fn deref(&self) -> &AtomicBool {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_share_a_request_and_others_do_not() {
        let stop = Stop::new();
        let (clone, other) = (stop.clone(), Stop::new());
        assert!(!clone.is_requested());
        stop.request();
        assert!(clone.is_requested() && !other.is_requested());
        let flag: &AtomicBool = &clone;
        assert!(flag.load(Ordering::Relaxed));
    }
}
