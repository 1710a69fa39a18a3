//! `ddae-train`: trains denoising diffusion autoencoders.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    ddae_base::end(cli::run(ddae_base::arguments()), cli::is_usage)
}
