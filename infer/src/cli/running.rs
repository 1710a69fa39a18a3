//! The options that say where and how a graph runs.

use std::thread::available_parallelism;

use clap::Args;
use ddae_base::device::DeviceName;
use ddae_infer::InferError;
use ddae_infer::device::Device;

#[derive(Args, Debug)]
pub struct Running {
    /// cpu, cuda or cuda:N; what is asked for is used, or the command fails
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    device: DeviceName,

    /// Let CUDA round products to TF32: faster, with three decimal digits
    #[arg(long)]
    tf32: bool,

    /// Threads; on the CPU each has a session, and a copy of the weights, of its own [default: one per core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,

    /// Images per run of the graph [default: 16 on the CPU, 256 on CUDA]
    ///
    /// On the CPU the results are the same, bit for bit, whatever this is. On CUDA another size may change their last
    /// digits.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=16384))]
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

    /// Write nothing but errors to stderr
    #[arg(short, long)]
    pub quiet: bool,
}

impl Running {
    /// The device, with TF32 or without.
    pub fn device(&self) -> Result<Device, InferError> {
        match self.device {
            DeviceName::Cuda(number) => Ok(Device::Cuda { number, tf32: self.tf32 }),
            DeviceName::Cpu if self.tf32 => Err(InferError::Argument(
                "--tf32 is for --device cuda; the CPU computes in float32".to_string(),
            )),
            DeviceName::Cpu => Ok(Device::Cpu),
        }
    }

    /// Threads, no more than there are jobs for them.
    pub fn threads(&self, jobs: usize) -> usize {
        let threads = self.threads.map(usize::from);
        let threads = threads.or_else(|| available_parallelism().ok().map(usize::from)).unwrap_or(1);
        threads.min(jobs.max(1))
    }

    /// Images per run of the graph, at most.
    pub fn batch(&self) -> usize {
        self.batch.map_or(if self.device == DeviceName::Cpu { 16 } else { 256 }, usize::from)
    }
}
