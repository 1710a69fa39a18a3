//! How fast exported graphs run in ONNX Runtime on this machine, against its matrix-product peak.
//!
//!     cargo run --release -p ddae-export --example onnx_speed -- --batch 8
//!
//! The graphs of the published DDPM UNet (35.7 M) at 32x32, or of SODA's published encoder (ResNet-18) at 32x32, in
//! float32 and in integers; one single-threaded session per thread. The peak is that of the runtime's own float32
//! product of large square matrices. Rounds of one second alternate between all of them, and
//! the best round of each counts, so that other work on the machine matters less. With `--json`, one object a line, as
//! `cargo xtask bench` reads it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::{Parser, ValueEnum};
use ddae_export::lower::{Options, lower};
use ddae_export::numbers::Numbers;
use ddae_model::config::{Config, SodaRun};
use ddae_model::diffusion::{FeatureOptions, encoder_graph, features_graph, sampler_graph};
use ddae_model::graph::{Graph, Node, Path as Layer, Shape, Value};
use ddae_model::tensor::{DType, Tensor};
use ddae_model::weights::Weights;
use ddae_onnx::metadata::Precision;
use ddae_onnx::runtime::OnnxNetwork;
use ddae_onnx::write::LARGEST_MESSAGE;

/// Images per second of exported graphs in ONNX Runtime.
#[derive(Parser)]
struct Arguments {
    /// The network.
    #[arg(long, value_enum, default_value = "ddpm")]
    network: Network,
    /// Images per run.
    #[arg(long, default_value_t = 8)]
    batch: usize,
    /// Threads, each with a session of its own [default: all cores].
    #[arg(long)]
    threads: Option<usize>,
    /// Timed rounds of one second per graph; the best counts.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Time the graphs without fused layers, too.
    #[arg(long)]
    unfused: bool,
    /// Leave the graphs in this folder, for the example file_speed.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Network {
    /// The published 35.7 M UNet for 3x32x32 images.
    Ddpm,
    /// SODA's published encoder for 3x32x32 images.
    SodaEncoder,
}

/// One thing to measure.
struct Case {
    name: &'static str,
    precision: Precision,
    path: PathBuf,
    flops: u64,
    inputs: Vec<(String, Tensor)>,
    batch: usize,
    fused: bool,
}

const ROUND: Duration = Duration::from_secs(1);

/// The layer and timestep that the published probe of this network reads.
const TAP: &str = "out_6";
const TIMESTEP: i64 = 11;

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let threads = match arguments.threads {
        Some(threads) => threads.max(1),
        None => std::thread::available_parallelism()?.get(),
    };
    let folder = tempfile::tempdir()?;
    if let Some(folder) = &arguments.keep {
        std::fs::create_dir_all(folder)?;
    }
    let cases = cases(&arguments, arguments.keep.as_deref().unwrap_or(folder.path()))?;
    let cases: Arc<[Case]> = cases.into();
    let best = measure(&cases, threads, arguments.rounds.max(1))?;
    if !arguments.json {
        println!(
            "batch {}, {threads} single-threaded sessions, best of {} rounds",
            arguments.batch, arguments.rounds
        );
    }
    let peak = best[0] * cases[0].flops as f64;
    for (i, (case, rate)) in cases.iter().zip(best).enumerate() {
        let flops = rate * case.flops as f64;
        let precision = if case.precision == Precision::F32 { "fp32" } else { case.precision.name() };
        if arguments.json {
            let object = serde_json::json!({
                "library": "ONNX Runtime",
                "measure": case.name,
                "precision": precision,
                "fused": case.fused,
                "batch": (i > 0).then_some(case.batch),
                "threads": threads,
                "images_per_second": (i > 0).then_some(rate),
                "gflops_per_second": flops / 1e9,
            });
            println!("{object}");
        } else {
            println!(
                "{:32} {precision:6} {rate:8.1} images/s {:8.1} GFLOP/s (nominal), {:4.0} % of the product's{}",
                case.name,
                flops / 1e9,
                100.0 * flops / peak,
                if case.fused { "" } else { " (unfused)" }
            );
        }
    }
    Ok(())
}

