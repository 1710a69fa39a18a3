//! `ddae-probe attention`.

use anyhow::Result;
use clap::Args;
use ddae_base::arguments::values::whole;
use ddae_probe::trained::Layers;

use super::experiment::ExperimentOptions;
use super::training::TrainingOptions;

/// Attention over the places of maps, and a layer: the field's attentive probe
///
/// One learned query looks over all places of a map, with several heads, and a linear layer classifies what it gathers (AIM's
/// probe; a network is measured so where the mean over its map throws away what it knows). It is trained as the linear probe
/// is, by the same presets. Features are maps as they are: of a graph that was exported with --unpooled. Normalisation is of
/// the features of each place.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  ddae-export run --graph features --taps out_6 --unpooled -o maps.onnx
  ddae-infer features maps.onnx --split train --timesteps 11 --dtype f16 -o train
  ddae-infer features maps.onnx --split test --timesteps 11 --dtype f16 -o test
  ddae-probe attention --train train.h5 --test test.h5 --batch-norm on --seeds 3")]
pub struct Arguments {
    #[command(flatten)]
    options: ExperimentOptions,

    #[command(flatten)]
    training: TrainingOptions,

    /// Heads of the attention, which divide the features of a place [default: one for every 64]
    #[arg(long, value_name = "N", help_heading = "Model", value_parser = whole::<u32>(1..))]
    heads: Option<u32>,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let heads = arguments.heads.map(|heads| heads as usize);
    let (probe, views) = arguments.training.probe(Layers::Attention { heads });
    arguments.options.run(|seed| probe.with_seed(seed), views, "linear")
}
