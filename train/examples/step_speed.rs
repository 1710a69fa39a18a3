//! How fast this machine runs and trains a network: images per second, per precision and memory layout.
//!
//!     cargo run --release -p ddae-train --example step_speed -- --batch 32
//!
//! The variants and libtorch's product of large square matrices, the yardstick, take turns, round after round, so that
//! other work on the machine slows all of them alike; the best round of each counts. FLOPs are those of the graph, a
//! training step counted as three forward passes. With `--json`, one object a line, as `cargo xtask bench` reads it.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};
use ddae_model::graph::{Graph, Node, Shape};
use ddae_model::networks::{
    Architecture, Edm2Config, EncoderArch, EncoderConfig, UNetCConfig, UNetConfig, UNetEConfig, UNetGConfig,
    resnet_graph, unet_graph,
};
use ddae_model::weights::Weights;
use ddae_train::torch::{Layout, Mode, Network, Parameters, Precision, device, shim, threads};
use tch::{Cuda, Device, Kind, Reduction, Tensor};

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Size {
    /// The published 35.7 M network for 3x32x32 images.
    Ddpm,
    /// The published 56.5 M network for 3x32x32 images.
    Ddpmpp,
    /// EDM2's published 39.5 M network for 3x32x32 images, config C.
    UnetC,
    /// The same, config E.
    UnetE,
    /// The same, config G.
    UnetG,
    /// One block a resolution, 64 wide, for 1x28x28 images.
    Small,
    /// SODA's published encoder, a ResNet-18, for 3x32x32 images.
    SodaEncoder,
}

/// Rows and columns of the square matrices whose product is the yardstick. The fastest counts: which one it is depends
/// on the caches, and on how long a library prepares operands for the matrix units.
const SIDES: [i64; 3] = [1024, 2048, 4096];

/// Floating-point operations of the products of each size: one product of the largest.
const PRODUCT_FLOPS: f64 = 2.0 * 4096.0 * 4096.0 * 4096.0;

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Work {
    /// One call without gradients.
    Forward,
    /// Forward, backward, Adam and the moving average.
    Train,
}

