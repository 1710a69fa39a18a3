//! How fast ONNX files run in ONNX Runtime on this machine, side by side.
//!
//!     cargo run --release -p ddae-export --example file_speed -- f32.onnx f16.onnx int8.onnx --batch 8
//!
//! Files are compared with the first. With `--operators`, what the runtime makes of each file is counted by operator
//! instead.

mod rounds;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Parser;
use ddae_model::tensor::Tensor;
use ddae_onnx::messages::{ValueInfoProto, data_type};
use ddae_onnx::read;
use ddae_onnx::runtime::optimized_copy;
use rounds::{Timed, Timing};

/// Samples per second of ONNX files.
#[derive(Parser)]
struct Arguments {
    /// The files.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    timing: Timing,
    /// Count the operators that the runtime makes of each file, rather than time it.
    #[arg(long)]
    operators: bool,
}

fn main() -> Result<()> {
    let Arguments { files, timing, operators } = Arguments::parse();
    if operators {
        return files.iter().try_for_each(|file| print_operators(file));
    }
    let batch = timing.batch.max(1);
    let timed: Vec<Timed> = files
        .iter()
        .map(|file| Ok(Timed { path: file.clone(), inputs: inputs(file, batch)?, batch }))
        .collect::<Result<_>>()?;
    let best = timing.best(&timed.iter().collect::<Vec<_>>())?;
    println!(
        "batch {batch}, {} single-threaded sessions, best of {} rounds",
        timing.threads(),
        timing.rounds.max(1)
    );
    for (file, rate) in files.iter().zip(&best) {
        println!("{rate:10.1} samples/s {:6.2}x  {}", rate / best[0], file.display());
    }
    Ok(())
}

/// Values for all inputs: floats between 0 and 1, timesteps and labels 11.
fn inputs(file: &Path, batch: usize) -> Result<Vec<(String, Tensor)>> {
    let graph = read::model(file)?.graph.context("the file holds no graph")?;
    graph.input.iter().map(|input| Ok((input.name.clone(), value(input, batch)?))).collect()
}

fn value(input: &ValueInfoProto, batch: usize) -> Result<Tensor> {
    let sizes = input.sizes(batch as u64).context("an input has no shape")?;
    let shape: Vec<usize> = sizes.into_iter().map(usize::try_from).collect::<Result<_, _>>()?;
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
