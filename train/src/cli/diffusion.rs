//! `ddae-train diffusion`.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use ddae_cli::shell;
use ddae_model::config::{Config, Override};
use ddae_train::TrainError;
use ddae_train::diffusion::{Amp, DeviceChoice, Options, Plan, Start, Summary, train};
use ddae_train::run::folder::RunFolder;
use ddae_train::run::interrupt;
use ddae_train::torch::Layout;

const EXAMPLES: &str = "\
Examples:
  ddae-train diffusion --config configs/demo.yaml
  ddae-train diffusion --config configs/DDPM_ddpm.yaml --data-root ~/datasets --amp bf16 --dry-run
  ddae-train diffusion --run runs/demo --resume
  ddae-train diffusion --config configs/demo.yaml --set network.n_channels=64 --run runs/wide

The published configurations are for 4 or 8 devices; lrate and batch_size are those of one. On a
single device, --set batch_size=512 --set lrate=4e-4 takes the steps that 4 devices take with
DDPM_ddpm.yaml.

The run folder holds config.yaml, log.txt, stats.jsonl (a line per logging interval), checkpoints/,
samples/ and tensorboard/. Ctrl-C ends a run after the step, with a checkpoint.";

/// Train a DDPM or EDM on the pictures of a data set
///
/// On the CPU, a run that was stopped and resumed (with as many threads) ends with the same weights, bit for bit, as one
/// that was not.
#[derive(Args, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct Arguments {
    /// Configuration (YAML); with --resume, that of the run unless given
    #[arg(short, long, value_name = "FILE", required_unless_present = "resume")]
    config: Option<PathBuf>,
    /// Set a key of the configuration, as in network.dropout=0.2; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<Override>,
    /// Number of epochs [default: n_epoch of the configuration]
    #[arg(long, value_name = "N")]
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
    /// Folder of the data set, or the one above it [default: $DDAE_DATA, or ./datasets]
    #[arg(long, value_name = "DIR")]
    data_root: Option<PathBuf>,
    /// Seed of everything random [default: 0, or that of the resumed run]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// cpu, cuda, cuda:N, or auto: the first GPU if there is one
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: DeviceChoice,
    /// Mixed precision [default: off, or that of the resumed run]
    #[arg(long, value_name = "KIND")]
    amp: Option<Amp>,
    /// Keep pictures in memory channel by channel, which is slower on most machines
    #[arg(long)]
    no_channels_last: bool,
    /// Threads that compute [default: one per core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// Threads that read pictures ahead; 0 reads between steps [default: 1, with a GPU 4]
    #[arg(long, value_name = "N")]
    workers: Option<u16>,
    /// Epochs between checkpoints that are kept; 0 keeps the first and the last
    #[arg(long, value_name = "N", default_value_t = 100)]
    save_every: u64,
    /// Minutes between checkpoints on the way, each of which replaces the one before
    #[arg(long, value_name = "MINUTES", default_value_t = 10.0)]
    save_minutes: f64,
    /// Epochs between sheets of samples; 0 for one at the end
    #[arg(long, value_name = "N", default_value_t = 100)]
    sample_every: u64,
    /// Steps of the sampler for the sheets [default: 100 (DDIM), 18 (EDM)]
    #[arg(long, value_name = "N")]
    sample_steps: Option<usize>,
    /// Steps between lines of stats.jsonl
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..))]
    log_every: u64,
    /// Show what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Print the result as JSON
    #[arg(long, conflicts_with = "dry_run")]
    json: bool,
    /// Write nothing but errors to stderr
    #[arg(short, long)]
    quiet: bool,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let options = options(arguments)?;
    let plan = Plan::new(&options)?;
    let mut out = std::io::stdout().lock();
    if arguments.dry_run {
        writeln!(out, "{}", plan.describe(options.amp.unwrap_or_default()))?;
        writeln!(out, "run folder  {}", options.run.display())?;
        return Ok(());
    }
    interrupt::watch();
    let summary = train(&options, &plan)?;
    if arguments.json {
        writeln!(out, "{}", serde_json::to_string(&summary)?)?;
    } else {
        print(&mut out, &summary, &options.config)?;
    }
    Ok(())
}

