//! `ddae-probe`: measures features with simple classifiers.

mod cli;

use std::io::ErrorKind;
use std::process::ExitCode;

use clap::Parser;
use ddae_data::DataError;
use ddae_probe::ProbeError;

fn main() -> ExitCode {
    let Err(error) = cli::run(cli::Arguments::parse()) else {
        return ExitCode::SUCCESS;
    };
    // A reader that has seen enough (`| head`) is no failure.
    let broken_pipe = error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|error| error.kind() == ErrorKind::BrokenPipe);
    if broken_pipe {
        return ExitCode::SUCCESS;
    }
    eprintln!("error: {}", one_line(&error));
    match error.downcast_ref() {
        Some(
            ProbeError::FeatureSyntax { .. }
            | ProbeError::Data(DataError::UnknownName { .. } | DataError::Argument(_)),
        ) => ExitCode::from(2),
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