/// Images per second of a network, forward and in training.
#[derive(Parser)]
struct Arguments {
    /// The network.
    #[arg(long, value_enum, default_value = "ddpm")]
    network: Size,
    /// Images per step.
    #[arg(long, default_value_t = 32)]
    batch: usize,
    /// Timed rounds; the best counts.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Threads; one for each core that the process may use when absent.
    #[arg(long)]
    threads: Option<usize>,
    /// What to time.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "forward,train")]
    work: Vec<Work>,
    /// Element types of the products: fp32, bf16, fp16.
    #[arg(long, value_delimiter = ',', default_value = "fp32,bf16", value_parser = precision)]
    precision: Vec<(&'static str, Precision)>,
    /// Memory layouts: contiguous, channels-last.
    #[arg(long, value_delimiter = ',', default_value = "channels-last", value_parser = layout)]
    layout: Vec<(&'static str, Layout)>,
    /// Use the first GPU.
    #[arg(long)]
    cuda: bool,
    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,
}

fn precision(text: &str) -> Result<(&'static str, Precision), String> {
    match text {
        "fp32" => Ok(("fp32", Precision::Full)),
        "bf16" => Ok(("bf16", Precision::Bf16)),
        "fp16" => Ok(("fp16", Precision::Fp16)),
        _ => Err("it is fp32, bf16 or fp16".to_string()),
    }
}

fn layout(text: &str) -> Result<(&'static str, Layout), String> {
    match text {
        "contiguous" => Ok(("contiguous", Layout::Contiguous)),
        "channels-last" => Ok(("channels-last", Layout::ChannelsLast)),
        _ => Err("it is contiguous or channels-last".to_string()),
    }
}

fn graph(size: Size) -> Result<Graph> {
    let config = match size {
        Size::SodaEncoder => {
            let arch = EncoderArch::ResNet18;
            let (feature_dim, image_shape) = (128, [3, 32, 32]);
            let config = EncoderConfig { arch, feature_dim, cifar_small_image: true, image_shape };
            return Ok(resnet_graph(&config)?);
        }
        Size::UnetC => {
            return Ok(Architecture::UNetC(UNetCConfig(Edm2Config::published())).network_graph(false)?);
        }
        Size::UnetE => {
            return Ok(Architecture::UNetE(UNetEConfig(Edm2Config::published())).network_graph(false)?);
        }
        Size::UnetG => {
            return Ok(Architecture::UNetG(UNetGConfig(Edm2Config::published())).network_graph(false)?);
        }
        Size::Ddpm => UNetConfig::ddpm(),
        Size::Ddpmpp => UNetConfig::ddpmpp(),
        Size::Small => UNetConfig {
            image_shape: [1, 28, 28],
            n_channels: 64,
            ch_mults: vec![1, 2, 2],
            is_attn: vec![false, true, false],
            n_blocks: 1,
            ..UNetConfig::ddpm()
        },
    };
    Ok(unet_graph(&config, false)?)
}

/// A network with all that a training step needs.
struct Trial {
    network: Network,
    parameters: Parameters,
    average: Parameters,
    moments: [Parameters; 2],
    steps: Vec<Tensor>,
    inputs: Vec<(String, Tensor)>,
    target: Tensor,
}

impl Trial {
    fn new(graph: &Graph, batch: usize, layout: Layout, device: Device) -> Result<Trial> {
        let weights = Weights::initial(graph, 0);
        let parameters = Parameters::new(graph, &weights, device, Kind::Float, layout, true)?;
        let sizes = |shape: &Shape| shape.resolve(batch).into_iter().map(|n| n as i64).collect::<Vec<_>>();
        let random = |node: &Node| match node.shape.rank() {
            1 => Tensor::rand(sizes(&node.shape), (Kind::Float, device)),
            _ => Tensor::randn(sizes(&node.shape), (Kind::Float, device)),
        };
        let (_, result) = graph.outputs().first().context("the network has no output")?;
        Ok(Trial {
            network: Network::new(graph, device, Kind::Float, layout)?,
            average: parameters.copy()?,
            moments: [parameters.zeros_like()?, parameters.zeros_like()?],
            steps: parameters.tensors().iter().map(|_| Tensor::from(0f32).to_device(device)).collect(),
            parameters,
            inputs: graph.inputs().map(|(_, node)| (node.name.clone(), random(node))).collect(),
            target: random(graph.node(*result)),
        })
    }

    fn forward(&self, mode: Mode) -> Result<Tensor> {
        let inputs: Vec<(&str, &Tensor)> = self.inputs.iter().map(|(name, x)| (name.as_str(), x)).collect();
        let mut results = self.network.forward(&self.parameters, &inputs, mode)?;
        Ok(results.swap_remove(0))
    }

    fn train(&mut self, mode: Mode) -> Result<()> {
        let loss = self.forward(mode)?.mse_loss(&self.target, Reduction::Mean);
        loss.backward();
        let gradients = self.parameters.gradients()?;
        let _norm = shim::clip_gradients(&gradients, 1.0)?;
        tch::no_grad(|| {
            for step in &mut self.steps {
                let _ = step.g_add_scalar_(1.0);
            }
        });
        let adam = shim::AdamStep {
            learning_rate: shim::Rate::Number(2e-4),
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: 0.0,
            decoupled: false,
        };
        let tensors = shim::AdamTensors {
            parameters: self.parameters.tensors(),
            gradients: &gradients,
            first_moments: self.moments[0].tensors(),
            second_moments: self.moments[1].tensors(),
            steps: &self.steps,
        };
        shim::adam_step(adam, &tensors, None)?;
        shim::clear_gradients(self.parameters.tensors())?;
        shim::lerp(self.average.tensors(), self.parameters.tensors(), 1e-3)?;
        Ok(())
    }

    fn work(&mut self, work: Work, precision: Precision) -> Result<()> {
        let mode = Mode { train: work == Work::Train, precision };
        match work {
            Work::Forward => tch::no_grad(|| self.forward(mode)).map(drop),
            Work::Train => self.train(mode),
        }
    }
}

/// Matrices to multiply, a pair of every size.
struct Product {
    name: &'static str,
    pairs: Vec<[Tensor; 2]>,
}

impl Product {
    fn new(name: &'static str, precision: Precision, device: Device) -> Product {
        let kind = match precision {
            Precision::Full => Kind::Float,
            Precision::Bf16 => Kind::BFloat16,
            Precision::Fp16 => Kind::Half,
        };
        let matrix = |side| Tensor::randn([side, side], (Kind::Float, device)).to_kind(kind);
        // The right one is transposed, as the weights of a linear layer are, which is the faster way round.
        Product { name, pairs: SIDES.map(|side| [matrix(side), matrix(side).tr()]).into() }
    }

    /// The time of [`PRODUCT_FLOPS`] in the fastest size.
    fn timed(&self, device: Device) -> Result<Times> {
        let mut best = Times::NONE;
        for (side, [left, right]) in SIDES.into_iter().zip(&self.pairs) {
            let count = (PRODUCT_FLOPS / (2.0 * (side as f64).powi(3))) as usize;
            best.improve(timed(device, || {
                for _ in 0..count {
                    let _product = left.f_matmul(right)?;
                }
                Ok(())
            })?);
        }
        Ok(best)
    }
}

/// Seconds of one step on the clock, and those that the main thread was on a processor.
#[derive(Clone, Copy)]
struct Times {
    clock: f64,
    busy: f64,
}

impl Times {
    const NONE: Times = Times { clock: f64::INFINITY, busy: f64::INFINITY };

    fn improve(&mut self, other: Times) {
        self.clock = self.clock.min(other.clock);
        self.busy = self.busy.min(other.busy);
    }
}

fn timed(device: Device, work: impl FnOnce() -> Result<()>) -> Result<Times> {
    let (start, busy) = (Instant::now(), busy_seconds());
    work()?;
    if let Device::Cuda(index) = device {
        Cuda::synchronize(index as i64);
    }
    Ok(Times { clock: start.elapsed().as_secs_f64(), busy: busy_seconds() - busy })
}

/// Seconds that the main thread spent on a processor so far (Linux; 0 elsewhere).
fn busy_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or(0.0) / 1e9
}

/// One line of the result.
struct Row {
    measure: &'static str,
    precision: &'static str,
    layout: Option<&'static str>,
    times: Times,
    /// Images a step; none in a product.
    batch: Option<usize>,
    flops: f64,
}

impl Row {
    fn print(&self, json: bool) {
        let (seconds, busy) = (self.times.clock, self.times.busy);
        let rate = self.batch.map(|batch| batch as f64 / seconds);
        let gflops = self.flops / seconds / 1e9;
        let Row { measure, precision, layout, .. } = *self;
        if json {
            let object = serde_json::json!({
                "library": "libtorch",
                "measure": measure,
                "precision": precision,
                "layout": layout,
                "batch": self.batch,
                "threads": tch::get_num_threads(),
                "images_per_second": rate,
                "gflops_per_second": gflops,
            });
            println!("{object}");
        } else {
            let rate = rate.map_or_else(String::new, |rate| format!("{rate:.2}"));
            let layout = layout.unwrap_or_default();
            println!(
                "{measure:14} {precision:6} {layout:14} {seconds:10.3} {busy:10.3} {rate:>10} {gflops:12.0}"
            );
        }
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let device = if arguments.cuda { device::cuda(0)? } else { Device::Cpu };
    threads::wait_asleep();
    threads::set(arguments.threads, 1);
    shim::flush_denormals(true)?;
    shim::keep_memory()?;
    ensure!(
        arguments.network != Size::SodaEncoder || !arguments.work.contains(&Work::Train),
        "--network soda-encoder is for --work forward: an encoder is trained with its decoder"
    );
    let graph = graph(arguments.network)?;
    let flops = graph.flops() as f64;
    if !arguments.json {
        println!(
            "{} parameters, {:.2} GFLOP forward per image, batch {}, {} threads",
            graph.parameter_count(),
            flops / 1e9,
            arguments.batch,
            tch::get_num_threads()
        );
        println!(
            "{:14} {:6} {:14} {:>10} {:>10} {:>10} {:>12}",
            "", "", "layout", "s/step", "busy s", "images/s", "GFLOP/s"
        );
    }

    let products: Vec<Product> =
        arguments.precision.iter().map(|&(name, precision)| Product::new(name, precision, device)).collect();
    let mut trials = Vec::new();
    for &(name, layout) in &arguments.layout {
        trials.push((name, Trial::new(&graph, arguments.batch, layout, device)?));
    }
    let mut rows: Vec<Row> = products
        .iter()
        .map(|product| Row {
            measure: "matrix product",
            precision: product.name,
            layout: None,
            times: Times::NONE,
            batch: None,
            flops: PRODUCT_FLOPS,
        })
        .collect();
    for &work in &arguments.work {
        let (measure, passes) = if work == Work::Forward { ("forward", 1.0) } else { ("train", 3.0) };
        for &(layout, _) in &arguments.layout {
            rows.extend(arguments.precision.iter().map(|&(precision, _)| Row {
                measure,
                precision,
                layout: Some(layout),
                times: Times::NONE,
                batch: Some(arguments.batch),
                flops: flops * passes * arguments.batch as f64,
            }));
        }
    }
    // The first round fills caches and is not counted.
    for round in 0..=arguments.rounds {
        let mut times = Vec::new();
        for product in &products {
            times.push(product.timed(device)?);
        }
        for &work in &arguments.work {
            for (_, trial) in &mut trials {
                for &(_, precision) in &arguments.precision {
                    times.push(timed(device, || trial.work(work, precision))?);
                }
            }
        }
        for (row, times) in rows.iter_mut().zip(times).filter(|_| round > 0) {
            row.times.improve(times);
        }
    }
    for row in &rows {
        row.print(arguments.json);
    }
    Ok(())
}
