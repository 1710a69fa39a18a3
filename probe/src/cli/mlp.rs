//! `ddae-probe mlp`.

use anyhow::Result;
use clap::Args;
use ddae_base::arguments::values::whole;
use ddae_probe::trained::Layers;

use super::experiment::ExperimentOptions;
use super::training::TrainingOptions;

/// Two layers, trained for some epochs
///
/// A hidden layer with SiLU stands before the linear one, twice as wide as the features: the published head on noised
/// features without its timestep. It is trained as the linear probe is, by the same presets, which are those of linear
/// probes.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  ddae-probe mlp --train train.h5 --test test.h5 --features t11/out_6
  ddae-probe mlp --train train.npz --test test.npz --hidden 512 --seeds 5")]
pub struct Arguments {
    #[command(flatten)]
    options: ExperimentOptions,

    #[command(flatten)]
    training: TrainingOptions,

    /// Width of the hidden layer [default: twice the number of features]
    #[arg(long, value_name = "N", help_heading = "Model", value_parser = whole::<u32>(1..))]
    hidden: Option<u32>,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let hidden = arguments.hidden.map(|hidden| hidden as usize);
    let (probe, views) = arguments.training.probe(Layers::Two { hidden });
    arguments.options.run(|seed| probe.with_seed(seed), views, "linear")
}
