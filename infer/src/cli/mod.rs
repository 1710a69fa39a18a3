//! The commands of `ddae-infer`.

mod convert;
mod features;
mod fid;
mod inspect;
mod merge;
mod progress;
mod reconstruct;
mod running;
mod sample;
mod seeds;
mod sheets;
mod split;
mod summary;

use clap::{Parser, Subcommand};
use ddae_base::Stop;

const EXAMPLES: &str = "\
Examples:
  ddae-infer features features.onnx --split train --timesteps 11,21 -o train
  ddae-infer features features.onnx --split test --timesteps 11,21 -o test
  ddae-infer sample sampler.onnx --seeds 0-63 -o images --sheet images.png
  ddae-infer fid cifar10 images --inception inception.onnx
  ddae-infer reconstruct cat.png --encoder encoder.onnx --sampler sampler.onnx -o cats.png
  ddae-infer features features.onnx --shard 0/4 -o shared/train  # 0/4 to 3/4 on four machines";

/// Extracts features and draws images with graphs written by ddae-export.
#[derive(Debug, Parser)]
#[command(name = "ddae-infer", version, max_term_width = 100, after_help = EXAMPLES)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Features(features::Arguments),
    Merge(merge::Arguments),
    Inspect(inspect::Arguments),
    Convert(convert::Arguments),
    Sample(sample::Arguments),
    Reconstruct(reconstruct::Arguments),
    Fid(fid::Arguments),
}

/// Runs a command.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    match &arguments.command {
        Command::Features(arguments) => features::run(arguments),
        Command::Merge(arguments) => merge::run(arguments),
        Command::Inspect(arguments) => inspect::run(arguments),
        Command::Convert(arguments) => convert::run(arguments),
        Command::Sample(arguments) => sample::run(arguments),
        Command::Reconstruct(arguments) => reconstruct::run(arguments),
        Command::Fid(arguments) => fid::run(arguments),
    }
}

/// What Ctrl-C and SIGTERM ask for.
fn stop_on_signal() -> Stop {
    Stop::on_signal(Some("stopping (again to stop at once)"))
}
