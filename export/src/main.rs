//! `ddae-export`: checkpoints to ONNX files.

mod cli;

use std::process::ExitCode;

use clap::Parser;
use ddae_export::ExportError;

fn main() -> ExitCode {
    ddae_base::begin();
    ddae_base::end(cli::run(&cli::Arguments::parse()), ExportError::is_usage)
}
