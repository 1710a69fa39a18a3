//! `ddae-train`: trains denoising diffusion autoencoders.

mod cli;

use std::process::ExitCode;

use ddae_train::TrainError;

fn main() -> ExitCode {
    ddae_base::begin();
    // Starts the program anew, so that nothing is said before.
    ddae_train::torch::threads::wait_asleep();
    ddae_base::end(cli::run(ddae_base::arguments()), cli::is_usage, TrainError::is_interrupted)
}
