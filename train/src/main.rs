//! `ddae-train`: trains denoising diffusion autoencoders.

mod cli;

use std::io::ErrorKind;
use std::process::ExitCode;

use clap::Parser;
use ddae_train::run::progress::say;

fn main() -> ExitCode {
    let Err(error) = cli::run(cli::Arguments::parse()) else {
        return ExitCode::SUCCESS;
    };
    // A reader that has seen enough (`| head`) is no failure.
    let closed = error.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == ErrorKind::BrokenPipe);
    if closed {
        return ExitCode::SUCCESS;
    }
    // Every error's text has its cause in it.
    say(&format!("error: {error}"));
    cli::exit_code(&error)
}
