//! `ddae-probe`: measures features with simple classifiers and without labels.

mod cli;

use std::process::ExitCode;

use ddae_probe::ProbeError;

fn main() -> ExitCode {
    ddae_base::begin();
    ddae_base::end(cli::run(ddae_base::arguments()), ProbeError::is_usage, ProbeError::is_interrupted)
}
