//! `ddae-export`: checkpoints to ONNX files.

mod cli;

use std::process::ExitCode;

use ddae_export::ExportError;

fn main() -> ExitCode {
    ddae_base::begin();
    ddae_base::end(cli::run(&ddae_base::arguments()), ExportError::is_usage, |_| false)
}
