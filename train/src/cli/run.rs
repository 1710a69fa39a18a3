//! The options that all training commands have.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use ddae_base::arguments::values::{real, whole};
use ddae_base::device::DeviceChoice;
use ddae_base::progress::shown_rate;
use ddae_base::{Stop, shell, stop};
use ddae_checkpoint::WeightChoice;
use ddae_data::OpenOptions;
use ddae_data::decode::ReadingOptions;
use ddae_model::config::{Override, TrainingConfig};
use ddae_train::TrainError;
use ddae_train::ranks::{BatchOf, Place, Shares};
use ddae_train::run::checkpoints;
use ddae_train::run::folder::RunFolder;
use ddae_train::torch::{Layout, device};
use ddae_train::training::{Amp, Gpu, Init, Options, Start, Summary, TrainingPlan};
use tch::Device;

#[derive(Args, Debug)]
pub struct RunArguments {
    /// Configuration (YAML); with --resume, that of the run unless given
    #[arg(short, long, value_name = "FILE", required_unless_present = "resume")]
    config: Option<PathBuf>,
    /// Set a key of the configuration, as in batch_size=64; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<Override>,
    /// Images to train on: a data set by name, or the path of a folder, list, .tar or .parquet (`ddae-data --help` lists
    /// them) [default: dataset of the configuration]
    #[arg(long, value_name = "SOURCE")]
    data: Option<String>,
    /// Table of paths or keys and labels (CSV), for images that have no labels
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
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
    /// Start with the weights of this checkpoint or run, the EMA where it has one (ours or a published one; safetensors or
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
    /// Train on N ranks of this machine, processes that each take a part of every batch; with GPUs, each has its own. torchrun, srun
    /// and Kubernetes start ranks without this option (docs/multi-gpu.md)
    #[arg(long, value_name = "N", value_parser = whole::<u16>(1..))]
    nproc: Option<u16>,
    /// Passes for each step, over as many times the images of one; to be given again with --resume
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = whole::<u16>(1..))]
    accumulate: u16,
    /// Whose batch batch_size is, of several ranks or passes; to be given again with --resume [default: as published: rank for
    /// net_type UNet, SODA, WideResNet and FineTuned, all for others]
    #[arg(long, value_name = "WHOSE")]
    batch_of: Option<BatchOf>,
    /// A rank that gives no sign of life for so many seconds is lost, and ends the others
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = whole::<u16>(1..))]
    rank_timeout: u16,
    /// Threads that compute [default: one per core, divided among the ranks of a machine]
    #[arg(long, value_name = "N", value_parser = whole::<u16>(1..))]
    threads: Option<u16>,
    /// Threads that read images ahead; 0 reads between steps [default: 1, with a GPU 4]
    #[arg(long, value_name = "N", value_parser = whole::<u16>(..))]
    workers: Option<u16>,
    /// Minutes between checkpoints on the way, each of which replaces the one before
    #[arg(long, value_name = "MINUTES", default_value_t = 10.0, value_parser = real(0.0..))]
    save_minutes: f64,
    /// Keep this share of the training images to measure on, and do not train on them: 0.05 is one in 20 [default: none, or
    /// hold_out of the configuration]
    #[arg(long, value_name = "SHARE", value_parser = share)]
    hold_out: Option<f64>,
    /// Epochs between validation losses, on held-out or test images; 0 for none [default: 1, or validate_every of the
    /// configuration]
    #[arg(long, value_name = "N", value_parser = whole::<u64>(..))]
    validate_every: Option<u64>,
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
    #[command(flatten)]
    reading: ReadingOptions,
}

/// Options of runs that draw sheets of images.
#[derive(Args, Debug)]
pub struct SheetArguments {
    /// Steps of the sampler for the sheets of images; in few steps another sampler is taken, and said [default: 100 (DDIM),
    /// 18 (EDM)]
    #[arg(long, value_name = "N", value_parser = whole::<usize>(..))]
    pub sample_steps: Option<usize>,
}

/// How often something is done that is kept.
pub struct Intervals {
    /// Epochs between checkpoints.
    pub save: u64,
    /// Epochs between evaluations.
    pub evaluate: u64,
}

