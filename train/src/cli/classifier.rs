//! `ddae-train classifier`.

use clap::Args;
use ddae_base::arguments::values::whole;
use ddae_base::{json, shell};
use ddae_model::config::ClassifierRun;
use ddae_model::networks::Classifier;
use ddae_train::TrainError;
use ddae_train::classifier::ClassifierTraining;
use ddae_train::ranks;
use ddae_train::ranks::Place;
use ddae_train::training::Init;

use super::run::{Intervals, RunArguments, ended, print, show, speaks, stopping_on_signal};

const EXAMPLES: &str = "\
Examples:
  ddae-train classifier --config configs/classifier_demo.yaml
  ddae-train classifier --config configs/WRN_vp.yaml --data-root ~/datasets --amp bf16 --dry-run
  ddae-train classifier --config configs/WRN_ve.yaml --device cuda --nproc 4
  ddae-train classifier --run runs/classifier_demo --resume
  ddae-train classifier --config configs/classifier_demo.yaml --set network.channel_multiplier=4 \\
      --run runs/wide

model_type says how images are noised: DDPM (variance preserving, the timestep drawn among all of
them) or EDM (variance exploding, ln sigma normal with p_mean and p_std). Every epoch the test
images, or those that --hold-out keeps from training, are classified at noise levels spread evenly
over those of training (accuracy in stats.jsonl), and every --timesteps-every epochs and at the end
at timesteps 1, 51, ..., 951 of a DDPM of 1,000 and at all 18 steps of an EDM's grid (by_timestep).

With several ranks batch_size is that of each, and lrate stays what it is, as published. Ctrl-C ends a run after the step, with a checkpoint.";

/// Train a classifier of noised images: a noise-conditional WideResNet
///
/// On the CPU, a run that was stopped and resumed (with as many threads) ends with the same weights, bit for bit, as one
/// that was not.
#[derive(Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct Arguments {
    #[command(flatten)]
    run: RunArguments,
    #[command(flatten)]
    measuring: Measuring,
}

/// When a classifier is saved and measured.
#[derive(Args, Debug)]
pub struct Measuring {
    /// Epochs between checkpoints that are kept; 0 keeps the first and the last
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = whole::<u64>(..))]
    save_every: u64,
    /// Epochs between accuracies on test images; 0 for those before training and at the end
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = whole::<u64>(..))]
    evaluate_every: u64,
    /// Epochs between accuracies by timestep, which cost twenty times as much; 0 for those at the end. Not with network.timestep,
    /// where there is one [default: 50]
    #[arg(long, value_name = "N", value_parser = whole::<u64>(..))]
    timesteps_every: Option<u64>,
}

/// Epochs between accuracies by timestep unless another number is asked for.
const TIMESTEPS_EVERY: u64 = 50;

/// Runs the command.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let Arguments { run, measuring } = arguments;
    let place = run.place()?;
    let config = ClassifierRun::read_with(&run.config()?, &run.overrides()).map_err(TrainError::from)?;
    if config.network.fine_tuned().is_some() {
        let message =
            "the configuration is of fine-tuning (net_type: FineTuned): `ddae-train finetune` trains it";
        return Err(TrainError::Argument(message.to_string()).into());
    }
    train(run, measuring, config, run.init()?, place.as_ref())
}

/// Trains a classifier as options and configuration say, from the weights of `init` if there are any.
pub(super) fn train(
    run: &RunArguments,
    measuring: &Measuring,
    mut config: ClassifierRun,
    init: Option<Init>,
    place: Option<&Place>,
) -> anyhow::Result<()> {
    let intervals = Intervals { save: measuring.save_every, evaluate: measuring.evaluate_every };
    let options = run.options(&mut config.training, intervals, init, place)?;
    let timestep = config.network.classifier().ok().and_then(Classifier::timestep);
    if let (Some(every), Some(timestep)) = (measuring.timesteps_every, timestep) {
        return Err(TrainError::Argument(format!(
            "--timesteps-every is {every}, and images are noised to timestep {timestep} alone (network.timestep): leave it out"
        ))
        .into());
    }
    let every = measuring.timesteps_every.unwrap_or(TIMESTEPS_EVERY);
    let (root, opening) = (run.data_root.as_deref(), run.open_options());
    let training = ClassifierTraining::new(config, root, &opening, every, run.shares(place))?;
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
    let file = shell::word(summary.run.join("classifier.onnx"));
    print(&mut out, &summary, false, |checkpoint| {
        format!("ddae-export {checkpoint} --graph classifier -o {file}")
    })?;
    Ok(())
}
