//! The commands of `ddae-infer`.

mod broken;
mod convert;
mod features;
mod fid;
mod inspect;
mod merge;
mod progress;
mod reconstruct;
mod sample;
mod several;
mod shard;
mod sheets;
mod split;
mod summary;

use clap::{Parser, Subcommand};
use ddae_base::{Stop, stop};

const EXAMPLES: &str = "\
Examples:
  ddae-infer features features.onnx --split train --timesteps 11,21 -o train
  ddae-infer features features.onnx --split test --timesteps 11,21 -o test
  ddae-infer sample sampler.onnx --seeds 0-63 -o images --sheet images.png
  ddae-infer fid cifar10 images --inception inception.onnx
  ddae-infer features features.onnx --device cuda:all -o train  # on every GPU of this machine
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

/// What is to be said of DDIM where the network is called more often than there are steps: it takes every k-th timestep,
/// with k rounded down, as published.
fn calls_note(sampler: &str, steps: usize, calls: usize) -> Option<String> {
    (sampler == "ddim" && calls != steps).then(|| {
        format!(
            "note: --steps {steps} takes {calls} network calls for each image: as published, DDIM takes every k-th timestep, \
             with the number of timesteps over --steps rounded down for k; a number that divides it is taken as it is"
        )
    })
}

/// What is told at the first signal.
const STOPPING: &str = "stopping (again to stop at once)";

/// What Ctrl-C and SIGTERM ask for, and have asked for while others listened.
fn stop_on_signal() -> Stop {
    let stop = Stop::on_signal(Some(STOPPING));
    if stop::exit_code().is_some() {
        stop.request();
    }
    stop
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_says_what_it_wants() {
        assert_eq!(ddae_base::arguments::audit::<Arguments>(), Vec::<String>::new());
    }

    #[test]
    fn more_calls_than_steps_are_told() {
        assert_eq!((calls_note("ddim", 100, 100), calls_note("edm", 18, 35)), (None, None));
        let note = calls_note("ddim", 600, 1000).expect("a note");
        assert!(note.starts_with("note: --steps 600 takes 1000 network calls for each image"), "{note}");
    }
}
