//! `ddae-probe linear`.

use anyhow::Result;
use clap::Args;
use ddae_probe::trained::Layers;

use super::experiment::ExperimentOptions;
use super::training::TrainingOptions;

/// The published linear probe: one layer, trained for some epochs
///
/// A linear layer is trained with cross-entropy and Adam, the learning rate falling to 0 along a cosine, epoch by epoch;
/// it begins with PyTorch's default weights, drawn by --seed. Presets are the published protocols, and single options
/// replace parts of them. The heads of several features are trained side by side, each with the rows of one epoch in
/// memory. `logistic` finds the minimum instead, which depends on no seed.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  ddae-probe linear --train train.h5 --test test.h5 --features t11/out_6
  ddae-probe linear --train codes.h5 --test test.h5 --preset soda
  ddae-probe linear --train train.h5 --test test.h5 --features t11/out_6 --seeds 5
  ddae-probe linear --train repa.h5 --test test.h5 --batch-norm on --epochs 90 --batch 16384
  ddae-probe linear --train dit.h5 --test test.h5 --preset dit --seed 1 --json")]
pub struct Arguments {
    #[command(flatten)]
    options: ExperimentOptions,

    #[command(flatten)]
    training: TrainingOptions,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let (probe, views) = arguments.training.probe(Layers::One);
    arguments.options.run(|seed| probe.with_seed(seed), views, "knn")
}
