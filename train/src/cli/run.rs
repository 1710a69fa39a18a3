//! The options that all training commands have.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use ddae_base::arguments::values::{real, whole};
use ddae_base::device::DeviceChoice;
use ddae_base::{Stop, shell};
use ddae_checkpoint::WeightChoice;
use ddae_model::config::{Override, TrainingConfig};
use ddae_train::TrainError;
use ddae_train::run::checkpoints;
use ddae_train::run::folder::RunFolder;
use ddae_train::torch::Layout;
use ddae_train::training::{Amp, Gpu, Init, Options, Start, Summary};

#[derive(Args, Debug)]
pub struct RunArguments {
    /// Configuration (YAML); with --resume, that of the run unless given
    #[arg(short, long, value_name = "FILE", required_unless_present = "resume")]
    config: Option<PathBuf>,
    /// Set a key of the configuration, as in batch_size=64; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<Override>,
    /// Number of epochs [default: n_epoch of the configuration]
    #[arg(long, value_name = "N", value_parser = whole::<usize>(1..))]
    epochs: Option<usize>,
    /// Run folder [default: save_dir of the configuration]
    #[arg(long, value_name = "DIR")]
    run: Option<PathBuf>,
    /// Go on from the furthest checkpoint in the run folder
    #[arg(long, conflicts_with_all = ["force", "init"])]
    resume: bool,
    /// Replace the run that is in the run folder
    #[arg(long)]
    force: bool,
    /// Start with the weights of this checkpoint, the EMA where it has one (ours or a published one; safetensors or
    /// PyTorch)
    #[arg(long, value_name = "FILE")]
    init: Option<PathBuf>,
    /// Which weights of that file, where it has several sets: ema, model, or what their names begin with, as 'ddae-export
    /// inspect' lists it [default: ema]
    #[arg(long, value_name = "NAME", requires = "init")]
    init_weights: Option<WeightChoice>,
    /// Folder of the data set, or the one above it [default: $DDAE_DATA, or ./datasets]
    #[arg(long, value_name = "DIR")]
    pub data_root: Option<PathBuf>,
    /// Seed of everything random [default: 0, or that of the resumed run]
    #[arg(long, value_name = "N", value_parser = whole::<u64>(..))]
    seed: Option<u64>,
    /// cpu, cuda, cuda:N, or auto: the first GPU if there is one
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: DeviceChoice,
    /// Mixed precision [default: off, or that of the resumed run]
    #[arg(long, value_name = "KIND")]
    amp: Option<Amp>,
    /// Keep images in memory channel by channel, which is slower on most machines
    #[arg(long)]
    no_channels_last: bool,
    /// On a GPU, compute norms and averages by libtorch's operations rather than the project's kernels, to compare; steps are
    /// not replayed then
    #[arg(long)]
    no_kernels: bool,
    /// On a GPU, start the operations of every step one by one rather than replaying a recorded step, to compare
    #[arg(long)]
    no_cuda_graph: bool,
    /// On a GPU, try so many ways of computing every convolution at first and take the fastest; 0 leaves it to cuDNN's rules
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = whole::<u8>(..), conflicts_with = "deterministic")]
    convolution_search: u8,
    /// On a GPU, use only algorithms that give the same bits every time
    #[arg(long)]
    deterministic: bool,
    /// Threads that compute [default: one per core]
    #[arg(long, value_name = "N", value_parser = whole::<u16>(1..))]
    threads: Option<u16>,
    /// Threads that read images ahead; 0 reads between steps [default: 1, with a GPU 4]
    #[arg(long, value_name = "N", value_parser = whole::<u16>(..))]
    workers: Option<u16>,
    /// Minutes between checkpoints on the way, each of which replaces the one before
    #[arg(long, value_name = "MINUTES", default_value_t = 10.0, value_parser = real(0.0..))]
    save_minutes: f64,
    /// Steps of the sampler for the sheets of images [default: 100 (DDIM), 18 (EDM)]
    #[arg(long, value_name = "N", value_parser = whole::<usize>(..))]
    pub sample_steps: Option<usize>,
    /// Steps between lines of stats.jsonl
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = whole::<u64>(1..))]
    log_every: u64,
    /// Write what libtorch does in steps 20 to 24 of this process to a file, for chrome://tracing or Perfetto
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Show what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Print the result as JSON
    #[arg(long, conflicts_with = "dry_run")]
    pub json: bool,
}

/// How often something is done that is kept.
pub struct Intervals {
    /// Epochs between checkpoints.
    pub save: u64,
    /// Epochs between evaluations.
    pub evaluate: u64,
}

impl RunArguments {
    /// The file of the configuration.
    ///
    /// # Errors
    /// When a run is to go on and there is none.
    pub fn config(&self) -> Result<PathBuf, TrainError> {
        match (&self.config, &self.run) {
            (Some(path), _) => Ok(path.clone()),
            (None, Some(run)) => {
                RunFolder::expect(run)?;
                Ok(run.join("config.yaml"))
            }
            (None, None) => {
                let message = "--resume needs the run folder: give --run DIR, or --config FILE";
                Err(TrainError::Argument(message.to_string()))
            }
        }
    }

