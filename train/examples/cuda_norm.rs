//! The norm's CUDA kernels against float64 on the CPU, and how long they take.
//!
//!     cargo run --release -p ddae-train --example cuda_norm
//!
//! Needs a GPU. For every case: the largest error of the result and of each gradient, relative to the largest value, and
//! microseconds forward and backward beside libtorch's operations. Dropout drops the same elements on both sides. Ends
//! with 1 where an error is larger than the element type allows. With `--json`, one object a line.

use std::time::Instant;

use anyhow::{Result, ensure};
use clap::Parser;
use ddae_train::torch::shim::cuda;
use ddae_train::torch::shim::{self, GroupNormSilu};
use ddae_train::torch::{TorchError, device};
use tch::{Cuda, Device, Kind, Tensor};

/// The norm's CUDA kernels: errors and times.
#[derive(Parser)]
struct Arguments {
    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,
}

/// Images, channels, rows, columns, groups.
const SHAPES: [[i64; 5]; 9] = [
    [128, 128, 32, 32, 32],
    [128, 256, 16, 16, 32],
    [128, 256, 4, 4, 32],
    [8, 384, 32, 32, 32],
    [16, 512, 8, 8, 32],
    [3, 128, 7, 5, 8],
    [5, 30, 9, 4, 15],
    [2, 96, 28, 28, 1],
    // No fewer than eight numbers a group: the normalisation of two gives 1 and -1, whatever they are, and its gradient
    // is nothing but rounding.
    [7, 24, 1, 1, 3],
];

/// What is there beside the normalisation.
#[derive(Clone, Copy, Debug)]
struct Parts {
    shift: bool,
    weight: Option<bool>,
    bias: bool,
    silu: bool,
    dropout: f64,
}

const PARTS: [Parts; 4] = [
    Parts { shift: true, weight: Some(false), bias: true, silu: true, dropout: 0.1 },
    Parts { shift: false, weight: Some(false), bias: true, silu: true, dropout: 0.0 },
    Parts { shift: true, weight: Some(true), bias: false, silu: false, dropout: 0.0 },
    Parts { shift: false, weight: None, bias: false, silu: false, dropout: 0.5 },
];

const LAYER: i64 = 3;

struct Case {
    x: Tensor,
    shift: Option<Tensor>,
    weight: Option<Tensor>,
    bias: Option<Tensor>,
    dy: Tensor,
    groups: usize,
    parts: Parts,
}

impl Case {
    fn new([n, c, h, w, groups]: [i64; 5], parts: Parts) -> Result<Case> {
        let options = (Kind::Double, Device::Cpu);
        let offsets = Tensor::randn([1, c, 1, 1], options) * 2.0;
        let x = Tensor::randn([n, c, h, w], options) * 0.7 + offsets;
        let shift = parts.shift.then(|| Tensor::randn([n, c], options));
        let weight = parts.weight.map(|of_images| {
            let size: &[i64] = if of_images { &[n, c] } else { &[c] };
            Tensor::randn(size, options) * 0.3 + 1.0
        });
        let bias = parts.bias.then(|| Tensor::randn([c], options) * 0.3);
        let dy = Tensor::randn([n, c, h, w], options);
        Ok(Case { x, shift, weight, bias, dy, groups: groups as usize, parts })
    }

    fn leaves(&self, device: Device, kind: Kind) -> Result<Vec<Option<Tensor>>> {
        let small = if kind == Kind::Double { Kind::Double } else { Kind::Float };
        let leaf = |x: &Tensor, kind| x.to_kind(kind).to_device(device).set_requires_grad(true);
        // Rounded to the type first, so that both sides compute with the same numbers.
        let x = shim::channels_last(&self.x)?;
        let others = [&self.shift, &self.weight, &self.bias].map(|x| x.as_ref().map(|x| leaf(x, small)));
        Ok([Some(leaf(&x, kind))].into_iter().chain(others).collect())
    }

    fn options(&self, seed: i64) -> GroupNormSilu {
        let Parts { silu, dropout, .. } = self.parts;
        GroupNormSilu { groups: self.groups, eps: 1e-5, silu, dropout, seed }
    }

    /// The same case in numbers that `kind` has.
    fn rounded(&self, kind: Kind) -> Case {
        let round = |x: &Tensor, kind| x.to_kind(kind).to_kind(Kind::Double);
        let small = |x: &Option<Tensor>| x.as_ref().map(|x| round(x, Kind::Float));
        Case {
            x: round(&self.x, kind),
            shift: small(&self.shift),
            weight: small(&self.weight),
            bias: small(&self.bias),
            dy: round(&self.dy, kind),
            ..*self
        }
    }
}

/// The result and the gradients of all operands.
fn run(
    leaves: &[Option<Tensor>],
    dy: &Tensor,
    forward: impl Fn(&[Option<&Tensor>]) -> Result<Tensor, TorchError>,
) -> Result<Vec<Tensor>> {
    let operands: Vec<Option<&Tensor>> = leaves.iter().map(Option::as_ref).collect();
    let y = forward(&operands)?;
    let present: Vec<&Tensor> = operands.iter().copied().flatten().collect();
    let gradients = Tensor::f_run_backward(&[(&y * dy).sum(y.kind())], &present, false, false)?;
    Ok(std::iter::once(y.detach()).chain(gradients).collect())
}

fn error(ours: &Tensor, exact: &Tensor) -> f64 {
    let exact = exact.to_device(Device::Cpu);
    let difference = (ours.to_device(Device::Cpu).to_kind(Kind::Double) - &exact).abs().max();
    difference.double_value(&[]) / exact.abs().max().double_value(&[]).max(1e-12)
}

