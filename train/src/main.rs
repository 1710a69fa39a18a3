//! `ddae-train`: trains denoising diffusion autoencoders.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    ddae_base::begin();
    let arguments = ddae_base::arguments();
    ddae_train::torch::threads::wait_asleep();
    ddae_base::end(cli::run(arguments), cli::is_usage)
}
