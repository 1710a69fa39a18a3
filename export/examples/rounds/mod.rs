//! Timing ONNX files in ONNX Runtime, side by side.
//!
//! One single-threaded session per thread, as `ddae-infer` has them. Rounds of one second alternate between the files,
//! and the best round of each counts, so that other work on the machine matters less.

use std::path::PathBuf;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use anyhow::Result;
use ddae_model::tensor::Tensor;
use ddae_onnx::runtime::{OnnxNetwork, all_cores};

const ROUND: Duration = Duration::from_secs(1);

/// How files are timed.
#[derive(clap::Args)]
pub struct Timing {
    /// Samples per run.
    #[arg(long, default_value_t = 8)]
    pub batch: usize,
    /// Threads, each with a session of its own [default: all cores].
    #[arg(long)]
    threads: Option<usize>,
    /// Timed rounds of one second per file; the best counts.
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
}

/// A file with the inputs of one run, and how many samples these are.
pub struct Timed {
    pub path: PathBuf,
    pub inputs: Vec<(String, Tensor)>,
    pub batch: usize,
}

impl Timing {
    pub fn threads(&self) -> usize {
        self.threads.map_or_else(all_cores, |threads| threads.max(1))
    }

    /// Samples per second of each file over all threads, in its best round.
    pub fn best(&self, files: &[&Timed]) -> Result<Vec<f64>> {
        let rounds = self.rounds.max(1);
        let start = Barrier::new(self.threads());
        let mut sums = vec![vec![0.0; files.len()]; rounds];
        std::thread::scope(|scope| {
            let workers: Vec<_> =
                (0..self.threads()).map(|_| scope.spawn(|| measure(files, rounds, &start))).collect();
            for worker in workers {
                let Ok(rates) = worker.join() else { anyhow::bail!("a worker thread panicked") };
                for (sum, rate) in sums.iter_mut().flatten().zip(rates?.into_iter().flatten()) {
                    *sum += rate;
                }
            }
            Ok(())
        })?;
        let best = |i: usize| sums.iter().map(|round| round[i]).fold(0.0, f64::max);
        Ok((0..files.len()).map(best).collect())
    }
}

/// One thread's samples per second, by round and file.
fn measure(files: &[&Timed], rounds: usize, start: &Barrier) -> Result<Vec<Vec<f64>>> {
    let opened: Result<Vec<_>, _> = files.iter().map(|file| OnnxNetwork::open(&file.path, 1)).collect();
    start.wait();
    let mut networks = opened?;
    let mut rates = Vec::new();
    for _ in 0..rounds {
        let mut round = Vec::new();
        for (file, network) in files.iter().zip(&mut networks) {
            let inputs: Vec<(&str, Tensor)> =
                file.inputs.iter().map(|(name, tensor)| (name.as_str(), tensor.clone())).collect();
            network.run(&inputs)?;
            start.wait();
            let (began, mut runs) = (Instant::now(), 0);
            while began.elapsed() < ROUND {
                network.run(&inputs)?;
                runs += 1;
            }
            round.push((runs * file.batch) as f64 / began.elapsed().as_secs_f64());
        }
        rates.push(round);
    }
    Ok(rates)
}
