//! `ddae-train soda`.

use clap::Args;
use ddae_base::{json, shell};
use ddae_model::config::SodaRun;
use ddae_train::TrainError;
use ddae_train::ranks;
use ddae_train::soda::SodaTraining;

use super::run::{Intervals, RunArguments, SheetArguments, ended, print, show, speaks, stopping_on_signal};

const EXAMPLES: &str = "\
Examples:
  ddae-train soda --config configs/soda_demo.yaml
  ddae-train soda --config configs/soda_cifar10.yaml --data-root ~/datasets --amp bf16 --dry-run
  ddae-train soda --run runs/soda_demo --resume
  ddae-train soda --config configs/soda_demo.yaml --set augment_target=False --run runs/reconstruct
  ddae-train soda --config configs/soda_cifar10.yaml --set decoder.z_parts=4 \\
      --set diffusion.layer_mask_prob=0.1 --set diffusion.betas=inverted

Every save_per epochs (a key of the configuration), a checkpoint is kept, the average of the
weights is measured by k-NN, the published linear probe and a logistic regression on its latents
(lines of stats.jsonl with knn_accuracy, linear_accuracy and logistic_accuracy), and samples/ gets
a sheet of sources, targets and reconstructions. Classes are used for that alone. The latents of
the training images classify those of the test images: for choosing an epoch or a setting, hold
images out instead (--hold-out 0.1), which are classified then. Every epoch the average has its
loss measured on the same images, with views and noise that stay the same (validation_loss).

The published configurations are for 4 or 8 devices; lrate and batch_size are those of one. --nproc
4 trains on 4 GPUs of this machine, with batch norms over the images of all; torchrun, srun and
Kubernetes start ranks as well. An epoch ends with a smaller batch of the images that are left, as published; --set drop_last=True
leaves them out.
Ctrl-C ends a run after the step, with a checkpoint.";

/// Train a SODA on the images of a data set: an encoder that guides a denoising decoder
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
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let Arguments { run, sheets } = arguments;
    let place = run.place()?;
    let place = place.as_ref();
    let mut config = SodaRun::read_with(&run.config()?, &run.overrides()).map_err(TrainError::from)?;
    let intervals = Intervals { save: config.save_per, evaluate: config.save_per };
    let options = run.options(&mut config.training, intervals, run.init()?, place)?;
    if let Some(threads) = options.threads {
        // The pool of k-NN and probe; this is the first use of it, so there is no other.
        rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()?;
    }
    let (root, opening) = (run.data_root.as_deref(), run.open_options());
    let training = SodaTraining::new(config, root, &opening, sheets.sample_steps, run.shares(place))?;
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
    let encoder = shell::word(summary.run.join("encoder.onnx"));
    print(&mut out, &summary, true, |checkpoint| {
        format!("ddae-export {checkpoint} --graph encoder -o {encoder}")
    })?;
    Ok(())
}
