//! What a training run is asked for, beside its configuration and its data.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use ddae_base::Stop;
use ddae_base::device::DeviceChoice;
use ddae_checkpoint::WeightChoice;
use tch::Device;

use crate::ranks::Place;
use crate::torch::{Layout, Precision};

/// `--amp`: the numbers that the network multiplies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Amp {
    /// 32-bit floats
    #[default]
    Off,
    /// 16-bit brain floats
    Bf16,
    /// 16-bit floats, with a gradient scaler
    Fp16,
}

impl Amp {
    /// The network's precision.
    pub fn precision(self) -> Precision {
        match self {
            Amp::Off => Precision::Full,
            Amp::Bf16 => Precision::Bf16,
            Amp::Fp16 => Precision::Fp16,
        }
    }
}

impl fmt::Display for Amp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Amp::Off => "off",
            Amp::Bf16 => "bf16",
            Amp::Fp16 => "fp16",
        })
    }
}

/// Weights of a file that a run starts with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Init {
    /// The file.
    pub file: PathBuf,
    /// Which of its weights [default: the moving average, where there is one].
    pub weights: Option<WeightChoice>,
    /// Checkpoints of that run that cannot be read although they may be further, one line each.
    pub passed_over: Vec<String>,
}

/// Where a run begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// At step 0.
    Fresh {
        /// Whether an earlier run in the folder is removed.
        force: bool,
        /// Weights that it starts with instead of random ones.
        init: Option<Init>,
    },
    /// At the furthest checkpoint in the run folder.
    Latest,
    /// At the checkpoint after this many epochs (`load_epoch` of the configuration). Later ones are set aside.
    Epoch(u64),
}

/// What is done on a GPU to be fast. Nothing of it changes what is computed, but for the order of sums and for which elements a
/// dropout takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gpu {
    /// Whether norms and averages are computed by the project's own kernels, rather than by libtorch's.
    pub kernels: bool,
    /// Whether a step is recorded as a CUDA graph and replayed; only with the kernels.
    pub graphs: bool,
    /// How many ways of computing a convolution are tried before its first time; with 0, cuDNN's own rules decide.
    pub convolution_search: u8,
    /// Whether only algorithms that give the same bits every time are used.
    pub deterministic: bool,
}

impl Default for Gpu {
    fn default() -> Gpu {
        Gpu { kernels: true, graphs: true, convolution_search: 0, deterministic: false }
    }
}

/// A run as it is asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// The run folder.
    pub run: PathBuf,
    /// Where it begins.
    pub start: Start,
    /// Seed of everything random; a resumed run keeps its own.
    pub seed: Option<u64>,
    /// Where tensors live.
    pub device: DeviceChoice,
    /// Precision; a resumed run keeps its own.
    pub amp: Option<Amp>,
    /// Order of images' axes in memory.
    pub layout: Layout,
    /// What is done on a GPU to be fast.
    pub gpu: Gpu,
    /// Threads of libtorch; its own choice when absent.
    pub threads: Option<usize>,
    /// Threads that read and augment images ahead.
    pub workers: Option<usize>,
    /// Epochs between the checkpoints that are kept; 0 for none but the first and the last.
    pub save_every: u64,
    /// Time between checkpoints that replace each other.
    pub save_interval: Duration,
    /// Epochs between evaluations: sheets of images and scores; 0 for none but the last.
    pub evaluate_every: u64,
    /// A file for what libtorch does in a few steps.
    pub trace: Option<PathBuf>,
    /// Steps between lines of `stats.jsonl`.
    pub log_every: u64,
    /// Whether nothing but errors is written to stderr.
    pub quiet: bool,
    /// The command line that resumes this run, for messages.
    pub resume_command: String,
    /// This process among the ranks of a run; none for a run of one process.
    pub ranks: Option<Place>,
    /// How long a rank may give no sign of life.
    pub patience: Duration,
    /// Ends the run after the step, with a checkpoint.
    pub stop: Stop,
}

impl Options {
    /// Threads that read images ahead of what `device` does with them.
    pub fn workers(&self, device: Device) -> usize {
        self.workers.unwrap_or(if device.is_cuda() { 4 } else { 1 })
    }
}
