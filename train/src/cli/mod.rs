//! The commands of `ddae-train`.

mod diffusion;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use ddae_train::TrainError;

/// Trains denoising diffusion autoencoders.
#[derive(Debug, Parser)]
#[command(name = "ddae-train", version, max_term_width = 100)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Diffusion(Box<diffusion::Arguments>),
}

/// Runs a command.
pub fn run(arguments: Arguments) -> anyhow::Result<()> {
    match arguments.command {
        Command::Diffusion(arguments) => diffusion::run(&arguments),
    }
}

/// 2 where the arguments or the configuration make no sense, 1 for everything that fails.
pub fn exit_code(error: &anyhow::Error) -> ExitCode {
    use ddae_data::DataError;
    use ddae_model::config::ConfigError;

    match error.downcast_ref() {
        Some(
            TrainError::Argument(_)
            | TrainError::Config(ConfigError::Invalid { .. })
            | TrainError::Data(DataError::UnknownName { .. } | DataError::Argument(_))
            | TrainError::Sampler(_)
            | TrainError::Graph(_)
            | TrainError::Mismatch { .. },
        ) => ExitCode::from(2),
        _ => ExitCode::FAILURE,
    }
}