/// The matrix product, which must come first, and the graphs.
fn cases(arguments: &Arguments, folder: &Path) -> Result<Vec<Case>> {
    let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs");
    let (batch, float32) = (arguments.batch, Precision::F32);
    let mut cases = vec![case("matrix product", &products(8)?, 1, true, float32, folder)?];
    if arguments.network == Network::SodaEncoder {
        let model = SodaRun::read_with(&configs.join("soda_cifar10.yaml"), &[])?.encoder_model();
        let graph = encoder_graph(&model, false, false)?;
        for precision in [float32, Precision::Int8] {
            cases.push(case("encoder", &graph, batch, true, precision, folder)?);
        }
        if arguments.unfused {
            cases.push(case("encoder", &graph, batch, false, float32, folder)?);
        }
        return Ok(cases);
    }
    let config = Config::read(&configs.join("DDPM_ddpm.yaml"))?;
    let features = |timestep| {
        features_graph(&config, &FeatureOptions { taps: vec![TAP.to_string()], timestep, input_u8: false })
    };
    let graphs = [
        ("forward", config.network.network_graph(false)?),
        ("sampler step", sampler_graph(&config)?),
        ("features out_6", features(None)?),
        ("features out_6, fixed timestep", features(Some(TIMESTEP))?),
    ];
    for fused in [true, false].into_iter().filter(|&fused| fused || arguments.unfused) {
        for (name, graph) in &graphs {
            cases.push(case(name, graph, batch, fused, float32, folder)?);
        }
    }
    Ok(cases)
}

/// A graph with weights as training begins with them, as a file. Integers are calibrated on the built-in images.
fn case(
    name: &'static str,
    graph: &Graph,
    batch: usize,
    fused: bool,
    precision: Precision,
    folder: &Path,
) -> Result<Case> {
    let path = folder.join(format!("{name}, {}, {fused}.onnx", precision.name()));
    let weights = Weights::initial(graph, 0);
    let mut model = lower(graph, &weights, Options { fuse: fused })?;
    if precision != Precision::F32 {
        let numbers = Numbers { precision, ..Numbers::float32() };
        let samples = numbers.samples(graph, None, None, None, 0..=0)?;
        numbers.convert(&mut model, graph, &samples, &folder.join("scratch.onnx"))?;
    }
    model.write(&path, &[], LARGEST_MESSAGE)?;
    let inputs = graph.inputs().map(|(_, node)| (node.name.clone(), input(node, batch))).collect();
    Ok(Case { name, precision, path, flops: graph.flops(), inputs, batch, fused })
}

/// Values between -1 and 1; timesteps are all the same.
fn input(node: &Node, batch: usize) -> Tensor {
    let shape = node.shape.resolve(batch);
    let count = shape.iter().product();
    match node.dtype {
        DType::I64 => Tensor::i64(&shape, vec![TIMESTEP; count]),
        _ => Tensor::f32(&shape, (0..count).map(|i| ((i * 37 % 101) as f32 - 50.0) / 50.0).collect()),
    }
}

/// Samples per second of each case over all threads, in its best round.
fn measure(cases: &Arc<[Case]>, threads: usize, rounds: usize) -> Result<Vec<f64>> {
    let start = Arc::new(Barrier::new(threads));
    let workers: Vec<_> = (0..threads)
        .map(|_| {
            let (cases, start) = (cases.clone(), start.clone());
            std::thread::spawn(move || measure_alone(&cases, rounds, &start))
        })
        .collect();
    let mut sums = vec![vec![0.0; cases.len()]; rounds];
    for worker in workers {
        let Ok(rates) = worker.join() else { anyhow::bail!("a worker thread panicked") };
        for (sum, rates) in sums.iter_mut().zip(rates?) {
            for (sum, rate) in sum.iter_mut().zip(rates) {
                *sum += rate;
            }
        }
    }
    let best = |i: usize| sums.iter().map(|round: &Vec<f64>| round[i]).fold(0.0, f64::max);
    Ok((0..cases.len()).map(best).collect())
}

/// One thread's samples per second, by round and case.
fn measure_alone(cases: &[Case], rounds: usize, start: &Barrier) -> Result<Vec<Vec<f64>>> {
    let opened: Result<Vec<_>, _> = cases.iter().map(|case| OnnxNetwork::open(&case.path, 1)).collect();
    start.wait();
    let mut networks = opened?;
    let mut rates = Vec::new();
    for _ in 0..rounds {
        let mut round = Vec::new();
        for (case, network) in cases.iter().zip(&mut networks) {
            let inputs: Vec<(&str, Tensor)> =
                case.inputs.iter().map(|(name, tensor)| (name.as_str(), tensor.clone())).collect();
            network.run(&inputs)?;
            start.wait();
            let (began, mut runs) = (Instant::now(), 0);
            while began.elapsed() < ROUND {
                network.run(&inputs)?;
                runs += 1;
            }
            round.push((runs * case.batch) as f64 / began.elapsed().as_secs_f64());
        }
        rates.push(round);
    }
    Ok(rates)
}

/// `count` products of 1024 x 1024 matrices, one after the other.
fn products(count: usize) -> Result<Graph> {
    let mut g = Graph::new();
    let mut x: Value = g.input("x", DType::F32, Shape::batch(&[1024, 1024]))?;
    for i in 0..count {
        x = g.linear(&Layer::root().at(i), x, 1024, false)?;
    }
    g.output("y", x);
    Ok(g)
}
