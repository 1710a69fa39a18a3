//! How fast ONNX files run in ONNX Runtime on this machine, side by side.
//!
//!     cargo run --release -p ddae-export --example file_speed -- f32.onnx f16.onnx int8.onnx --batch 8
//!
//! One single-threaded session per thread, as `ddae-infer` has them. Rounds of one second alternate between the files,
//! and the best round of each counts, so that other work on the machine matters less. Files are compared with the
//! first. With `--operators`, what the runtime makes of each file is counted by operator instead.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Parser;
use ddae_model::tensor::Tensor;
use ddae_onnx::messages::{Dimension, ValueInfoProto, data_type};
use ddae_onnx::read;
use ddae_onnx::runtime::{OnnxNetwork, optimized_copy};

/// Samples per second of ONNX files.
#[derive(Parser)]
struct Arguments {
    /// The files.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Samples per run.
    #[arg(long, default_value_t = 8)]
    batch: usize,
    /// Threads, each with a session of its own [default: all cores].
    #[arg(long)]
    threads: Option<usize>,
    /// Timed rounds of one second per file; the best counts.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Count the operators that the runtime makes of each file, rather than time it.
    #[arg(long)]
    operators: bool,
}

const ROUND: Duration = Duration::from_secs(1);

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if arguments.operators {
        return arguments.files.iter().try_for_each(|file| print_operators(file));
    }
    let threads = match arguments.threads {
        Some(threads) => threads.max(1),
        None => std::thread::available_parallelism()?.get(),
    };
    let files: Arc<[PathBuf]> = arguments.files.clone().into();
    let (batch, rounds) = (arguments.batch.max(1), arguments.rounds.max(1));
    let start = Arc::new(Barrier::new(threads));
    let workers: Vec<_> = (0..threads)
        .map(|_| {
            let (files, start) = (files.clone(), start.clone());
            std::thread::spawn(move || measure(&files, batch, rounds, &start))
        })
        .collect();
    let mut sums = vec![vec![0.0; files.len()]; rounds];
    for worker in workers {
        let Ok(rates) = worker.join() else { bail!("a worker thread panicked") };
        for (sum, rates) in sums.iter_mut().zip(rates?) {
            for (sum, rate) in sum.iter_mut().zip(rates) {
                *sum += rate;
            }
        }
    }
    println!("batch {batch}, {threads} single-threaded sessions, best of {rounds} rounds");
    let best = |i: usize| sums.iter().map(|round: &Vec<f64>| round[i]).fold(0.0, f64::max);
    for (i, file) in files.iter().enumerate() {
        println!("{:10.1} samples/s {:6.2}x  {}", best(i), best(i) / best(0), file.display());
    }
    Ok(())
}

/// One thread's samples per second, by round and file.
fn measure(files: &[PathBuf], batch: usize, rounds: usize, start: &Barrier) -> Result<Vec<Vec<f64>>> {
    let opened: Result<Vec<_>> =
        files.iter().map(|file| Ok((OnnxNetwork::open(file, 1)?, inputs(file, batch)?))).collect();
    start.wait();
    let mut networks = opened?;
    let mut rates = Vec::new();
    for _ in 0..rounds {
        let mut round = Vec::new();
        for (network, inputs) in &mut networks {
            let inputs: Vec<(&str, Tensor)> =
                inputs.iter().map(|(name, tensor)| (name.as_str(), tensor.clone())).collect();
            network.run(&inputs)?;
            start.wait();
            let (began, mut runs) = (Instant::now(), 0);
            while began.elapsed() < ROUND {
                network.run(&inputs)?;
                runs += 1;
            }
            round.push((runs * batch) as f64 / began.elapsed().as_secs_f64());
        }
        rates.push(round);
    }
    Ok(rates)
}

/// Values for all inputs: floats between 0 and 1, timesteps and labels 11.
fn inputs(file: &Path, batch: usize) -> Result<Vec<(String, Tensor)>> {
    let graph = read::model(file)?.graph.context("the file holds no graph")?;
    graph.input.iter().map(|input| Ok((input.name.clone(), value(input, batch)?))).collect()
}

fn value(input: &ValueInfoProto, batch: usize) -> Result<Tensor> {
    let sizes = input.dims().unwrap_or_default().iter().map(|dim| match dim.value {
        Some(Dimension::Size(size)) => usize::try_from(size).unwrap_or(1),
        _ => batch,
    });
    let shape: Vec<usize> = sizes.collect();
    let count = shape.iter().product();
    Ok(match input.element_type() {
        data_type::FLOAT => {
            Tensor::f32(&shape, (0..count).map(|i: usize| (i * 37 % 101) as f32 / 101.0).collect())
        }
        data_type::INT64 => Tensor::i64(&shape, vec![11; count]),
        other => bail!("input {} has the element type {other}, which this program does not make", input.name),
    })
}

fn print_operators(file: &Path) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let copy = folder.path().join("optimized.onnx");
    optimized_copy(file, &copy)?;
    let graph = read::model(&copy)?.graph.context("the optimised file holds no graph")?;
    let mut counts = BTreeMap::new();
    for node in graph.node {
        let name =
            if node.domain.is_empty() { node.op_type } else { format!("{}.{}", node.domain, node.op_type) };
        *counts.entry(name).or_insert(0) += 1;
    }
    let counts: Vec<String> = counts.into_iter().map(|(name, count)| format!("{count} {name}")).collect();
    println!("{}: {}", file.display(), counts.join(", "));
    Ok(())
}
