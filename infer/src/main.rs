//! `ddae-infer`: features and pictures from exported graphs.

mod cli;

use std::io::ErrorKind;
use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let Err(error) = cli::run(cli::Arguments::parse()) else {
        return ExitCode::SUCCESS;
    };
    // A reader that has seen enough (`| head`) is no failure.
    let io_errors = error.chain().filter_map(|cause| cause.downcast_ref::<std::io::Error>());
    if io_errors.map(std::io::Error::kind).any(|kind| kind == ErrorKind::BrokenPipe) {
        return ExitCode::SUCCESS;
    }
    eprintln!("error: {error:#}");
    if error.downcast_ref::<cli::Usage>().is_some() { ExitCode::from(2) } else { ExitCode::FAILURE }
}
