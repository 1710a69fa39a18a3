//! `ddae-train`: trains denoising diffusion autoencoders.

mod cli;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    ddae_base::begin();
    let arguments = cli::Arguments::parse();
    ddae_train::torch::threads::wait_asleep();
    ddae_base::end(cli::run(arguments), cli::is_usage)
}
