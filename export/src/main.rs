//! `ddae-export`: checkpoints to ONNX files.

mod cli;

use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use clap::Parser;
use ddae_export::ExportError;

fn main() -> ExitCode {
    let Err(error) = cli::run(&cli::Arguments::parse()) else {
        return ExitCode::SUCCESS;
    };
    // A reader that has seen enough (`| head`) is no failure.
    let closed = error.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == ErrorKind::BrokenPipe);
    if closed {
        return ExitCode::SUCCESS;
    }
    // Where nobody reads it, the exit code says it.
    let _ = writeln!(std::io::stderr(), "error: {}", one_line(&error));
    match error.downcast_ref::<ExportError>() {
        Some(error) if error.is_usage() => ExitCode::from(2),
        _ => ExitCode::FAILURE,
    }
}

/// The error and its causes in one line, each text once: most errors quote their cause already.
fn one_line(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |line, cause| match &*line {
        "" => cause,
        _ if line.contains(&cause) => line,
        _ => format!("{line}: {cause}"),
    })
}
