//! How fast exported graphs run in ONNX Runtime on this machine, against its matrix-product peak.
//!
//!     cargo run --release -p ddae-export --example onnx_speed -- [BATCH] [THREADS] [SECONDS]
//!
//! The published DDPM UNet (35.7 M) at 32x32, one single-threaded session per thread. The peak is that of the
//! runtime's own float32 product of large square matrices, measured between the graphs.

use std::path::Path;
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

fn main() -> Result<()> {
    let number = |i: usize, default: usize| -> Result<usize> {
        std::env::args().nth(i).map_or(Ok(default), |text| text.parse().with_context(|| text.clone()))
    };
    let (batch, threads, seconds) = (number(1, 8)?, number(2, 2)?, number(3, 5)?);
    let folder = tempfile::tempdir()?;
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
    let full = unet_graph(&config, false)?;
    let mut pooled = full.clone();
    let tap = pooled.find_tap("out_6")?;
    let mean = pooled.pool(tap)?;
    pooled.clear_results();
    pooled.output("out_6", mean);
    let pooled = pooled.keep(&["out_6"])?;
    let weights = Weights::initial(&full, 0);

    let cases = [
        ("matrix product", products(8)?, 1, Options::default()),
        ("forward", full.clone(), batch, Options::default()),
        ("out_6 pooled", pooled.clone(), batch, Options::default()),
        ("forward, unfused", full, batch, Options { fuse: false }),
        ("out_6 pooled, unfused", pooled, batch, Options { fuse: false }),
    ];
    println!("batch {batch}, {threads} single-threaded sessions, {seconds} s each");
    let mut peak = None;
    for (name, graph, batch, options) in cases {
        let path = folder.path().join("graph.onnx");
        let own = Weights::initial(&graph, 0);
        let weights = if name == "matrix product" { &own } else { &weights };
        lower(&graph, weights, options)?.write(&path, &[], LARGEST_MESSAGE)?;
        let rate = rate(&path, &graph, batch, threads, Duration::from_secs(seconds as u64))?;
        let flops = rate * graph.flops() as f64;
        let peak = *peak.get_or_insert(flops);
        println!(
            "{name:24} {rate:8.1} images/s {:8.1} GFLOP/s (nominal), {:4.0} % of the product's",
            flops / 1e9,
            100.0 * flops / peak
        );
    }
    Ok(())
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

/// Samples per second over all threads.
fn rate(path: &Path, graph: &Graph, batch: usize, threads: usize, length: Duration) -> Result<f64> {
    let inputs: Vec<(String, Tensor)> = graph
        .inputs()
        .map(|(_, node)| {
            let shape = node.shape.resolve(batch);
            let count = shape.iter().product();
            let values = (0..count).map(|i| ((i * 37 % 101) as f32 - 50.0) / 50.0).collect();
            (node.name.clone(), Tensor::f32(&shape, values))
        })
        .collect();
    let start = Arc::new(Barrier::new(threads));
    let workers: Vec<_> = (0..threads)
        .map(|_| {
            let (path, inputs, start) = (path.to_path_buf(), inputs.clone(), start.clone());
            std::thread::spawn(move || -> Result<f64> {
                let mut network = OnnxNetwork::open(&path, 1)?;
                let inputs: Vec<(&str, Tensor)> =
                    inputs.iter().map(|(name, tensor)| (name.as_str(), tensor.clone())).collect();
                network.run(&inputs)?;
                start.wait();
                let began = Instant::now();
                let mut runs = 0;
                while began.elapsed() < length {
                    network.run(&inputs)?;
                    runs += 1;
                }
                Ok((runs * batch) as f64 / began.elapsed().as_secs_f64())
            })
        })
        .collect();
    workers.into_iter().try_fold(0.0, |sum, worker| match worker.join() {
        Ok(rate) => Ok(sum + rate?),
        Err(_) => anyhow::bail!("a worker thread panicked"),
    })
}
