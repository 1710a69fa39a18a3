//! `ddae-probe noise-mlp`.

use std::io::Write;

use anyhow::Result;
use clap::Args;
use ddae_base::arguments::values::{above, real, whole};
use ddae_base::json;
use ddae_probe::ProbeError;
use ddae_probe::noise::NoiseProbe;

use super::experiment::NormaliseArgument;
use super::files::FileOptions;
use super::progress::Shown;

/// The published noise-conditional head: a layer's features at many timesteps, and the accuracy at each
///
/// One head of two layers sees the features of all timesteps, with an embedding of the timestep added to them. Each epoch
/// draws a timestep and a view of each training sample, among those that the file has; the published head draws among all of the
/// process. The number of features is a multiple of 8, at least 16.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  ddae-infer features model.onnx --split train --timesteps 1:951:50 --views 4 -o train
  ddae-infer features model.onnx --split test --timesteps 1:951:50 -o test
  ddae-probe noise-mlp --train train.h5 --test test.h5 --tap out_6")]
pub struct Arguments {
    #[command(flatten)]
    source: FileOptions,

    /// The layer [default: the only one of the files]
    #[arg(long, value_name = "NAME")]
    tap: Option<String>,

    /// Passes over the training set
    #[arg(long, value_name = "N", default_value_t = 15, value_parser = whole::<u32>(1..), help_heading = "Model")]
    epochs: u32,

    /// Adam's learning rate in the first epoch
    #[arg(long, value_name = "RATE", default_value_t = 0.001, value_parser = real(above(0.0)), help_heading = "Model")]
    lr: f64,

    /// Rows in a step
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = whole::<u32>(1..), help_heading = "Model")]
    batch: u32,

    /// What is done to features first
    #[arg(long, value_enum, default_value_t = NormaliseArgument::None, help_heading = "Model")]
    normalise: NormaliseArgument,

    /// Seed of initial weights, order, timesteps and views
    #[arg(long, default_value_t = 0, value_parser = whole::<u64>(..), help_heading = "Model")]
    seed: u64,

    /// Print the result as JSON in place of the table; accuracies between 0 and 1
    #[arg(long, help_heading = "Output")]
    json: bool,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let source = arguments.source.open()?;
    if source.is_foreign() || arguments.source.pixels.is_some() {
        let reason = "a noise-conditional head wants feature files of ddae-infer, which say the timestep of their features";
        return Err(ProbeError::Usage(reason.to_string()).into());
    }
    let mut probe = NoiseProbe { tap: arguments.tap.clone(), ..NoiseProbe::published() };
    probe.options.epochs = arguments.epochs as usize;
    probe.options.learning_rate = arguments.lr;
    probe.options.batch = arguments.batch as usize;
    probe.options.normalisation = arguments.normalise.into();
    probe.options.seed = arguments.seed;
    let mut progress = Shown::default();
    let report = probe.run(&source, &mut progress)?;
    drop(progress);
    let mut out = ddae_base::stdout();
    if arguments.json {
        json::print("ddae.noise_probe/1", &report)?;
    } else {
        write!(out, "{report}")?;
    }
    Ok(out.flush()?)
}
