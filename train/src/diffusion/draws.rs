//! The inputs of a loss graph that are drawn, and images on their way to the device.

use ddae_model::config::ProcessConfig;
use ddae_model::diffusion::feature_timesteps;
use tch::{Device, Kind, Tensor};

use crate::torch::TorchError;

/// Images `[B,C,H,W]` on `device`, from their values one after the other.
pub(crate) fn images(values: &[f32], shape: [usize; 3], device: Device) -> Result<Tensor, TorchError> {
    let [c, h, w] = shape.map(|n| n as i64);
    Tensor::f_from_slice(values)
        .and_then(|flat| flat.f_reshape([-1, c, h, w])?.f_to_device(device))
        .map_err(|e| TorchError::at("images", e))
}

/// `level [B]` and `noise`, like `images`, from libtorch's generator.
pub(crate) fn of_process(process: &ProcessConfig, images: &Tensor) -> Result<[Tensor; 2], TorchError> {
    let (count, device) = (images.size()[0], images.device());
    let level = match process {
        ProcessConfig::Ddpm(_) => {
            let timesteps = feature_timesteps(process);
            Tensor::f_randint_low(*timesteps.start(), timesteps.end() + 1, [count], (Kind::Int64, device))
        }
        ProcessConfig::Edm(_) => Tensor::f_randn([count], (Kind::Float, device)),
    };
    let noise = Tensor::f_randn(images.size(), (Kind::Float, device));
    level.and_then(|level| Ok([level, noise?])).map_err(|e| TorchError::at("noise", e))
}
