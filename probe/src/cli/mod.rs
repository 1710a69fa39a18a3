//! The commands of `ddae-probe`.

mod attention;
mod compare;
mod contrastive;
mod experiment;
mod files;
mod grid;
mod knn;
mod linear;
mod logistic;
mod mlp;
mod noise_mlp;
mod progress;
mod report;
mod training;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Measures features with simple classifiers and without labels.
#[derive(Debug, Parser)]
#[command(name = "ddae-probe", version, max_term_width = 100)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Logistic(logistic::Arguments),
    Linear(linear::Arguments),
    Mlp(mlp::Arguments),
    Attention(attention::Arguments),
    NoiseMlp(noise_mlp::Arguments),
    Knn(knn::Arguments),
    Grid(Box<grid::Arguments>),
    Contrastive(contrastive::Arguments),
    Compare(compare::Arguments),
    Report(Box<report::Arguments>),
}

/// Runs a command.
pub fn run(arguments: Arguments) -> Result<()> {
    match arguments.command {
        Command::Logistic(arguments) => logistic::run(&arguments),
        Command::Linear(arguments) => linear::run(&arguments),
        Command::Mlp(arguments) => mlp::run(&arguments),
        Command::Attention(arguments) => attention::run(&arguments),
        Command::NoiseMlp(arguments) => noise_mlp::run(&arguments),
        Command::Knn(arguments) => knn::run(&arguments),
        Command::Grid(arguments) => grid::run(&arguments),
        Command::Contrastive(arguments) => contrastive::run(&arguments),
        Command::Compare(arguments) => compare::run(&arguments),
        Command::Report(arguments) => report::run(&arguments),
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
