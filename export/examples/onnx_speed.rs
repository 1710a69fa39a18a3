//! How fast exported graphs run in ONNX Runtime on this machine, against its matrix-product peak.
//!
//!     cargo run --release -p ddae-export --example onnx_speed -- --batch 8
//!
//! The graphs of the published DDPM UNet (35.7 M) at 32x32, or of SODA's published encoder (ResNet-18) at 32x32, in
//! float32 and in integers. The peak is that of the runtime's own float32 product of large square matrices. With `--json`,
//! one object a line, as `cargo xtask bench` reads it.

mod rounds;

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::{Parser, ValueEnum};
use ddae_export::lower::{lower, lower_plainly};
use ddae_export::precision::PrecisionOptions;
use ddae_model::config::{Config, SodaRun};
use ddae_model::diffusion::{FeatureOptions, encoder_graph, features_graph, sampler_graph};
use ddae_model::graph::{Graph, Node, Path as Layer, Shape, Value};
use ddae_model::tensor::{DType, Tensor};
use ddae_model::weights::Weights;
use ddae_onnx::metadata::Precision;
use ddae_onnx::write::LARGEST_MESSAGE;
use rounds::{Timed, Timing};

/// Images per second of exported graphs in ONNX Runtime.
#[derive(Parser)]
struct Arguments {
    /// The network.
    #[arg(long, value_enum, default_value = "ddpm")]
    network: Network,
    #[command(flatten)]
    timing: Timing,
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
    flops: u64,
    file: Timed,
    fused: bool,
}

/// The layer and timestep that the published probe of this network reads.
const TAP: &str = "out_6";
const TIMESTEP: i64 = 11;

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let folder = tempfile::tempdir()?;
    if let Some(folder) = &arguments.keep {
        std::fs::create_dir_all(folder)?;
    }
    let cases = cases(&arguments, arguments.keep.as_deref().unwrap_or(folder.path()))?;
    let timing = &arguments.timing;
    let best = timing.best(&cases.iter().map(|case| &case.file).collect::<Vec<_>>())?;
    let threads = timing.threads();
    if !arguments.json {
        println!(
            "batch {}, {threads} single-threaded sessions, best of {} rounds",
            timing.batch, timing.rounds
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
                "batch": (i > 0).then_some(case.file.batch),
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
    let (batch, float32) = (arguments.timing.batch, Precision::F32);
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
        features_graph(
            &config,
            &FeatureOptions {
                taps: vec![TAP.to_string()],
                timestep,
                input_u8: false,
                label: false,
                unpooled: false,
            },
        )
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
    let mut model = if fused { lower } else { lower_plainly }(graph, &weights)?;
    if precision != Precision::F32 {
        let precision_options = PrecisionOptions { precision, ..PrecisionOptions::default() };
        let samples = precision_options.samples(graph, None, None, None, 0..=0)?;
        precision_options.convert(&mut model, graph, &samples, &folder.join("scratch.onnx"))?;
    }
    model.write(&path, &[], LARGEST_MESSAGE)?;
    let inputs = graph.inputs().map(|(_, node)| (node.name.clone(), input(node, batch))).collect();
    Ok(Case { name, precision, flops: graph.flops(), file: Timed { path, inputs, batch }, fused })
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
