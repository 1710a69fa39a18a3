//! `ddae-train diffusion`.

use clap::Args;
use ddae_base::arguments::values::whole;
use ddae_base::{json, shell};
use ddae_model::config::Config;
use ddae_train::TrainError;
use ddae_train::diffusion::DiffusionRun;
use ddae_train::ranks;

use super::run::{Intervals, RunArguments, SheetArguments, ended, print, show, speaks, stopping_on_signal};

const EXAMPLES: &str = "\
Examples:
  ddae-train diffusion --config configs/demo.yaml
  ddae-train diffusion --config configs/DDPM_ddpm.yaml --data-root ~/datasets --amp bf16 --dry-run
  ddae-train diffusion --config configs/demo.yaml --data ~/Images/birds --run runs/birds
  ddae-train diffusion --run runs/demo --resume
  ddae-train diffusion --config configs/demo.yaml --set network.n_channels=128 --run runs/wide
  ddae-train diffusion --config configs/DDPM_ddpm.yaml --device cuda --nproc 4
  torchrun --no-python --nproc-per-node 4 -- ddae-train diffusion --config configs/DDPM_ddpm.yaml

The published configurations are for 4 or 8 devices. Of net_type UNet, lrate and batch_size are
those of one: with 4 ranks, or with --accumulate 4 on one device, a step of DDPM_ddpm.yaml has 512
images, and the learning rate is 4e-4. Of others they are those of all. An epoch ends with a smaller batch of the images that are left, as published;
--set drop_last=True leaves them out.

Every epoch the average of the weights has its loss measured on test images, or on those that
--hold-out keeps from training, with noise that stays the same (validation_loss in stats.jsonl).

The run folder holds config.yaml, log.txt, stats.jsonl (a line per logging interval), checkpoints/,
samples/ and tensorboard/. Ctrl-C ends a run after the step, with a checkpoint.";

/// Train a DDPM or EDM on the images of a data set
///
/// On the CPU, a run that was stopped and resumed (with as many threads) ends with the same weights, bit for bit, as one
/// that was not.
#[derive(Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct Arguments {
    #[command(flatten)]
    run: RunArguments,
    #[command(flatten)]
    sheets: SheetArguments,
    /// Epochs between checkpoints that are kept; 0 keeps the first and the last
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = whole::<u64>(..))]
    save_every: u64,
    /// Epochs between sheets of samples; 0 for one at the end
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = whole::<u64>(..))]
    sample_every: u64,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let Arguments { run, sheets, save_every, sample_every } = arguments;
    let place = run.place()?;
    let place = place.as_ref();
    let mut config = Config::read_with(&run.config()?, &run.overrides()).map_err(TrainError::from)?;
    let intervals = Intervals { save: *save_every, evaluate: *sample_every };
    let options = run.options(&mut config.training, intervals, run.init()?, place)?;
    let (root, opening) = (run.data_root.as_deref(), run.open_options());
    let training = DiffusionRun::new(config.clone(), root, &opening, sheets.sample_steps, run.shares(place))?;
    if run.dry_run {
        return show(&training.plan, &options);
    }
    if let Some(count) = run.to_launch(place) {
        // What is refused was refused once, and not by every rank.
        drop(training);
        return ended(ranks::launch(count)?);
    }
    ddae_base::detail(|| training.plan.describe(options.amp.unwrap_or_default()));
    let summary = training.train(&stopping_on_signal(options))?;
    if !speaks(place) {
        return Ok(());
    }
    let mut out = ddae_base::stdout();
    if run.json {
        return Ok(json::print("ddae.train/1", &summary)?);
    }
    let tap = config.linear.as_ref().map_or("all", |linear| &linear.blockname);
    let features = shell::word(summary.run.join("features.onnx"));
    print(&mut out, &summary, true, |checkpoint| {
        format!("ddae-export {checkpoint} --graph features --taps {tap} -o {features}")
    })?;
    Ok(())
}
