//! How fast exported graphs run in ONNX Runtime on this machine, against its matrix-product peak.
//!
//!     cargo run --release -p ddae-export --example onnx_speed -- [BATCH] [THREADS] [ROUNDS]
//!
//! The published DDPM UNet (35.7 M) at 32x32, one single-threaded session per thread. The peak is that of the
//! runtime's own float32 product of large square matrices. Rounds of one second alternate between all of them, and
//! the best round of each counts, so that other work on the machine matters less.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use ddae_export::lower::{Options, lower};
use ddae_export::onnx::write::LARGEST_MESSAGE;
use ddae_export::runtime::OnnxNetwork;
use ddae_model::graph::{Graph, Path as Layer, Shape, Value};
use ddae_model::networks::{UNetConfig, unet_graph};
use ddae_model::tensor::{DType, Tensor};
use ddae_model::weights::Weights;

/// One thing to measure.
struct Case {
    name: &'static str,
    path: PathBuf,
    flops: u64,
    inputs: Vec<(String, Tensor)>,
    batch: usize,
    options: Options,
}

const ROUND: Duration = Duration::from_secs(1);

fn main() -> Result<()> {
    let number = |i: usize, default: usize| -> Result<usize> {
        std::env::args().nth(i).map_or(Ok(default), |text| text.parse().with_context(|| text.clone()))
    };
    let (batch, threads, rounds) = (number(1, 8)?, number(2, 2)?, number(3, 5)?);
    let folder = tempfile::tempdir()?;
    let full = published()?;
    let pooled = pooled(&full, "out_6")?;
    let plain = Options { fuse: false };
    let cases = [
        case("matrix product", &products(8)?, 1, Options::default(), folder.path())?,
        case("forward", &full, batch, Options::default(), folder.path())?,
        case("out_6 pooled", &pooled, batch, Options::default(), folder.path())?,
        case("forward, unfused", &full, batch, plain, folder.path())?,
        case("out_6 pooled, unfused", &pooled, batch, plain, folder.path())?,
    ];
    let cases = Arc::new(cases);
    let best = measure(&cases, threads, rounds)?;
    println!("batch {batch}, {threads} single-threaded sessions, best of {rounds} rounds");
    let peak = best[0] * cases[0].flops as f64;
    for (case, rate) in cases.iter().zip(best) {
        let flops = rate * case.flops as f64;
        println!(
            "{:24} {rate:8.1} images/s {:8.1} GFLOP/s (nominal), {:4.0} % of the product's{}",
            case.name,
            flops / 1e9,
            100.0 * flops / peak,
            if case.options.fuse { "" } else { " (a yardstick for the fused one)" }
        );
    }
    Ok(())
}

fn published() -> Result<Graph> {
    let config = UNetConfig {
        image_shape: [3, 32, 32],
        n_channels: 128,
        ch_mults: vec![1, 2, 2, 2],
        is_attn: vec![false, true, false, false],
        attn_channels_per_head: None,
        dropout: 0.1,
        n_blocks: 2,
        use_res_for_updown: false,
        augment_dim: 0,
    };
    Ok(unet_graph(&config, false)?)
}

/// The layer `tap`, averaged over the picture.
fn pooled(full: &Graph, tap: &str) -> Result<Graph> {
    let mut graph = full.clone();
    let map = graph.find_tap(tap)?;
    let mean = graph.pool(map)?;
    graph.clear_results();
    graph.output(tap, mean);
    Ok(graph.keep(&[tap])?)
}

fn case(name: &'static str, graph: &Graph, batch: usize, options: Options, folder: &Path) -> Result<Case> {
    let path = folder.join(format!("{name}.onnx"));
    lower(graph, &Weights::initial(graph, 0), options)?.write(&path, &[], LARGEST_MESSAGE)?;
    let inputs = graph
        .inputs()
        .map(|(_, node)| {
            let shape = node.shape.resolve(batch);
            let count = shape.iter().product();
            let values = (0..count).map(|i| ((i * 37 % 101) as f32 - 50.0) / 50.0).collect();
            (node.name.clone(), Tensor::f32(&shape, values))
        })
        .collect();
    Ok(Case { name, path, flops: graph.flops(), inputs, batch, options })
}

/// Samples per second of each case over all threads, in its best round.
fn measure(cases: &Arc<[Case; 5]>, threads: usize, rounds: usize) -> Result<Vec<f64>> {
    let start = Arc::new(Barrier::new(threads));
    let workers: Vec<_> = (0..threads)
        .map(|_| {
            let (cases, start) = (cases.clone(), start.clone());
            std::thread::spawn(move || measure_alone(&cases[..], rounds, &start))
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