impl RunArguments {
    /// What is set in the configuration.
    pub fn overrides(&self) -> Vec<Override> {
        let data = self.data.as_deref().map(|data| Override::text("--data", "dataset", data));
        self.set.iter().cloned().chain(data).collect()
    }

    /// How the images are opened.
    pub fn open_options(&self) -> OpenOptions {
        OpenOptions { labels: self.labels.clone(), reading: self.reading.reading() }
    }

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

    /// This process among others, by the environment; none for a run of one process.
    ///
    /// # Errors
    /// When the environment makes no sense, or says that there are ranks already where `--nproc` is to start some.
    pub fn place(&self) -> Result<Option<Place>, TrainError> {
        let place = Place::from_environment()?;
        match (&place, self.nproc) {
            (Some(Place { launcher: None, world, .. }), Some(_)) => Err(TrainError::Argument(format!(
                "--nproc starts ranks, and this process is one of {world} already (RANK and WORLD_SIZE are set): leave --nproc out"
            ))),
            _ => Ok(place),
        }
    }

    /// How many ranks this process is to start, and wait for, instead of training itself.
    pub fn to_launch(&self, place: Option<&Place>) -> Option<usize> {
        self.nproc.map(usize::from).filter(|&count| count > 1 && place.is_none())
    }

    /// How steps are shared out.
    pub fn shares(&self, place: Option<&Place>) -> Shares {
        let (rank, ranks) = match place {
            Some(place) => (place.rank, place.world),
            None => (0, self.nproc.map_or(1, usize::from)),
        };
        Shares { ranks, rank, accumulate: usize::from(self.accumulate), batch_of: self.batch_of }
    }

    /// From what was typed to what is meant, with what [`RunArguments::init`] found; `training` of the configuration takes over
    /// what the options say of it.
    ///
    /// # Errors
    /// When options contradict each other.
    pub fn options(
        &self,
        training: &mut TrainingConfig,
        intervals: Intervals,
        init: Option<Init>,
        place: Option<&Place>,
    ) -> Result<Options, TrainError> {
        if let Some(epochs) = self.epochs {
            if epochs == 0 {
                return Err(TrainError::Argument("--epochs is 0; it must be at least 1".to_string()));
            }
            training.n_epoch = epochs;
        }
        training.hold_out = self.hold_out.or(training.hold_out);
        training.validate_every = self.validate_every.or(training.validate_every);
        let run = self.run.clone().unwrap_or_else(|| PathBuf::from(&training.save_dir));
        training.save_dir = run.display().to_string();
        let start = self.start(training, init)?;
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
            // Rank 0 speaks for all.
            quiet: ddae_base::is_quiet() || place.is_some_and(|place| !place.leads()),
            ranks: place.cloned(),
            patience: Duration::from_secs(u64::from(self.rank_timeout)),
            resume_command: resume_command(
                std::env::args_os().map(|word| word.to_string_lossy().into_owned()),
            ),
            stop: Stop::new(),
        })
    }

    /// The weights to start with; of a run folder its furthest checkpoint's. Which that is may be another the next time, if the run
    /// is still trained.
    ///
    /// # Errors
    /// When it is a folder without checkpoints, with the reason where one cannot be read.
    pub fn init(&self) -> Result<Option<Init>, TrainError> {
        let Some(path) = &self.init else { return Ok(None) };
        let weights = self.init_weights.clone();
        if !path.is_dir() {
            return Ok(Some(Init { file: path.clone(), weights, passed_over: Vec::new() }));
        }
        let folder = path.join("checkpoints");
        let (found, passed_over) = match folder.is_dir() {
            true => checkpoints::find_furthest(&folder)?,
            false => (None, Vec::new()),
        };
        let Some((checkpoint, _)) = found else {
            let reason = passed_over.first().map_or(String::new(), |first| format!(": {first}"));
            let message = format!("holds no run with a checkpoint that can be read (--init){reason}");
            return Err(TrainError::Folder { path: path.clone(), message });
        };
        Ok(Some(Init { file: checkpoint.path().to_path_buf(), weights, passed_over }))
    }

    /// The run folder, if it was named.
    pub fn folder(&self) -> Option<&Path> {
        self.run.as_deref()
    }

    /// Whether a run goes on.
    pub fn resumes(&self) -> bool {
        self.resume
    }

    /// Where the run begins.
    fn start(&self, training: &TrainingConfig, init: Option<Init>) -> Result<Start, TrainError> {
        let epoch = match (self.resume, u64::try_from(training.load_epoch)) {
            (true, _) => return Ok(Start::Latest),
            (false, Ok(epoch)) => epoch,
            (false, Err(_)) => return Ok(Start::Fresh { force: self.force, init }),
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

/// A share above 0 and below 1.
fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share: &f64| *share > 0.0 && *share < 1.0);
    share.ok_or_else(|| "a share between 0 and 1 is wanted, as in 0.05".to_string())
}

