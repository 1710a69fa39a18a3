//! The commands of `ddae-infer`.

mod features;
mod progress;
mod sample;
mod seeds;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::available_parallelism;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use ddae_infer::device::Device;

/// Extracts features and draws pictures with graphs written by ddae-export.
#[derive(Debug, Parser)]
#[command(name = "ddae-infer", version, max_term_width = 100)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Features(features::Arguments),
    Sample(sample::Arguments),
}

/// Where and how the graph runs.
#[derive(Args, Debug)]
struct Running {
    /// Where to run: cpu, cuda or cuda:N; what is asked for is used or the command fails
    #[arg(long, default_value = "cpu")]
    device: Device,

    /// Threads on the CPU, each with a session of its own [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,

    /// Pictures per run of the graph [default: 16 on the CPU, 256 on CUDA]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65536))]
    batch: Option<u32>,
}

impl Running {
    fn threads(&self) -> usize {
        self.threads.map_or_else(|| available_parallelism().map_or(1, usize::from), usize::from)
    }

    fn batch(&self) -> usize {
        self.batch.map_or(if self.device == Device::Cpu { 16 } else { 256 }, |batch| batch as usize)
    }
}

/// Settings that the graph or each other do not allow: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// Runs a command.
pub fn run(arguments: Arguments) -> Result<()> {
    match arguments.command {
        Command::Features(arguments) => features::run(&arguments),
        Command::Sample(arguments) => sample::run(&arguments),
    }
}

/// A flag that Ctrl-C and SIGTERM set.
fn stop_flag() -> Result<&'static AtomicBool> {
    static STOP: AtomicBool = AtomicBool::new(false);
    ctrlc::set_handler(|| STOP.store(true, Ordering::Relaxed)).context("cannot catch Ctrl-C")?;
    Ok(&STOP)
}
