//! The inputs of a loss graph that are drawn, and images on their way to the device.

use ddae_model::config::ProcessConfig;
use ddae_model::diffusion::feature_timesteps;
use tch::kind::Element;
use tch::{Device, Kind, Tensor};

use crate::ranks::Part;
use crate::torch::{TorchError, shim};

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
