//! How fast this machine makes SODA's training pairs: source and target, per second and core.
//!
//!     cargo run --release -p ddae-data --example augment_speed -- --side 64
//!
//! One thread makes pairs of images in memory; then a loader does the same with a worker per core. Rounds of one
//! second alternate between both, and the best round of each counts, so that other work on the machine matters less.
//! With `--json`, one object a line, as `cargo xtask bench` reads it.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Parser;
use ddae_base::random::{Purpose, Rng, stream};
use ddae_data::Split;
use ddae_data::loader::{Loader, LoaderOptions};
use ddae_model::config::{ChannelStatistics, SodaAugmentation};

/// SODA's training pairs per second.
#[derive(Parser)]
struct Arguments {
    /// Height and width of the images.
    #[arg(long, default_value_t = 32)]
    side: usize,
    /// Channels of the images: 1 or 3.
    #[arg(long, default_value_t = 3)]
    channels: usize,
    /// Pairs per batch.
    #[arg(long, default_value_t = 128)]
    batch: usize,
    /// Workers of the loader [default: all cores].
    #[arg(long)]
    workers: Option<usize>,
    /// Timed rounds of one second; the best counts.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,
}

const ROUND: Duration = Duration::from_secs(1);

/// Images in memory: as many as fit 64 batches, so that a round sees an epoch change now and then.
const BATCHES: usize = 64;

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    ensure!(arguments.batch > 0, "--batch 0: give at least 1");
    let workers = match arguments.workers {
        Some(workers) => workers.max(1),
        None => std::thread::available_parallelism()?.get(),
    };
    let shape = [arguments.channels, arguments.side, arguments.side];
    let split = images(shape, arguments.batch * BATCHES)?;
    let statistics =
        ChannelStatistics { mean: vec![0.5; arguments.channels], std: vec![0.25; arguments.channels] };
    // 0 workers: in this thread.
    let settings = [(0, 1), (workers, workers)];
    let mut best = [0f64; 2];
    for round in 0..arguments.rounds.max(1) as u64 {
        for (best, (workers, _)) in best.iter_mut().zip(settings) {
            let options = LoaderOptions {
                batch: arguments.batch,
                shuffle: true,
                drop_last: true,
                workers,
                ..LoaderOptions::default()
            };
            *best = best.max(pairs_per_second(&split, &options, &statistics, round)?);
        }
    }
    for ((workers, threads), rate) in settings.into_iter().zip(best) {
        let measure = if workers == 0 { "in the calling thread" } else { "by a loader's workers" };
        if arguments.json {
            let object = serde_json::json!({
                "measure": measure,
                "shape": shape,
                "threads": threads,
                "pairs_per_second": rate,
            });
            println!("{object}");
        } else {
            println!(
                "{measure:22}  {threads:3} threads {rate:9.0} pairs/s {:9.0} a thread",
                rate / threads as f64
            );
        }
    }
    Ok(())
}

/// Images with smooth and with noisy parts.
fn images(shape: [usize; 3], count: usize) -> Result<Split> {
    let [_, height, width] = shape;
    let size: usize = shape.iter().product();
    let mut levels = vec![0u8; count * size];
    for (number, image) in levels.chunks_exact_mut(size.max(1)).enumerate() {
        let mut rng = stream(0, Purpose::Preview, number as u64, 0);
        rng.fill_bytes(image);
        for (i, level) in image.iter_mut().enumerate() {
            let (row, column) = (i / width % height, i % width);
            *level = *level / 4 + (96 * row / height + 96 * column / width) as u8;
        }
    }
    Ok(Split::in_memory("made up", vec!["all".into()], vec![0; count], shape, levels)?)
}

/// Pairs per second over one round, from the first batch on.
fn pairs_per_second(
    split: &Split,
    options: &LoaderOptions,
    statistics: &ChannelStatistics,
    round: u64,
) -> Result<f64> {
    let mut pairs = 0;
    let mut epoch = round << 32;
    let start = Instant::now();
    loop {
        let options = LoaderOptions { epoch, ..options.clone() };
        for batch in Loader::pairs(split, &options, statistics, SodaAugmentation::default())? {
            pairs += batch?.len();
            let elapsed = start.elapsed();
            if elapsed >= ROUND {
                return Ok(pairs as f64 / elapsed.as_secs_f64());
            }
        }
        epoch += 1;
    }
}
