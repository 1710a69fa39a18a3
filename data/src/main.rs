//! `ddae-data`: prepares, describes and shows data sets.

mod cli;

use std::io::ErrorKind;
use std::process::ExitCode;

use clap::Parser;
use ddae_data::DataError;

fn main() -> ExitCode {
    let Err(error) = cli::run(cli::Arguments::parse()) else {
        return ExitCode::SUCCESS;
    };
    // A reader that has seen enough (`| head`) is no failure.
    let of_kind = |kind| {
        error
            .chain()
            .any(|cause| cause.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == kind))
    };
    if of_kind(ErrorKind::BrokenPipe) {
        return ExitCode::SUCCESS;
    }
    eprintln!("error: {error:#}");
    match error.downcast_ref() {
        Some(DataError::UnknownName { .. } | DataError::Argument(_)) => ExitCode::from(2),
        _ => ExitCode::FAILURE,
    }
}
