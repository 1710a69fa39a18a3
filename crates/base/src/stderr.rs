//! Lines on stderr: progress, hints, errors.

use std::fmt::Display;
use std::io::{self, Write};

use crate::system;
use crate::text::Plain;

/// Writes a line to stderr. Where it cannot be written, nobody reads it: that ends no program, as `eprintln!` would.
/// Control characters in it are written as escapes, but for those that end lines, and the system's errors
/// [in words](system::in_words).
pub fn tell(line: impl Display) {
    let line = system::in_words(&line.to_string());
    let _ = writeln!(Plain::new(io::stderr()), "{line}");
}
