//! `ddae-train finetune`.

use std::path::Path;

use clap::Args;
use ddae_checkpoint::Checkpoint;
use ddae_model::config::{ClassifierRun, Config};
use ddae_train::TrainError;
use ddae_train::training::Init;

use super::classifier::{Measuring, train};
use super::run::RunArguments;

const EXAMPLES: &str = "\
Examples:
  ddae-train finetune --config configs/finetune_demo.yaml --init runs/demo
  ddae-train finetune --config configs/finetune_demo.yaml --init runs/demo \\
      --set network.layer=out_3 --set network.timestep=21 --set layer_decay=1 --run runs/out_3
  ddae-train finetune --config configs/finetune_demo.yaml --init runs/demo \\
      --set network.denoiser.network.dropout=0.1 --run runs/dropout
  ddae-train finetune --config configs/finetune_DDPM_ddpm.yaml --init checkpoint.pth --amp bf16
  ddae-train finetune --run runs/finetune_demo --resume

The denoiser of --init, a run, a checkpoint of ours or a published one, is cut after network.layer;
the layer's mean over the image goes into a linear head, and all of it is trained on labels. Images
are noised to network.timestep as they are for features, or, where it is absent, to all levels as
in the denoiser's training. What the configuration does not say of the denoiser and its process is
what --init was trained with; of published checkpoints, which do not tell, the configuration says
it (network.denoiser, model_type, diffusion).

With layer_decay below 1, each block learns at that multiple of the rate of the block after it.
Every epoch the test images, or those that --hold-out keeps from training, are classified (accuracy
in stats.jsonl). Ctrl-C ends a run after the step, with a checkpoint.";

/// Fine-tune a denoiser as a classifier: cut after a layer, with a linear head, end to end
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

/// Runs the command.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let Arguments { run, measuring } = arguments;
    let place = run.place()?;
    let init = run.init()?;
    let (path, overrides) = (run.config()?, run.overrides());
    let config = match &init {
        Some(Init { file, .. }) => ClassifierRun::read_fine_tuning(&path, &overrides, donor(file)?.as_ref()),
        None => ClassifierRun::read_tuned(&path, &overrides, |save_dir| kept(run, save_dir)),
    };
    let config = config.map_err(TrainError::from)?;
    // A run that goes on has its weights; a new one begins with a denoiser's.
    let is_new = !run.resumes() && config.training.load_epoch < 0;
    if is_new && init.is_none() {
        let message = "fine-tuning begins with a trained denoiser: give it with --init RUN or --init FILE";
        return Err(TrainError::Argument(message.to_string()).into());
    }
    train(run, measuring, config, init, place.as_ref())
}

/// The configuration that the run in the run folder has kept, which says what its denoiser is; none where there is no such run.
fn kept(run: &RunArguments, save_dir: Option<&str>) -> Result<Option<ClassifierRun>, String> {
    let folder = run.folder().or(save_dir.map(Path::new));
    let Some(file) = folder.map(|folder| folder.join("config.yaml")).filter(|file| file.is_file()) else {
        return Ok(None);
    };
    match ClassifierRun::read_with(&file, &[]) {
        Ok(config) => Ok(Some(config)),
        Err(error) if run.resumes() => Err(error.to_string()),
        // What else is in the folder of a run that is to begin is looked at later.
        Err(_) => Ok(None),
    }
}

/// What a checkpoint of a diffusion model of ours was trained with; nothing where the file does not say it.
fn donor(path: &Path) -> Result<Option<Config>, TrainError> {
    let checkpoint = Checkpoint::open(path)?;
    let Some(config) = checkpoint.config() else { return Ok(None) };
    match config.diffusion() {
        Some(config) => Ok(Some(config.clone())),
        None => Err(TrainError::Argument(format!(
            "--init {}: it is the checkpoint of no diffusion model; fine-tuning begins with a denoiser that a process trained",
            path.display()
        ))),
    }
}
