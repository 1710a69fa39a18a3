//! The operators of files for GPUs, one by one, against float64 on the host.
//!
//!     cargo run --release -p ddae-infer --example cuda_ops -- --device 0
//!
//! Prints the largest difference of each, relative to the largest value; ends with 1 where one is beyond 2e-3 (f16) or 1e-5
//! (f32; 2e-3 where convolutions may round to TF32). Without `--device` it runs on the CPU, which has kernels of this
//! project's operators, and says of the others that there are none.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::Parser;
use ddae_base::random::{Purpose, Stream, stream, stream_key};
use ddae_infer::device::Device;
use ddae_infer::engine::{Engine, Keep, Noise, Value};
use ddae_model::graph::Shape;
use ddae_model::tensor::{DType, Tensor};
use ddae_onnx::initializer::Initializer;
use ddae_onnx::messages::{AttributeProto, NodeProto, ValueInfoProto, data_type};
use ddae_onnx::operators::{
    AVERAGE_POOL, DOMAIN, GROUP_NORM_SILU, MULTI_HEAD_ATTENTION, NHWC_CONV, RUNTIME_DOMAIN, UPSAMPLE_NEAREST,
};
use ddae_onnx::write::{LARGEST_MESSAGE, Model};
use half::f16;

#[derive(Parser)]
struct Arguments {
    /// The GPU, as nvidia-smi counts them.
    #[arg(long)]
    device: Option<u16>,
    /// Round products of float32 to TF32.
    #[arg(long)]
    tf32: bool,
}

impl Arguments {
    fn device(&self) -> Device {
        match self.device {
            None => Device::Cpu,
            Some(number) => Device::Cuda { number, tf32: self.tf32, graph: false },
        }
    }
}

/// Values by name, with their shapes.
struct Operand {
    name: &'static str,
    shape: Vec<usize>,
    values: Vec<f64>,
    /// Whether it is of the type under test, and not always float32.
    typed: bool,
}