/// What `--dry-run` shows. What a run would be refused for is refused before anything is said.
///
/// # Errors
/// When there is no such device, the file of weights is not for this network, and the system's.
pub fn show(plan: &TrainingPlan, options: &Options) -> anyhow::Result<()> {
    let (device, no_gpu) = device::resolve(options.device).map_err(TrainError::from)?;
    let notes = plan.check_init(&options.start)?;
    let mut out = ddae_base::stdout();
    writeln!(out, "{}", plan.describe(options.amp.unwrap_or_default()))?;
    let device = match device {
        Device::Cpu => "CPU".to_string(),
        device => format!("{device:?}"),
    };
    let reason = no_gpu.map_or(String::new(), |reason| format!(" (no GPU: {reason})"));
    writeln!(out, "device      {device}{}", ddae_base::plain(reason))?;
    writeln!(out, "run folder  {}", ddae_base::plain(options.run.display()))?;
    for note in notes {
        writeln!(out, "{}", ddae_base::plain(note))?;
    }
    Ok(())
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

/// Ends as ranks that were started have ended, with their exit code; they have told why.
pub fn ended(code: u8) -> anyhow::Result<()> {
    match code {
        0 => Ok(()),
        code => stop::exit(code),
    }
}

/// Whether this process says what a run has done.
pub fn speaks(place: Option<&Place>) -> bool {
    place.is_none_or(Place::leads)
}

/// What a run has done, which `draws` samples or does not; `next` is the sensible command after it, given the checkpoint.
pub fn print(
    out: &mut impl Write,
    summary: &Summary,
    draws: bool,
    next: impl FnOnce(&str) -> String,
) -> std::io::Result<()> {
    match summary.loss {
        Some(loss) => writeln!(
            out,
            "trained {} epochs ({} steps): loss {loss:.4}, {} images/s",
            summary.epochs,
            summary.steps,
            shown_rate(Some(summary.images_per_second).filter(|rate| *rate > 0.0))
        )?,
        None => writeln!(out, "this run is finished: {} epochs, {} steps", summary.epochs, summary.steps)?,
    }
    if let Some(loss) = summary.validation_loss {
        writeln!(out, "validation: {loss:.4}")?;
    }
    let count = summary.scores.as_ref().and_then(|line| line.count);
    let of = count.map_or(String::new(), |count| format!(" {count}"));
    for (name, value) in summary.scores.iter().flat_map(|line| &line.scores) {
        writeln!(out, "{:<12}{value:.4}{of}", format!("{}:", name.trim_end_matches("_accuracy")))?;
    }
    let Some(checkpoint) = &summary.checkpoint else { return Ok(()) };
    writeln!(out, "checkpoint: {}", ddae_base::plain(checkpoint.display()))?;
    if draws {
        writeln!(out, "samples:    {}", ddae_base::plain(summary.run.join("samples").display()))?;
    }
    match ddae_base::is_quiet() {
        true => Ok(()),
        false => writeln!(out, "next:       {}", next(&shell::word(checkpoint))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_lie_between_0_and_1() {
        assert_eq!(share("0.05"), Ok(0.05));
        for wrong in ["0", "1", "-0.1", "NaN", "5%", ""] {
            assert!(share(wrong).is_err(), "{wrong}");
        }
    }

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
