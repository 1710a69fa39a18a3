//! How much a program says beside its result: `-q` and `-v`.
//!
//! One choice for the process, made by [`arguments`](crate::arguments()) before anything else is done; libraries never
//! make it.

use std::fmt::Display;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::stderr::tell;

/// How much is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Verbosity {
    /// Errors alone.
    Quiet,
    /// Progress, notes and the next command.
    #[default]
    Usual,
    /// Also what was opened and chosen, and how long it took.
    Verbose,
}

static CHOSEN: AtomicU8 = AtomicU8::new(Verbosity::Usual as u8);

/// Makes the choice for this process.
pub fn set(verbosity: Verbosity) {
    CHOSEN.store(verbosity as u8, Ordering::Relaxed);
}

/// Whether nothing but results and errors is wanted.
pub fn is_quiet() -> bool {
    CHOSEN.load(Ordering::Relaxed) == Verbosity::Quiet as u8
}

/// Whether details are wanted.
pub fn is_verbose() -> bool {
    CHOSEN.load(Ordering::Relaxed) == Verbosity::Verbose as u8
}

/// Writes a line to stderr that `-q` leaves out: a note, a warning, a hint.
pub fn note(line: impl Display) {
    if !is_quiet() {
        tell(line);
    }
}

/// Writes a line to stderr that `-v` asks for; `line` is only called then.
pub fn detail<L: Display>(line: impl FnOnce() -> L) {
    if is_verbose() {
        tell(line());
    }
}
