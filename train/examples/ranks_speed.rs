//! How much of the exchange of gradients is hidden behind the backward pass: steps of two ranks, with sums during the pass, with
//! sums after it, and without any.
//!
//!     cargo run --release -p ddae-train --example ranks_speed
//!
//! The ranks are processes of this machine, with half of its cores each. The three ways take turns, step after step, so that other
//! work slows all of them alike; the medians of each count, of the step and of the waiting after the backward pass. What sums after the
//! pass are waited for begins when both ranks are through with theirs. With `--json`, one object a line, as `cargo xtask bench` reads
//! it.

use std::env;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use ddae_model::config::Config;
use ddae_model::networks::{UNetConfig, unet_graph};
use ddae_model::weights::Weights;
use ddae_train::optimizer::Optimizer;
use ddae_train::torch::shim::ranks::{Group, Overlap, Reducer, Store};
use ddae_train::torch::{Layout, Mode, Network, Parameters, Precision, TorchError, shim, threads};
use tch::{Device, Kind, Reduction, Tensor};

const RANKS: usize = 2;
/// Set for the process that is rank 1: where rank 0 keeps the store.
const PORT: &str = "DDAE_RANKS_SPEED_PORT";
/// Longer than any exchange.
const LIMIT: Duration = Duration::from_secs(600);
const CONFIG: &str = include_str!("../../configs/DDPM_ddpm.yaml");

/// Seconds a step of the published 35.7 M network, fp32, on the CPU.
#[derive(Parser)]
struct Arguments {
    /// Images of each rank in a step.
    #[arg(long, default_value_t = 8)]
    batch: usize,
    /// Timed steps of each way.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,
}

/// How gradients get to the other rank.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    /// Not at all.
    Never,
    /// Each bucket as soon as its gradients are there.
    During,
    /// All buckets after the backward pass.
    After,
}

impl Way {
    const ALL: [Way; 3] = [Way::Never, Way::During, Way::After];

    fn name(self) -> &'static str {
        match self {
            Way::Never => "never",
            Way::During => "during",
            Way::After => "after",
        }
    }
}

/// The process of rank 1, which does not outlive this.
struct Other(Child);

impl Drop for Other {
    fn drop(&mut self) {
        // After its end both do nothing.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A rank at work.
struct Rank {
    group: Arc<Group>,
    reducer: Reducer,
    network: Network,
    parameters: Parameters,
    optimizer: Optimizer,
    inputs: [Tensor; 2],
    target: Tensor,
}

impl Rank {
    fn new(rank: usize, port: u16, batch: usize) -> Result<Rank> {
        let store = Store::connect("127.0.0.1", port, rank == 0, LIMIT, "speed")?;
        let group = Arc::new(Group::gloo(&store, [rank, RANKS], LIMIT, "127.0.0.1", "")?);
        let graph = unet_graph(&UNetConfig::ddpm(), false)?;
        let (device, layout) = (Device::Cpu, Layout::ChannelsLast);
        let weights = Weights::initial(&graph, 0);
        let parameters = Parameters::new(&graph, &weights, device, Kind::Float, layout, true)?;
        let training = Config::parse(CONFIG, "DDPM_ddpm.yaml", &[])?.training;
        let size = [batch as i64, 3, 32, 32];
        Ok(Rank {
            reducer: Reducer::new(Arc::clone(&group), parameters.tensors())?,
            group,
            network: Network::new(&graph, device, Kind::Float, layout)?,
            optimizer: Optimizer::new(&training, &parameters, |_| 1.0, device, None)?,
            parameters,
            inputs: [
                Tensor::randn(size, (Kind::Float, device)),
                Tensor::rand([batch as i64], (Kind::Float, device)),
            ],
            target: Tensor::randn(size, (Kind::Float, device)),
        })
    }

    /// One step, and how long the slower rank took for it.
    fn step(&mut self, way: Way) -> Result<(f64, Overlap)> {
        // Both begin at once.
        self.group.sum(&Tensor::from_slice(&[0f32]))?;
        let start = Instant::now();
        let [x, t] = &self.inputs;
        let mode = Mode { train: true, precision: Precision::Full };
        let y = self.network.forward(&self.parameters, &[("x", x), ("t", t)], mode)?;
        let loss = y[0].mse_loss(&self.target, Reduction::Mean);
        let Rank { reducer, optimizer, .. } = self;
        let overlap = match way {
            Way::Never => optimizer.backward(&loss).map(|()| Overlap::default()),
            Way::During => reducer.sum_during(|| optimizer.backward(&loss)),
            Way::After => {
                optimizer.backward(&loss)?;
                // The wait for the slower rank is none for the sums.
                self.group.sum(&Tensor::from_slice(&[0f32]))?;
                reducer.sum_during(|| Ok::<(), TorchError>(()))
            }
        }?;
        optimizer.set_rate(1e-4)?;
        let _norm = optimizer.update(&self.parameters)?;
        let slower = Tensor::from_slice(&[start.elapsed().as_secs_f64()]);
        self.group.largest(&slower)?;
        Ok((slower.double_value(&[0]), overlap))
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    threads::wait_asleep();
    let port = env::var(PORT).ok();
    let (rank, port) = match &port {
        Some(port) => (1, port.parse().context(PORT)?),
        None => (0, TcpListener::bind("127.0.0.1:0")?.local_addr()?.port()),
    };
    let other = match rank {
        0 => {
            let mut command = Command::new(env::current_exe()?);
            command.args(env::args_os().skip(1)).env(PORT, port.to_string()).stdout(Stdio::null());
            Some(Other(command.spawn().context("cannot start the other rank")?))
        }
        _ => None,
    };
    threads::set(None, RANKS);
    shim::flush_denormals(true)?;
    shim::keep_memory()?;
    let mut of_rank = Rank::new(rank, port, arguments.batch)?;
    let mut found = Way::ALL.map(|_| (Vec::new(), Vec::new(), Overlap::default()));
    // The first steps fill caches and are not counted.
    for round in 0..=arguments.rounds {
        for (way, (times, waits, sum)) in Way::ALL.into_iter().zip(&mut found) {
            let (seconds, overlap) = of_rank.step(way)?;
            if round > 0 {
                times.push(seconds);
                waits.push(overlap.waited);
                sum.early += overlap.early;
                sum.buckets += overlap.buckets;
            }
        }
    }
    if let Some(mut other) = other {
        ensure!(other.0.wait()?.success(), "the other rank failed");
        for (way, (times, waits, sum)) in Way::ALL.into_iter().zip(found) {
            let rounds = arguments.rounds.max(1) as f64;
            let (seconds, waited) = (median(times), median(waits));
            let [early, buckets] = [sum.early, sum.buckets].map(|count| count as f64 / rounds);
            if arguments.json {
                let object = serde_json::json!({
                    "way": way.name(),
                    "batch": arguments.batch,
                    "threads": tch::get_num_threads(),
                    "seconds": seconds,
                    "waited": waited,
                    "early": early,
                    "buckets": buckets,
                });
                println!("{object}");
            } else {
                let name = way.name();
                println!(
                    "{name:8}{seconds:8.3} s a step, {waited:.3} s of waiting, {early:.1} of {buckets:.1} buckets early"
                );
            }
        }
    }
    Ok(())
}
