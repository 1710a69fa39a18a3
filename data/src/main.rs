//! `ddae-data`: prepares, describes and shows data sets.

mod cli;

use std::process::ExitCode;

use clap::Parser;
use ddae_data::DataError;

fn main() -> ExitCode {
    ddae_base::begin();
    ddae_base::end(cli::run(cli::Arguments::parse()), DataError::is_usage)
}
