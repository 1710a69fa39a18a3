//! For the tests of this crate.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, ensure};

/// Writes an executable shell script. Another process does it: were it open for writing here, a child that another
/// test starts at that moment would hold it open too, and running it would fail with "text file busy".
pub fn write_program(path: &Path, body: &str) -> Result<()> {
    let mut shell = Command::new("sh")
        .args(["-c", "cat > \"$0\" && chmod 755 \"$0\""])
        .arg(path)
        .stdin(Stdio::piped())
        .spawn()?;
    if let Some(mut input) = shell.stdin.take() {
        write!(input, "#!/bin/sh\n{body}\n")?;
    }
    ensure!(shell.wait()?.success(), "cannot write {}", path.display());
    Ok(())
}

/// The full text of an error.
pub fn message_of<T>(outcome: Result<T>) -> String {
    outcome.err().map_or_else(|| String::from("no error"), |error| format!("{error:#}"))
}
