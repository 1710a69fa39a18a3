//! `ddae-train`: trains denoising diffusion autoencoders.

mod cli;

use std::process::ExitCode;

use ddae_train::TrainError;

fn main() -> ExitCode {
    // Starts the program anew, so that nothing is said before, and no signal is listened to for nothing.
    ddae_train::torch::threads::wait_asleep();
    ddae_base::begin();
    ddae_base::end(cli::run(ddae_base::arguments()), cli::is_usage, TrainError::is_interrupted)
}
