//! The inputs of a loss graph that are drawn, and images on their way to the device.

use ddae_model::config::ProcessConfig;
use ddae_model::diffusion::feature_timesteps;
use tch::kind::Element;
use tch::{Device, Kind, Tensor};

use crate::ranks::Part;
use crate::torch::{TorchError, shim};
use crate::training::validation::FixedImages;

/// Images of `shape` = [C, H, W], one after the other, on `device`: floats as `[B,C,H,W]`, bytes as `[B,H,W,C]`.
pub(crate) fn images<T: Element>(
    values: &[T],
    [c, h, w]: [usize; 3],
    device: Device,
) -> Result<Tensor, TorchError> {
    let shape = if T::KIND == Kind::Uint8 { [h, w, c] } else { [c, h, w] }.map(|n| n as i64);
    let images =
        Tensor::f_from_slice(values).and_then(|flat| flat.f_reshape([-1, shape[0], shape[1], shape[2]]));
    uploaded(&images.map_err(|e| TorchError::at("images", e))?, device)
}

/// The tensor on `device`. A GPU fetches it while this thread goes on.
pub(crate) fn uploaded(tensor: &Tensor, device: Device) -> Result<Tensor, TorchError> {
    match device {
        Device::Cuda(number) => shim::cuda::uploaded(tensor, number),
        _ => tensor.f_to_device(device).map_err(|e| TorchError::at("images", e)),
    }
}

/// `level [B]` and `noise [B,C,H,W]` for a part of a step's images of `shape`, from libtorch's generator, which draws for all of
/// them.
pub(crate) fn of_process(
    process: &ProcessConfig,
    part: Part,
    shape: [usize; 3],
    device: Device,
) -> Result<[Tensor; 2], TorchError> {
    let (count, [c, h, w]) = (part.total as i64, shape.map(|n| n as i64));
    let level = match process {
        ProcessConfig::Ddpm(_) => {
            let timesteps = feature_timesteps(process);
            Tensor::f_randint_low(*timesteps.start(), timesteps.end() + 1, [count], (Kind::Int64, device))
        }
        ProcessConfig::Edm(_) => Tensor::f_randn([count], (Kind::Float, device)),
    };
    let noise = Tensor::f_randn([count, c, h, w], (Kind::Float, device));
    level.and_then(|level| Ok([part.of(level)?, part.of(noise?)?])).map_err(|e| TorchError::at("noise", e))
}

/// The same for images of a validation loss: levels at their quantiles, and their own noise.
pub(crate) fn fixed(
    process: &ProcessConfig,
    images: &FixedImages,
    shape: [usize; 3],
    device: Device,
) -> Result<[Tensor; 2], TorchError> {
    Ok([fixed_level(process, images, device)?, self::images(&images.noise(), shape, device)?])
}

/// The levels of [`fixed`].
pub(crate) fn fixed_level(
    process: &ProcessConfig,
    images: &FixedImages,
    device: Device,
) -> Result<Tensor, TorchError> {
    let level = match process {
        ProcessConfig::Ddpm(_) => {
            let timesteps = feature_timesteps(process);
            let (first, last) = (*timesteps.start(), *timesteps.end());
            let count = (last - first + 1) as f64;
            let at = |quantile: &f64| (first + (quantile * count) as i64).min(last);
            Tensor::f_from_slice(&images.quantiles().iter().map(at).collect::<Vec<i64>>())
        }
        ProcessConfig::Edm(_) => {
            let at = |&quantile: &f64| normal_quantile(quantile) as f32;
            Tensor::f_from_slice(&images.quantiles().iter().map(at).collect::<Vec<f32>>())
        }
    };
    uploaded(&level.map_err(|e| TorchError::at("noise levels", e))?, device)
}

/// The number below which a standard normal one lies with this probability in (0, 1), with a relative error below 1.2e-9: the
/// rational approximations of P. J. Acklam.
fn normal_quantile(probability: f64) -> f64 {
    /// Where the tails begin.
    const TAIL: f64 = 0.02425;
    const A: [f64; 6] = [
        -3.969_683_028_665_376e1,
        2.209_460_984_245_205e2,
        -2.759_285_104_469_687e2,
        1.383_577_518_672_69e2,
        -3.066_479_806_614_716e1,
        2.506_628_277_459_239,
    ];
    const B: [f64; 6] = [
        -5.447_609_879_822_406e1,
        1.615_858_368_580_409e2,
        -1.556_989_798_598_866e2,
        6.680_131_188_771_972e1,
        -1.328_068_155_288_572e1,
        1.0,
    ];
    const C: [f64; 6] = [
        -7.784_894_002_430_293e-3,
        -3.223_964_580_411_365e-1,
        -2.400_758_277_161_838,
        -2.549_732_539_343_734,
        4.374_664_141_464_968,
        2.938_163_982_698_783,
    ];
    const D: [f64; 5] = [
        7.784_695_709_041_462e-3,
        3.224_671_290_700_398e-1,
        2.445_134_137_142_996,
        3.754_408_661_907_416,
        1.0,
    ];
    let polynomial = |factors: &[f64], x: f64| factors.iter().fold(0.0, |sum, factor| sum * x + factor);
    let lower_tail = |probability: f64| {
        let x = (-2.0 * probability.ln()).sqrt();
        polynomial(&C, x) / polynomial(&D, x)
    };
    if probability < TAIL {
        return lower_tail(probability);
    }
    if probability > 1.0 - TAIL {
        return -lower_tail(1.0 - probability);
    }
    let x = probability - 0.5;
    x * polynomial(&A, x * x) / polynomial(&B, x * x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_tables() {
        // Python: statistics.NormalDist().inv_cdf(p)
        for (probability, expected) in [
            (0.5, 0.0),
            (0.975, 1.959_963_984_540_054),
            (0.841_344_746_068_542_9, 1.0),
            (0.99, 2.326_347_874_040_841),
            (0.001, -3.090_232_306_167_813),
            (1e-9, -5.997_807_015_007_774),
        ] {
            for (probability, expected) in [(probability, expected), (1.0 - probability, -expected)] {
                let found = normal_quantile(probability);
                assert!((found - expected).abs() <= 2e-8, "{probability}: {found} and {expected}");
            }
        }
    }
}
