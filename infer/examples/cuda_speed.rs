//! How fast exported files run on a GPU: their graphs alone, with and without recorded kernels.
//!
//!     cargo run --release -p ddae-infer --example cuda_speed -- FILE.onnx --batch 64,256,512
//!
//! For each file and batch size: images per second with inputs that stay on the device (`resident`) and with inputs that
//! are copied for every run and results that are copied back (`copied`), and milliseconds until the first result. With
//! `--profile PREFIX` the runtime writes what each node takes; kernels are then not recorded.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Parser;
use ddae_infer::device::Device;
use ddae_infer::engine::{Engine, Keep, Tuning, Value};
use ddae_model::tensor::{Data, Tensor};
use ddae_onnx::messages::{Dimension, ValueInfoProto, data_type};
use ddae_onnx::read;

#[derive(Parser)]
struct Arguments {
    /// Files of ddae-export.
    files: Vec<PathBuf>,
    /// Images per run.
    #[arg(long, value_delimiter = ',', default_value = "256")]
    batch: Vec<usize>,
    /// The GPU, as nvidia-smi counts them; without it the CPU, to try this program.
    #[arg(long)]
    device: Option<u16>,
    /// Round products to TF32.
    #[arg(long)]
    tf32: bool,
    /// Only with recorded kernels (on), or only without (off).
    #[arg(long, value_name = "on|off")]
    graph: Option<String>,
    /// Let cuDNN's slower rules choose the algorithms of convolutions.
    #[arg(long)]
    slow_rules: bool,
    /// Let the runtime make standard convolutions channels-last.
    #[arg(long)]
    prefer_nhwc: bool,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Where the runtime writes what each node takes.
    #[arg(long, value_name = "PREFIX")]
    profile: Option<PathBuf>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let graphs: &[bool] = match (arguments.graph.as_deref(), arguments.device, &arguments.profile) {
        (_, None, _) | (Some("off"), ..) | (None, _, Some(_)) => &[false],
        (Some("on"), ..) => &[true],
        (None, ..) => &[true, false],
        (Some(other), ..) => bail!("--graph is on or off, not {other}"),
    };
    for file in &arguments.files {
        for &graph in graphs {
            for &batch in &arguments.batch {
                if let Err(error) = measure(&arguments, file, graph, batch) {
                    println!("{}, graph {graph}, batch {batch}: FAILED: {error:#}", name(file));
                }
            }
        }
    }
    Ok(())
}

fn measure(arguments: &Arguments, file: &Path, graph: bool, batch: usize) -> Result<()> {
    let device = match arguments.device {
        None => Device::Cpu,
        Some(number) => Device::Cuda { number, tf32: arguments.tf32, graph },
    };
    let tuning = Tuning {
        profile: arguments.profile.clone(),
        slow_rules: arguments.slow_rules,
        prefer_nhwc: arguments.prefer_nhwc,
    };
    let begin = Instant::now();
    let mut engine = Engine::open_tuned(file, device, &tuning)?;
    let opened = begin.elapsed();
    let declared = read::model(file)?.graph.context("no graph")?.input;
    let tensors = declared.iter().map(|input| tensor(input, batch)).collect::<Result<Vec<_>>>()?;
    let values: Vec<(String, Value)> =
        tensors.iter().map(|(name, tensor)| (name.clone(), Value::Host(Arc::clone(tensor)))).collect();
    let by_name = |values: &[(String, Value)]| -> Vec<(String, Value)> {
        values.iter().map(|(name, value)| (name.clone(), share(value))).collect()
    };
    let mut run = |fresh: bool, keep: Keep| -> Result<()> {
        let inputs: Vec<(String, Value)> = match fresh {
            false => by_name(&values),
            // The same numbers in another place, so that they are copied again.
            true => tensors.iter().map(|(name, t)| (name.clone(), Tensor::clone(t).into())).collect(),
        };
        let inputs: Vec<(&str, &Value)> = inputs.iter().map(|(name, value)| (name.as_str(), value)).collect();
        engine.run(&inputs, keep)?;
        Ok(())
    };
    run(false, Keep::Host)?;
    let first = begin.elapsed();
    let duration = Duration::from_secs_f64(arguments.seconds);
    let mut rate = |fresh: bool| -> Result<f64> {
        run(fresh, Keep::Host)?;
        let (begin, mut runs) = (Instant::now(), 0);
        while begin.elapsed() < duration {
            run(fresh, if fresh { Keep::Host } else { Keep::Device })?;
            runs += 1;
        }
        // What is still on its way.
        run(fresh, Keep::Host)?;
        Ok(((runs + 1) * batch) as f64 / begin.elapsed().as_secs_f64())
    };
    let (resident, copied) = (rate(false)?, rate(true)?);
    println!(
        "{}, graph {graph}, batch {batch}: resident {resident:.0} images/s, copied {copied:.0}; open {:.0} ms, first result {:.0} ms",
        name(file),
        opened.as_secs_f64() * 1e3,
        first.as_secs_f64() * 1e3
    );
    for note in engine.take_notes() {
        println!("  note: {note}");
    }
    Ok(())
}

fn share(value: &Value) -> Value {
    match value {
        Value::Host(tensor) => Value::Host(Arc::clone(tensor)),
        _ => unreachable!("inputs are made in memory"),
    }
}

fn name(file: &Path) -> String {
    file.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Numbers as an input has them in use, about.
fn tensor(input: &ValueInfoProto, batch: usize) -> Result<(String, Arc<Tensor>)> {
    let dims = input.dims().context("an input without a shape")?;
    let size = |dim: &_| match dim {
        Some(Dimension::Size(size)) => *size as usize,
        _ => batch,
    };
    let shape: Vec<usize> = dims.iter().map(|dim| size(&dim.value)).collect();
    let count = shape.iter().product();
    let float = |i: usize| (i * 37 % 101) as f64 / 101.0 + 0.01;
    let data = match input.element_type() {
        data_type::INT64 => Data::I64(vec![11; count]),
        data_type::UINT8 => Data::U8((0..count).map(|i| (i * 37 % 256) as u8).collect()),
        data_type::DOUBLE => Data::F64((0..count).map(float).collect()),
        _ => Data::F32((0..count).map(|i| float(i) as f32).collect()),
    };
    let tensor = Tensor::new(&shape, data).context("a shape that is not filled")?;
    Ok((input.name.clone(), Arc::new(tensor)))
}
