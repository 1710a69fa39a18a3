//! Lines on stderr: progress, hints, errors.

use std::fmt::Display;
use std::io::{self, Write};

/// Writes a line to stderr. Where it cannot be written, nobody reads it: that ends no program, as `eprintln!` would.
pub fn tell(line: impl Display) {
    let _ = writeln!(io::stderr(), "{line}");
}