/// One operation with what it should give.
struct Check {
    name: String,
    node: NodeProto,
    operands: Vec<Operand>,
    outputs: Vec<(&'static str, Vec<usize>, Vec<f64>)>,
    half: bool,
    limit: f64,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let folder = std::env::temp_dir().join(format!("cuda_ops.{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let mut failures = 0;
    for half in [true, false] {
        for check in checks(half, arguments.tf32) {
            match run(&check, &arguments, &folder) {
                Ok(error) => {
                    let verdict = if error <= check.limit { "ok" } else { "WRONG" };
                    failures += usize::from(error > check.limit);
                    println!("{verdict:5} {error:9.2e} {}", check.name);
                }
                Err(error) if arguments.device.is_none() && lacks_kernel(&error) => {
                    println!("none            {}: no such kernel on the CPU", check.name);
                }
                Err(error) => {
                    failures += 1;
                    println!("FAILED          {}: {error:#}", check.name);
                }
            }
        }
    }
    match noise(&arguments, &folder) {
        Ok((differ, all, worst)) => {
            let is_right = worst < 1e-6 && differ * 1_000_000 <= all;
            failures += usize::from(!is_right);
            let verdict = if is_right { "ok" } else { "WRONG" };
            println!("{verdict:5} {worst:9.2e} noise: {differ} of {all} draws differ from the CPU's");
        }
        Err(error) => {
            failures += 1;
            println!("FAILED          noise: {error:#}");
        }
    }
    std::fs::remove_dir_all(&folder)?;
    println!("{failures} wrong or failed");
    Ok(if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Whether the runtime has no kernel of an operator here.
fn lacks_kernel(error: &anyhow::Error) -> bool {
    let message = format!("{error:#}");
    ["Failed to find kernel", "Could not find an implementation"].iter().any(|text| message.contains(text))
}

/// How many draws differ from the CPU's, of how many, and the largest difference. The last images have no key.
fn noise(arguments: &Arguments, folder: &Path) -> Result<(usize, usize, f64)> {
    let shape = [300, 3, 32, 32];
    let keys = (0..296).map(|i| stream_key(5, Purpose::Noise, i, 11 << 32)).collect();
    let noise = Noise { keys, shape: shape.to_vec() };
    let mut model = Model { name: "noise".to_string(), ..Model::default() };
    model.inputs.push(ValueInfoProto::tensor("x", DType::F32, &Shape::fixed(&shape)));
    model.outputs.push(ValueInfoProto::tensor("y", DType::F32, &Shape::fixed(&shape)));
    model.nodes.push(NodeProto::new("Neg", "op", &["x"], vec![], &["y"]));
    let path = folder.join("noise.onnx");
    model.write(&path, &[], LARGEST_MESSAGE)?;
    let expected = noise.drawn();
    let mut engine = Engine::open(&path, arguments.device())?;
    let results = engine.run(&[("x", &Value::Noise(Arc::new(noise)))], Keep::Host)?;
    let (_, found) = results.first().context("no results")?.floats()?;
    let pairs = found.iter().zip(expected.as_f32().unwrap_or_default());
    let differ = pairs.clone().filter(|(a, b)| **a != -**b).count();
    let worst = pairs.fold(0f64, |worst, (a, b)| worst.max(f64::from((a + b).abs())));
    Ok((differ, found.len(), worst))
}

fn checks(half: bool, tf32: bool) -> Vec<Check> {
    let mut rng = stream(14, Purpose::Noise, u64::from(half), 0);
    let mut all = Vec::new();
    for (n, p, c, groups) in [
        (4, 1024, 128, 32),
        (3, 64, 256, 32),
        (2, 256, 512, 32),
        (5, 49, 30, 15),
        (1, 1, 64, 8),
        (257, 16, 256, 32),
    ] {
        for (bias, shift, residual, silu) in [
            (false, 0, false, true),
            (true, 0, false, true),
            (true, 1, false, true),
            (true, 2, false, true),
            (false, 2, true, true),
            (true, 0, true, false),
        ] {
            all.push(norm(&mut rng, half, [n, p, c, groups], [bias, residual, silu], shift));
        }
    }
    for (sizes, outputs, kernel, stride) in [
        ([2, 8, 8, 16], 24, 3, 1),
        ([2, 8, 8, 64], 64, 3, 1),
        ([2, 8, 8, 64], 32, 1, 1),
        ([2, 8, 8, 32], 64, 3, 2),
        ([3, 16, 16, 8], 128, 3, 1),
    ] {
        all.push(conv(&mut rng, half, tf32, sizes, outputs, kernel, stride));
    }
    for sizes in [[2, 4, 6, 64], [3, 5, 7, 6]] {
        all.push(upsample(&mut rng, half, sizes));
    }
    for sizes in [[2, 4, 6, 64], [3, 2, 8, 6]] {
        all.push(average_pool(&mut rng, half, sizes));
    }
    for (n, p, heads, width) in [(2, 256, 1, 256), (2, 64, 4, 64), (2, 16, 1, 128)] {
        all.push(attention(&mut rng, half, tf32, [n, p, heads, width]));
    }
    all
}

fn operand(rng: &mut Stream, half: bool, name: &'static str, shape: &[usize], scale: f64) -> Operand {
    let count: usize = shape.iter().product();
    // As float16 or float32 have them.
    let value = |x: f64| if half { f16::from_f64(x).to_f64() } else { f64::from(x as f32) };
    let values = (0..count).map(|_| value(scale * rng.normal())).collect();
    Operand { name, shape: shape.to_vec(), values, typed: true }
}

fn floats(rng: &mut Stream, name: &'static str, shape: &[usize]) -> Operand {
    Operand { typed: false, ..operand(rng, false, name, shape, 1.0) }
}

fn norm(
    rng: &mut Stream,
    half: bool,
    [n, p, c, groups]: [usize; 4],
    [has_bias, has_residual, silu]: [bool; 3],
    shift_rows: usize,
) -> Check {
    let mut x = operand(rng, half, "x", &[n, p, c], 1.0);
    // A mean far from 0 must not drown the variance.
    x.values.iter_mut().for_each(|x| *x = if half { f16::from_f64(*x + 3.0).to_f64() } else { *x + 3.0 });
    let weight = floats(rng, "weight", &[c]);
    let beta = floats(rng, "beta", &[c]);
    let mut operands = vec![x, weight, beta];
    let mut names = vec!["x", "weight", "beta", "", "", ""];
    if has_bias {
        operands.push(floats(rng, "bias", &[c]));
        names[3] = "bias";
    }
    if shift_rows > 0 {
        let rows = if shift_rows == 1 { 1 } else { n };
        operands.push(floats(rng, "shift", &[rows, c]));
        names[4] = "shift";
    }
    if has_residual {
        operands.push(operand(rng, half, "residual", &[n, p, c], 1.0));
        names[5] = "residual";
    }
    while names.last() == Some(&"") {
        names.pop();
    }
    let find = |name: &str| operands.iter().find(|operand| operand.name == name);
    let mut sum = operands[0].values.clone();
    for (i, sum) in sum.iter_mut().enumerate() {
        *sum += find("residual").map_or(0.0, |r| r.values[i]) + find("bias").map_or(0.0, |b| b.values[i % c]);
    }
    let mut y = vec![0.0; sum.len()];
    let epsilon = f64::from(1e-6f32);
    for image in 0..n {
        for group in 0..groups {
            let width = c / groups;
            let channels = group * width..(group + 1) * width;
            let value = |pixel: usize, channel: usize| {
                let row = if shift_rows == 1 { 0 } else { image };
                sum[(image * p + pixel) * c + channel]
                    + find("shift").map_or(0.0, |s| s.values[row * c + channel])
            };
            let all = || (0..p).flat_map(|pixel| channels.clone().map(move |channel| (pixel, channel)));
            let count = (p * width) as f64;
            let mean = all().map(|(pixel, channel)| value(pixel, channel)).sum::<f64>() / count;
            let variance =
                all().map(|(pixel, channel)| (value(pixel, channel) - mean).powi(2)).sum::<f64>() / count;
            for (pixel, channel) in all() {
                let z = (value(pixel, channel) - mean) / (variance + epsilon).sqrt()
                    * operands[1].values[channel]
                    + operands[2].values[channel];
                y[(image * p + pixel) * c + channel] = if silu { z / (1.0 + (-z).exp()) } else { z };
            }
        }
    }
    let attributes = vec![
        AttributeProto::int("groups", groups as i64),
        AttributeProto::float("epsilon", 1e-6),
        AttributeProto::int("silu", i64::from(silu)),
    ];
    let (shape, mut outputs) = (vec![n, p, c], vec![]);
    outputs.push(("y", shape.clone(), y));
    if has_residual {
        outputs.push(("sum", shape, sum));
    }
    let results: Vec<&str> = outputs.iter().map(|(name, ..)| *name).collect();
    Check {
        name: format!(
            "{GROUP_NORM_SILU} {} [{n}, {p}, {c}] in {groups}: bias {has_bias}, shift rows {shift_rows}, residual \
             {has_residual}, silu {silu}",
            element(half)
        ),
        node: NodeProto::new(GROUP_NORM_SILU, "op", &names, attributes, &results).in_domain(DOMAIN),
        operands,
        outputs,
        half,
        limit: if half { 2e-3 } else { 1e-5 },
    }
}

fn conv(
    rng: &mut Stream,
    half: bool,
    tf32: bool,
    [n, h, w, c]: [usize; 4],
    outputs: usize,
    kernel: usize,
    stride: usize,
) -> Check {
    let pad = kernel / 2;
    let x = operand(rng, half, "x", &[n, h, w, c], 1.0);
    let weight = operand(
        rng,
        half,
        "weight",
        &[outputs, kernel, kernel, c],
        1.0 / ((kernel * kernel * c) as f64).sqrt(),
    );
    let (rows, columns) = ((h + 2 * pad - kernel) / stride + 1, (w + 2 * pad - kernel) / stride + 1);
    let mut y = Vec::with_capacity(n * rows * columns * outputs);
    for image in 0..n {
        for (row, column) in (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column))) {
            for output in 0..outputs {
                let mut sum = 0.0;
                for (dy, dx) in (0..kernel).flat_map(|dy| (0..kernel).map(move |dx| (dy, dx))) {
                    let (at_y, at_x) = (row * stride + dy, column * stride + dx);
                    if at_y < pad || at_x < pad || at_y >= h + pad || at_x >= w + pad {
                        continue;
                    }
                    let from = ((image * h + at_y - pad) * w + at_x - pad) * c;
                    let with = ((output * kernel + dy) * kernel + dx) * c;
                    sum += (0..c).map(|i| x.values[from + i] * weight.values[with + i]).sum::<f64>();
                }
                y.push(sum);
            }
        }
    }
    let attributes = vec![
        AttributeProto::ints("kernel_shape", [kernel; 2]),
        AttributeProto::ints("pads", [pad; 4]),
        AttributeProto::ints("strides", [stride; 2]),
    ];
    Check {
        name: format!(
            "{NHWC_CONV} {} [{n}, {h}, {w}, {c}] to {outputs}, kernel {kernel}, stride {stride}",
            element(half)
        ),
        node: NodeProto::new(NHWC_CONV, "op", &["x", "weight"], attributes, &["y"]).in_domain(RUNTIME_DOMAIN),
        operands: vec![x, weight],
        outputs: vec![("y", vec![n, rows, columns, outputs], y)],
        half,
        limit: if half || tf32 { 2e-3 } else { 1e-5 },
    }
}

fn upsample(rng: &mut Stream, half: bool, [n, h, w, c]: [usize; 4]) -> Check {
    let x = operand(rng, half, "x", &[n, h, w, c], 1.0);
    let mut y = Vec::new();
    for (image, row) in (0..n).flat_map(|image| (0..2 * h).map(move |row| (image, row))) {
        for column in 0..2 * w {
            let from = ((image * h + row / 2) * w + column / 2) * c;
            y.extend_from_slice(&x.values[from..from + c]);
        }
    }
    Check {
        name: format!("{UPSAMPLE_NEAREST} {} [{n}, {h}, {w}, {c}]", element(half)),
        node: NodeProto::new(UPSAMPLE_NEAREST, "op", &["x"], vec![], &["y"]).in_domain(DOMAIN),
        operands: vec![x],
        outputs: vec![("y", vec![n, 2 * h, 2 * w, c], y)],
        half,
        limit: 0.0,
    }
}

fn average_pool(rng: &mut Stream, half: bool, [n, h, w, c]: [usize; 4]) -> Check {
    let x = operand(rng, half, "x", &[n, h, w, c], 1.0);
    let mut y = Vec::new();
    for (line, column) in (0..n * h / 2).flat_map(|line| (0..w / 2).map(move |column| (line, column))) {
        let at = |dy: usize, dx: usize| ((2 * line + dy) * w + 2 * column + dx) * c;
        let four = [at(0, 0), at(0, 1), at(1, 0), at(1, 1)];
        y.extend((0..c).map(|channel| four.iter().map(|at| x.values[at + channel]).sum::<f64>() / 4.0));
    }
    Check {
        name: format!("{AVERAGE_POOL} {} [{n}, {h}, {w}, {c}]", element(half)),
        node: NodeProto::new(AVERAGE_POOL, "op", &["x"], vec![], &["y"]).in_domain(DOMAIN),
        operands: vec![x],
        outputs: vec![("y", vec![n, h / 2, w / 2, c], y)],
        half,
        limit: if half { 1e-3 } else { 1e-6 },
    }
}

fn attention(rng: &mut Stream, half: bool, tf32: bool, [n, p, heads, width]: [usize; 4]) -> Check {
    let d = width / heads;
    let scale = 1.0 / (d as f64).sqrt();
    let q = operand(rng, half, "q", &[n, p, width], scale);
    let k = operand(rng, half, "k", &[n, p, width], 1.0);
    let v = operand(rng, half, "v", &[n, p, width], 1.0);
    let mut y = vec![0.0; n * p * width];
    for (image, head) in (0..n).flat_map(|image| (0..heads).map(move |head| (image, head))) {
        let at = |token: usize| (image * p + token) * width + head * d;
        for query in 0..p {
            let scores = (0..p)
                .map(|key| (0..d).map(|i| q.values[at(query) + i] * k.values[at(key) + i]).sum::<f64>())
                .map(f64::exp);
            let scores: Vec<f64> = scores.collect();
            let total: f64 = scores.iter().sum();
            for (key, score) in scores.iter().enumerate() {
                for i in 0..d {
                    y[at(query) + i] += score / total * v.values[at(key) + i];
                }
            }
        }
    }
    let attributes =
        vec![AttributeProto::int("num_heads", heads as i64), AttributeProto::float("scale", 1.0)];
    Check {
        name: format!("{MULTI_HEAD_ATTENTION} {} [{n}, {p}, {width}], {heads} heads", element(half)),
        node: NodeProto::new(MULTI_HEAD_ATTENTION, "op", &["q", "k", "v"], attributes, &["y"])
            .in_domain(RUNTIME_DOMAIN),
        operands: vec![q, k, v],
        outputs: vec![("y", vec![n, p, width], y)],
        half,
        limit: if half || tf32 { 2e-3 } else { 1e-5 },
    }
}

fn element(half: bool) -> &'static str {
    if half { "f16" } else { "f32" }
}

/// The largest difference of any output, relative to its largest value.
fn run(check: &Check, arguments: &Arguments, folder: &Path) -> Result<f64> {
    let mut model = Model { name: "op".to_string(), ..Model::default() };
    let mut node = check.node.clone();
    let mut inputs = Vec::new();
    let typed = |half: bool| if half { data_type::FLOAT16 } else { data_type::FLOAT };
    for operand in &check.operands {
        let tensor = Tensor::f32(&operand.shape, operand.values.iter().map(|&x| x as f32).collect());
        // Weights are constants, as in files: the runtime rearranges them when it loads.
        if operand.name == "weight" && node.op_type == NHWC_CONV {
            let mut constant = Initializer::new("weight", std::borrow::Cow::Owned(tensor));
            if check.half {
                constant.encode(ddae_onnx::initializer::Encoding::F16);
            }
            model.initializers.push(constant);
            continue;
        }
        model.inputs.push(ValueInfoProto::tensor(operand.name, DType::F32, &Shape::fixed(&operand.shape)));
        inputs.push((operand.name, Value::from(tensor)));
        if operand.typed && check.half {
            let cast = format!("{}/half", operand.name);
            let to = vec![AttributeProto::int("to", typed(true).into())];
            model.nodes.push(NodeProto::new("Cast", &cast, &[operand.name], to, &[&cast]));
            node.input.iter_mut().filter(|name| *name == operand.name).for_each(|name| *name = cast.clone());
        }
    }
    let mut casts = Vec::new();
    for (name, shape, _) in &check.outputs {
        model.outputs.push(ValueInfoProto::tensor(name, DType::F32, &Shape::fixed(shape)));
        if check.half {
            let half = format!("{name}/half");
            node.output.iter_mut().filter(|output| *output == name).for_each(|output| *output = half.clone());
            let to = vec![AttributeProto::int("to", typed(false).into())];
            casts.push(NodeProto::new("Cast", name, &[&half], to, &[name]));
        }
    }
    model.nodes.push(node);
    model.nodes.extend(casts);
    let path = folder.join("op.onnx");
    model.write(&path, &[], LARGEST_MESSAGE)?;
    let mut engine = Engine::open(&path, arguments.device())?;
    let named: Vec<(&str, &Value)> = inputs.iter().map(|(name, value)| (*name, value)).collect();
    let results = engine.run(&named, Keep::Host)?;
    let mut worst = 0f64;
    for ((name, shape, expected), result) in check.outputs.iter().zip(&results) {
        let (found, values) = result.floats()?;
        anyhow::ensure!(found == *shape, "{name} is {found:?} and not {shape:?}");
        let largest = expected.iter().fold(0f64, |largest, x| largest.max(x.abs()));
        let difference = values.iter().zip(expected).fold(0f64, |worst, (x, y)| {
            let difference = (f64::from(*x) - y).abs();
            if difference.is_nan() { f64::INFINITY } else { worst.max(difference) }
        });
        worst = worst.max(difference / largest.max(f64::MIN_POSITIVE));
    }
    results.first().context("no results")?;
    Ok(worst)
}