/// From what was typed to what is meant.
fn options(arguments: &Arguments) -> Result<Options, TrainError> {
    let path = match (&arguments.config, &arguments.run) {
        (Some(path), _) => path.clone(),
        (None, Some(run)) => {
            RunFolder::expect(run)?;
            run.join("config.yaml")
        }
        (None, None) => {
            let message = "--resume needs the run folder: give --run DIR, or --config FILE";
            return Err(TrainError::Argument(message.to_string()));
        }
    };
    let mut config = Config::read_with(&path, &arguments.set)?;
    if let Some(epochs) = arguments.epochs {
        if epochs == 0 {
            return Err(TrainError::Argument("--epochs is 0; it must be at least 1".to_string()));
        }
        config.training.n_epoch = epochs;
    }
    let run = arguments.run.clone().unwrap_or_else(|| PathBuf::from(&config.training.save_dir));
    config.training.save_dir = run.display().to_string();
    let save_interval = Duration::try_from_secs_f64(arguments.save_minutes * 60.0).map_err(|_| {
        let minutes = arguments.save_minutes;
        TrainError::Argument(format!("--save-minutes is {minutes}; it must be 0 or more minutes"))
    })?;
    let start = match (arguments.resume, u64::try_from(config.training.load_epoch)) {
        (true, _) => Start::Latest,
        (false, Ok(epoch)) => {
            let anew = [("--force", arguments.force), ("--init", arguments.init.is_some())];
            if let Some((option, _)) = anew.iter().find(|(_, given)| *given) {
                return Err(TrainError::Argument(format!(
                    "{option} begins a run anew and load_epoch {epoch} goes on with one: leave {option} out, or add \
                     --set load_epoch=-1"
                )));
            }
            Start::Epoch(epoch)
        }
        (false, Err(_)) => Start::Fresh { force: arguments.force, init: arguments.init.clone() },
    };
    Ok(Options {
        config,
        run,
        start,
        seed: arguments.seed,
        data_root: arguments.data_root.clone(),
        device: arguments.device,
        amp: arguments.amp,
        layout: if arguments.no_channels_last { Layout::Contiguous } else { Layout::ChannelsLast },
        threads: arguments.threads.map(usize::from),
        workers: arguments.workers.map(usize::from),
        save_every: arguments.save_every,
        save_interval,
        sample_every: arguments.sample_every,
        sample_steps: arguments.sample_steps,
        log_every: arguments.log_every,
        quiet: arguments.quiet,
        resume_command: resume_command(std::env::args_os().map(|word| word.to_string_lossy().into_owned())),
    })
}

/// The same command line with `--resume`, without what begins a run anew.
fn resume_command(arguments: impl Iterator<Item = String>) -> String {
    let mut words = Vec::new();
    let mut skip = false;
    for word in arguments {
        let dropped = std::mem::take(&mut skip) || matches!(&*word, "--force" | "--resume");
        skip = word == "--init";
        if !dropped && !skip && !word.starts_with("--init=") {
            words.push(shell::word(&word));
        }
    }
    words.push("--resume".to_string());
    words.join(" ")
}

fn print(out: &mut impl Write, summary: &Summary, config: &Config) -> std::io::Result<()> {
    match summary.loss {
        Some(loss) => writeln!(
            out,
            "trained {} epochs ({} steps): loss {loss:.4}, {:.1} images/s",
            summary.epochs, summary.steps, summary.images_per_second
        )?,
        None => writeln!(out, "this run is finished: {} epochs, {} steps", summary.epochs, summary.steps)?,
    }
    let Some(checkpoint) = &summary.checkpoint else { return Ok(()) };
    let tap = config.linear.as_ref().map_or("out_1", |linear| &linear.blockname);
    let features = summary.run.join("features.onnx");
    writeln!(out, "checkpoint: {}", checkpoint.display())?;
    writeln!(out, "samples:    {}", summary.run.join("samples").display())?;
    writeln!(
        out,
        "next:       ddae-export {} --graph features --taps {tap} -o {}",
        shell::word(checkpoint),
        shell::word(&features)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_resume_command_drops_what_begins_anew() {
        let words =
            ["ddae-train", "diffusion", "--config", "a b.yaml", "--force", "--init", "x", "--amp=bf16"];
        let command = resume_command(words.into_iter().map(String::from));
        assert_eq!(command, "ddae-train diffusion --config 'a b.yaml' --amp=bf16 --resume");
    }
}