    /// From what was typed to what is meant; `training` of the configuration takes over what the options say of it.
    ///
    /// # Errors
    /// When options contradict each other.
    pub fn options(
        &self,
        training: &mut TrainingConfig,
        intervals: Intervals,
    ) -> Result<Options, TrainError> {
        if let Some(epochs) = self.epochs {
            if epochs == 0 {
                return Err(TrainError::Argument("--epochs is 0; it must be at least 1".to_string()));
            }
            training.n_epoch = epochs;
        }
        let run = self.run.clone().unwrap_or_else(|| PathBuf::from(&training.save_dir));
        training.save_dir = run.display().to_string();
        let start = self.start(training)?;
        let begun = match start {
            Start::Fresh { .. } => None,
            Start::Latest => checkpoints::drops_last(&run, None),
            Start::Epoch(epoch) => checkpoints::drops_last(&run, Some(epoch)),
        };
        // What the configuration does not say, a run that goes on does as before; a new one as published.
        training.drop_last = training.drop_last.or(begun).or(Some(false));
        let save_interval = Duration::try_from_secs_f64(self.save_minutes * 60.0).map_err(|_| {
            let minutes = self.save_minutes;
            TrainError::Argument(format!("--save-minutes is {minutes}; it must be 0 or more minutes"))
        })?;
        Ok(Options {
            run,
            start,
            seed: self.seed,
            device: self.device,
            amp: self.amp,
            layout: if self.no_channels_last { Layout::Contiguous } else { Layout::ChannelsLast },
            gpu: Gpu {
                kernels: !self.no_kernels,
                graphs: !self.no_cuda_graph,
                convolution_search: self.convolution_search,
                deterministic: self.deterministic,
            },
            threads: self.threads.map(usize::from),
            workers: self.workers.map(usize::from),
            save_every: intervals.save,
            save_interval,
            evaluate_every: intervals.evaluate,
            trace: self.trace.clone(),
            log_every: self.log_every,
            quiet: ddae_base::is_quiet(),
            resume_command: resume_command(
                std::env::args_os().map(|word| word.to_string_lossy().into_owned()),
            ),
            stop: Stop::new(),
        })
    }

    fn init(&self) -> Option<Init> {
        let weights = self.init_weights.clone();
        self.init.clone().map(|file| Init { file, weights })
    }

    /// Where the run begins.
    fn start(&self, training: &TrainingConfig) -> Result<Start, TrainError> {
        let epoch = match (self.resume, u64::try_from(training.load_epoch)) {
            (true, _) => return Ok(Start::Latest),
            (false, Ok(epoch)) => epoch,
            (false, Err(_)) => return Ok(Start::Fresh { force: self.force, init: self.init() }),
        };
        let anew = [("--force", self.force), ("--init", self.init.is_some())];
        match anew.iter().find(|(_, given)| *given) {
            Some((option, _)) => Err(TrainError::Argument(format!(
                "{option} begins a run anew and load_epoch {epoch} goes on with one: leave {option} out, or add --set \
                 load_epoch=-1"
            ))),
            None => Ok(Start::Epoch(epoch)),
        }
    }
}

/// The same, with a run that ends in good order on Ctrl-C, SIGTERM and SIGHUP.
pub fn stopping_on_signal(options: Options) -> Options {
    let notice = "stopping after this step (again to stop at once, without a checkpoint)";
    Options { stop: Stop::on_signal(Some(notice)), ..options }
}

/// The same command line with `--resume`, without what begins a run anew.
fn resume_command(arguments: impl Iterator<Item = String>) -> String {
    let mut words = Vec::new();
    let mut skip = false;
    for word in arguments {
        let dropped = std::mem::take(&mut skip) || matches!(&*word, "--force" | "--resume");
        skip = matches!(&*word, "--init" | "--init-weights");
        let is_init = word.starts_with("--init=") || word.starts_with("--init-weights=");
        if !dropped && !skip && !is_init {
            words.push(shell::word(&word));
        }
    }
    words.push("--resume".to_string());
    words.join(" ")
}

/// What a run has done; `next` is the sensible command after it, given the checkpoint.
pub fn print(
    out: &mut impl Write,
    summary: &Summary,
    next: impl FnOnce(&str) -> String,
) -> std::io::Result<()> {
    match summary.loss {
        Some(loss) => writeln!(
            out,
            "trained {} epochs ({} steps): loss {loss:.4}, {:.1} images/s",
            summary.epochs, summary.steps, summary.images_per_second
        )?,
        None => writeln!(out, "this run is finished: {} epochs, {} steps", summary.epochs, summary.steps)?,
    }
    for (name, value) in summary.scores.iter().flat_map(|line| &line.scores) {
        writeln!(out, "{:<12}{value:.4}", format!("{}:", name.trim_end_matches("_accuracy")))?;
    }
    let Some(checkpoint) = &summary.checkpoint else { return Ok(()) };
    writeln!(out, "checkpoint: {}", ddae_base::plain(checkpoint.display()))?;
    writeln!(out, "samples:    {}", ddae_base::plain(summary.run.join("samples").display()))?;
    match ddae_base::is_quiet() {
        true => Ok(()),
        false => writeln!(out, "next:       {}", next(&shell::word(checkpoint))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_resume_command_drops_what_begins_anew() {
        let words = [
            "ddae-train",
            "diffusion",
            "--config",
            "a b.yaml",
            "--force",
            "--init",
            "x",
            "--init-weights",
            "ema",
            "--amp=bf16",
        ];
        let command = resume_command(words.into_iter().map(String::from));
        assert_eq!(command, "ddae-train diffusion --config 'a b.yaml' --amp=bf16 --resume");
    }
}