/// Microseconds of one call.
fn timed(mut call: impl FnMut() -> Result<()>) -> Result<f64> {
    const CALLS: usize = 20;
    call()?;
    let mut best = f64::INFINITY;
    for _ in 0..3 {
        Cuda::synchronize(0);
        let start = Instant::now();
        for _ in 0..CALLS {
            call()?;
        }
        Cuda::synchronize(0);
        best = best.min(start.elapsed().as_secs_f64() / CALLS as f64 * 1e6);
    }
    Ok(best)
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let gpu = device::cuda(0)?;
    let architecture = cuda::load_kernels(0, &device::compiler_folders())?;
    tch::manual_seed(7);
    let mut wrong = 0;
    for shape in SHAPES {
        // The large ones are there for the time that they take.
        let parts = if shape[0] == 128 { &PARTS[..1] } else { &PARTS };
        for &parts in parts {
            let whole = Case::new(shape, parts)?;
            for (name, kind, bound) in
                [("f32", Kind::Float, 2e-5), ("f16", Kind::Half, 2e-3), ("bf16", Kind::BFloat16, 1.6e-2)]
            {
                let case = whole.rounded(kind);
                let drawn = 0x1234_5678_9ABC_DEF0i64;
                let seed = Tensor::from_slice(&[drawn]).to_device(gpu);
                let there = case.leaves(gpu, kind)?;
                let dy = shim::channels_last(&case.dy)?.to_kind(kind).to_device(gpu);
                let ours = run(&there, &dy, |x| {
                    let x0 = x[0].ok_or_else(|| TorchError::Input("no x".to_string()))?;
                    cuda::group_norm_silu(x0, x[1], x[2], x[3], Some(&seed), case.options(LAYER))
                })?;
                let here = case.leaves(Device::Cpu, Kind::Double)?;
                let mixed = drawn.wrapping_add(LAYER.wrapping_mul(0xD134_2543_DE82_EF95u64 as i64));
                let exact = run(&here, &case.dy, |x| {
                    let x0 = x[0].ok_or_else(|| TorchError::Input("no x".to_string()))?;
                    shim::group_norm_silu(x0, x[1], x[2], x[3], case.options(mixed))
                })?;
                let errors: Vec<f64> =
                    ours.iter().zip(&exact).map(|(ours, exact)| error(ours, exact)).collect();
                let bad = errors.iter().any(|error| error.is_nan() || *error > bound);
                wrong += usize::from(bad);
                let again = run(&there, &dy, |x| {
                    let x0 = x[0].ok_or_else(|| TorchError::Input("no x".to_string()))?;
                    cuda::group_norm_silu(x0, x[1], x[2], x[3], Some(&seed), case.options(LAYER))
                })?;
                let repeats = ours.iter().zip(&again).all(|(a, b)| a.equal(b));
                wrong += usize::from(!repeats);
                let time =
                    (shape[0] == 128 && parts.shift && parts.silu).then(|| times(&case, &there, &dy, &seed));
                let time = time.transpose()?;
                if arguments.json {
                    let line = serde_json::json!({
                        "shape": shape, "parts": format!("{parts:?}"), "element": name, "architecture": architecture,
                        "errors": errors, "bound": bound, "repeats": repeats, "microseconds": time,
                    });
                    println!("{line}");
                } else {
                    let errors: Vec<String> = errors.iter().map(|error| format!("{error:.1e}")).collect();
                    let time = time.map_or(String::new(), |t| format!("  us {t:.0?}"));
                    let verdict = if bad || !repeats { "  WRONG" } else { "" };
                    println!(
                        "{shape:?} {name:5}{} repeats {repeats}{time}{verdict}  {parts:?}",
                        errors.join(" ")
                    );
                }
            }
        }
    }
    ensure!(wrong == 0, "{wrong} results are wrong");
    Ok(())
}

/// Ours forward, ours forward and backward, and libtorch's of both.
fn times(case: &Case, leaves: &[Option<Tensor>], dy: &Tensor, seed: &Tensor) -> Result<[f64; 4]> {
    let operands: Vec<Option<&Tensor>> = leaves.iter().map(Option::as_ref).collect();
    let present: Vec<&Tensor> = operands.iter().copied().flatten().collect();
    let Some(x) = operands[0] else { return Ok([f64::NAN; 4]) };
    let ours = || -> Result<Tensor> {
        let options = case.options(LAYER);
        Ok(cuda::group_norm_silu(x, operands[1], operands[2], operands[3], Some(seed), options)?)
    };
    let theirs = || -> Result<Tensor> {
        let shifted = match operands[1] {
            Some(shift) => x + shift.to_kind(x.kind()).unsqueeze(-1).unsqueeze(-1),
            None => x.shallow_clone(),
        };
        let [weight, bias] = [operands[2], operands[3]].map(|x| x.map(|w| w.to_kind(shifted.kind())));
        let y = shifted.f_group_norm(case.groups as i64, weight, bias, 1e-5, true)?;
        let y = if case.parts.silu { y.silu() } else { y };
        Ok(y.dropout(case.parts.dropout, true))
    };
    let back = |y: Tensor| -> Result<()> {
        // The gradient comes as it is: no product or sum around it.
        let _ = Tensor::f_run_backward(&[(&y * dy).sum(Kind::Float)], &present, false, false)?;
        Ok(())
    };
    let extra = timed(|| {
        let product = (x.detach() * dy).sum(Kind::Float);
        let _ = product;
        Ok(())
    })?;
    Ok([
        timed(|| ours().map(drop))?,
        timed(|| back(ours()?))? - extra,
        timed(|| theirs().map(drop))?,
        timed(|| back(theirs()?))? - extra,
    ])
}
