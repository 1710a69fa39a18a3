//! The options that say where and how a graph runs, of every command that runs one.

use std::path::Path;
use std::thread::available_parallelism;

use clap::Args;
use ddae_base::arguments::values::whole;
use ddae_base::device::DeviceName;
use ddae_onnx::metadata::GraphKind;

use crate::cuda;
use crate::device::{Device, Devices};
use crate::error::InferError;
use crate::model_file::ModelFile;
use crate::workers::Workers;

/// The options (`#[command(flatten)]`).
#[derive(Args, Clone, Debug)]
pub struct Running {
    /// cpu, cuda or cuda:N; what is asked for is used, or the command fails
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    device: Devices,

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
        match self.device {
            Devices::One(DeviceName::Cpu) => {}
            Devices::One(name) => options.push_str(&format!(" --device {name}")),
            Devices::Cuda => options.push_str(" --device cuda"),
            Devices::All => options.push_str(" --device cuda:all"),
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
        let name = match self.device {
            Devices::One(name) => name,
            Devices::Cuda => DeviceName::Cuda(0),
            Devices::All => {
                return Err(InferError::Argument(
                    "--device cuda:all is for `ddae-infer features` and `ddae-infer sample`: give cuda or cuda:N"
                        .to_string(),
                ));
            }
        };
        match name {
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

    /// In how many processes a job is computed that is told `nproc` of them, or nothing.
    ///
    /// # Errors
    /// When there are not as many GPUs, or the device is one that processes cannot have each of its own.
    pub fn processes(&self, nproc: Option<u16>) -> Result<usize, InferError> {
        match (self.device, nproc.map(usize::from)) {
            (Devices::All, Some(_)) => Err(InferError::Argument(
                "--device cuda:all starts a process for every GPU: leave --nproc out, or give --device cuda with it"
                    .to_string(),
            )),
            (Devices::All, None) => cuda::count(),
            (_, None) => Ok(1),
            (Devices::One(name @ DeviceName::Cuda(_)), Some(count)) if count > 1 => {
                Err(InferError::Argument(format!(
                    "--device {name} names one GPU, and each of --nproc {count} wants its own: give --device cuda"
                )))
            }
            (Devices::Cuda, Some(count)) if count > 1 => match cuda::count()? {
                there if there < count => Err(InferError::Argument(format!(
                    "--nproc {count}: each wants a GPU of its own, and this process sees {there} (nvidia-smi lists all, \
                     CUDA_VISIBLE_DEVICES chooses among them)"
                ))),
                _ => Ok(count),
            },
            (_, Some(count)) => Ok(count),
        }
    }

    /// Whether every GPU is wanted, with a process for each.
    pub fn wants_all(&self) -> bool {
        self.device == Devices::All
    }

    /// The options of process `number` of `count`: with a GPU of its own, where they ask for any, or its part of the cores, where
    /// they do not say how many threads.
    pub fn of_process(&self, number: usize, count: usize) -> Running {
        let device = match self.device {
            Devices::Cuda | Devices::All => {
                Devices::One(DeviceName::Cuda(u16::try_from(number).unwrap_or(u16::MAX)))
            }
            one => one,
        };
        let part = || {
            let cores = available_parallelism().map_or(1, usize::from);
            let part = cores / count + usize::from(number < cores % count);
            u16::try_from(part.clamp(1, 1024)).ok()
        };
        let threads = if count > 1 { self.threads.or_else(part) } else { self.threads };
        Running { device, threads, ..self.clone() }
    }

    /// What to say of GPUs that do nothing while the first computes; nothing where one was named, or there are no others.
    pub fn idle(&self) -> Option<String> {
        let others = match self.device {
            Devices::Cuda => cuda::count().ok()?.checked_sub(1).filter(|others| *others > 0)?,
            _ => return None,
        };
        let others = match others {
            1 => "the other GPU is".to_string(),
            others => format!("{others} other GPUs are"),
        };
        Some(format!("cuda:0 computes, and {others} idle: --device cuda:all uses all"))
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
        self.batch.map_or(if self.device == Devices::One(DeviceName::Cpu) { 16 } else { 256 }, usize::from)
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
