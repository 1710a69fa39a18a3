//! Ctrl-C, SIGTERM and SIGHUP: which of them came, and what is done then.

use std::fs;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// What is done at a signal, given the exit code it stands for.
type Action = Box<dyn FnMut(u8) + Send>;

static ACTION: Mutex<Option<Action>> = Mutex::new(None);
/// The signal that came last; 0 for none.
static RECEIVED: AtomicI32 = AtomicI32::new(0);

/// Listens to Ctrl-C, SIGTERM and SIGHUP from now on, in a thread of its own: a program does so when it begins. Until
/// [`at_signal`] says what is to be done, a signal ends the program with one line on stderr and its [exit code](exit_code).
///
/// A SIGHUP that was ignored when the program began stays so, as `nohup` wants it. Where the system refuses, signals do
/// what they always do.
pub fn listen() {
    let mut wanted = vec![SIGINT, SIGTERM];
    if !is_ignored(SIGHUP) {
        wanted.push(SIGHUP);
    }
    let Ok(mut signals) = Signals::new(wanted) else { return };
    // Where no thread can be had, the signals are taken all the same: nothing ends in the middle of something then, and
    // SIGKILL is left.
    let _ = thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            RECEIVED.store(signal, Ordering::SeqCst);
            match &mut *ACTION.lock().unwrap_or_else(PoisonError::into_inner) {
                Some(action) => action(code_of(signal)),
                None => crate::ending::interrupted("interrupted", code_of(signal)),
            }
        }
    });
}

/// Runs `action` at every signal from now on, in place of what was done before; it is given the exit code that the
/// signal stands for. A process has one such action.
pub fn at_signal(action: impl FnMut(u8) + Send + 'static) {
    *ACTION.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(action));
}

/// The exit code of a program that ends because of a signal, as shells count: 130 after Ctrl-C, 143 after SIGTERM, 129
/// after SIGHUP; none where no signal came.
pub fn exit_code() -> Option<u8> {
    match RECEIVED.load(Ordering::SeqCst) {
        0 => None,
        signal => Some(code_of(signal)),
    }
}

/// Ends the process at once, whatever its other threads do: nothing is run on the way out.
pub fn exit(code: u8) -> ! {
    signal_hook::low_level::exit(code.into())
}

fn code_of(signal: i32) -> u8 {
    u8::try_from(128 + signal).unwrap_or(1)
}

/// Whether this process ignores a signal, by what the system says of it.
fn is_ignored(signal: i32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask >> (signal - 1) & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_the_codes_of_shells() {
        assert_eq!([SIGINT, SIGTERM, SIGHUP].map(code_of), [130, 143, 129]);
    }

    #[test]
    fn what_is_ignored_is_told_from_what_is_not() {
        // Rust's own start ignores SIGPIPE.
        assert!(is_ignored(signal_hook::consts::SIGPIPE));
        assert!(!is_ignored(signal_hook::consts::SIGUSR2));
    }
}
