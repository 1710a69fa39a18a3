//! `ddae-data`: prepares, describes and shows data sets.

mod cli;

use std::process::ExitCode;

use ddae_data::DataError;

fn main() -> ExitCode {
    ddae_base::begin();
    ddae_base::end(cli::run(ddae_base::arguments()), DataError::is_usage, DataError::is_interrupted)
}
