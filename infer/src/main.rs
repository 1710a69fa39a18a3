//! `ddae-infer`: features and images from exported graphs.

mod cli;

use std::process::ExitCode;

use ddae_infer::InferError;

fn main() -> ExitCode {
    ddae_base::begin();
    ddae_base::end(cli::run(&ddae_base::arguments()), InferError::is_usage, InferError::is_interrupted)
}
