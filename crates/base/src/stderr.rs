//! Lines on stderr: progress, hints, errors.

use std::fmt::Display;
use std::io::{self, Write};

use crate::text::Plain;

/// Writes a line to stderr. Where it cannot be written, nobody reads it: that ends no program, as `eprintln!` would.
/// Control characters in it are written as escapes, but for those that end lines.
pub fn tell(line: impl Display) {
    let _ = writeln!(Plain::new(io::stderr()), "{line}");
}
