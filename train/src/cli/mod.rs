//! The commands of `ddae-train`.

mod classifier;
mod diffusion;
mod finetune;
mod list;
mod run;
mod soda;
mod table;

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
    Soda(Box<soda::Arguments>),
    Classifier(Box<classifier::Arguments>),
    Finetune(Box<finetune::Arguments>),
    List(list::ListArguments),
    Compare(list::CompareArguments),
}

/// Runs a command.
pub fn run(arguments: Arguments) -> anyhow::Result<()> {
    match arguments.command {
        Command::Diffusion(arguments) => diffusion::run(&arguments),
        Command::Soda(arguments) => soda::run(&arguments),
        Command::Classifier(arguments) => classifier::run(&arguments),
        Command::Finetune(arguments) => finetune::run(&arguments),
        Command::List(arguments) => list::list(&arguments),
        Command::Compare(arguments) => list::compare(&arguments),
    }
}

/// Whether the arguments or the configuration make no sense, rather than that something failed.
pub fn is_usage(error: &TrainError) -> bool {
    use ddae_model::config::ConfigError;

    match error {
        TrainError::Argument(_)
        | TrainError::Config(ConfigError::Invalid { .. })
        | TrainError::Sampler(_)
        | TrainError::Graph(_)
        | TrainError::Mismatch { .. } => true,
        TrainError::Data(error) => error.is_usage(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_says_what_it_wants() {
        assert_eq!(ddae_base::arguments::audit::<Arguments>(), Vec::<String>::new());
    }
}
