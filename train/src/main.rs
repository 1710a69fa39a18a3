//! `ddae-train`: trains denoising diffusion autoencoders.

mod cli;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    ddae_base::begin();
    ddae_base::end(cli::run(cli::Arguments::parse()), cli::is_usage)
}
