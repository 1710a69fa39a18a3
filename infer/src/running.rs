//! The options that say where and how a graph runs, of every command that runs one.

use std::path::Path;
use std::thread::available_parallelism;

use clap::Args;
use ddae_base::arguments::values::whole;
use ddae_base::device::DeviceName;
use ddae_onnx::metadata::GraphKind;

use crate::device::Device;
use crate::error::InferError;
use crate::model_file::ModelFile;
use crate::workers::Workers;

/// The options (`#[command(flatten)]`).
#[derive(Args, Debug)]
pub struct Running {
    /// cpu, cuda or cuda:N; what is asked for is used, or the command fails
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    device: DeviceName,

    /// Let CUDA round products to TF32: faster, with three decimal digits
    #[arg(long)]
    tf32: bool,

    /// Start the kernels of a run on CUDA one by one, rather than record them once and replay them as one graph
    #[arg(long)]
    no_cuda_graph: bool,

    /// Threads; on the CPU each has a session, and a copy of the weights, of its own [default: one per core]
    ///
    /// On CUDA they prepare what goes in: for one session, and from four threads on for two, which take twice the memory and
    /// of which one copies while the other computes.
    #[arg(long, value_name = "N", value_parser = whole::<u16>(1..=1024))]
    threads: Option<u16>,

    /// Images per run of the graph [default: 16 on the CPU, 256 on CUDA]
    ///
    /// On the CPU the results are the same, bit for bit, whatever this is. On CUDA another size may change their last
    /// digits.
    #[arg(long, value_name = "N", value_parser = whole::<u16>(1..=16384))]
    batch: Option<u16>,

    /// Use an ONNX file that was changed after ddae-export wrote it
    ///
    /// What it says of itself (checkpoint, configuration, precision) is then taken on trust, while what is made with it
    /// is told from the work of the unchanged file by the digest of graph and weights.
    #[arg(long)]
    pub edited: bool,

    /// Show what would be done, and do nothing
    #[arg(long, conflicts_with = "json")]
    pub dry_run: bool,

    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

impl Running {
    /// The options by which another command computes the same numbers, each with a space before it; empty where they are the
    /// defaults.
    pub fn for_same_numbers(&self) -> String {
        let mut options = String::new();
        if self.device != DeviceName::Cpu {
            options.push_str(&format!(" --device {}", self.device));
        }
        for (name, is_given) in [(" --tf32", self.tf32), (" --edited", self.edited)] {
            options.push_str(if is_given { name } else { "" });
        }
        options
    }

    /// The file at `path` ([`ModelFile::open`]), found to be for the device.
    ///
    /// # Errors
    /// As [`ModelFile::open`], and when it is for another device.
    pub fn open(
        &self,
        path: &Path,
        wanted: &[GraphKind],
        command: &'static str,
    ) -> Result<ModelFile, InferError> {
        let file = ModelFile::open(path, wanted, command, self.edited)?;
        file.check_device(self.device()?)?;
        ddae_base::detail(|| opened(&file));
        Ok(file)
    }

    /// Says what the sessions did otherwise than they were asked to.
    pub fn tell_notes(&self, workers: &mut Workers) {
        for note in workers.take_notes() {
            ddae_base::note(format!("note: {note}"));
        }
    }

    /// The device, with TF32 or without.
    ///
    /// # Errors
    /// When options contradict it.
    pub fn device(&self) -> Result<Device, InferError> {
        match self.device {
            DeviceName::Cuda(number) => {
                Ok(Device::Cuda { number, tf32: self.tf32, graph: !self.no_cuda_graph })
            }
            DeviceName::Cpu if self.tf32 => Err(InferError::Argument(
                "--tf32 is for --device cuda; the CPU computes in float32".to_string(),
            )),
            DeviceName::Cpu if self.no_cuda_graph => Err(InferError::Argument(
                "--no-cuda-graph is for --device cuda; the CPU has no graphs".to_string(),
            )),
            DeviceName::Cpu => Ok(Device::Cpu),
        }
    }

    /// Threads, no more than there are jobs for them.
    pub fn threads(&self, jobs: usize) -> usize {
        let threads = self.threads.map(usize::from);
        let threads = threads.or_else(|| available_parallelism().ok().map(usize::from)).unwrap_or(1);
        let threads = threads.min(jobs.max(1));
        let batch = self.batch();
        ddae_base::detail(|| format!("computing with threads: {threads}, batches of {batch} at most"));
        threads
    }

    /// Images per run of the graph, at most.
    pub fn batch(&self) -> usize {
        self.batch.map_or(if self.device == DeviceName::Cpu { 16 } else { 256 }, usize::from)
    }
}

/// What `-v` says of a graph that was opened.
fn opened(file: &ModelFile) -> String {
    let description = &file.description;
    let weights = description.weights.map_or(String::new(), |set| format!(", {} weights", set.name()));
    format!(
        "opened {}: {} of {}, {} parameters in {}{weights}, from {}",
        ddae_base::plain(file.path.display()),
        description.kind.name(),
        file.model.architecture.name(),
        description.parameters,
        description.precision.name(),
        ddae_base::plain(&description.checkpoint)
    )
}
