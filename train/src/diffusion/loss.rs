//! The training losses of DDPM and EDM. What is random is drawn apart from what is computed from it.

use ddae_model::config::{DdpmConfig, EdmConfig, ProcessConfig};
use ddae_model::diffusion::ddpm::Tables;
use tch::{Device, Kind, Reduction, TchError, Tensor};

use crate::torch::TorchError;

/// What is random in the loss of a batch.
#[derive(Debug)]
pub struct Draws {
    /// The noise level of each image, `[B]`: timesteps in `1..=n_T`, int64 (DDPM), or standard normal values that become
    /// `ln sigma` (EDM).
    pub level: Tensor,
    /// Standard normal noise, like the images.
    pub noise: Tensor,
}

/// The loss of a diffusion process.
#[derive(Debug)]
pub enum DiffusionLoss {
    /// Mean squared error of the predicted noise (arXiv 2006.11239, eq. 14).
    Ddpm {
        /// Number of timesteps.
        n_t: i64,
        /// Factor of the image at each timestep.
        sqrt_alpha_bar: Tensor,
        /// Factor of the noise at each timestep.
        sqrt_one_minus_alpha_bar: Tensor,
    },
    /// Weighted mean squared error of the denoised image (arXiv 2206.00364, table 1).
    Edm(EdmConfig),
}

impl DiffusionLoss {
    /// The loss of a configured process, with its tables on `device`.
    pub fn new(process: &ProcessConfig, device: Device) -> DiffusionLoss {
        match process {
            ProcessConfig::Ddpm(config) => DiffusionLoss::ddpm(config, device),
            ProcessConfig::Edm(config) => DiffusionLoss::Edm(config.clone()),
        }
    }

    fn ddpm(config: &DdpmConfig, device: Device) -> DiffusionLoss {
        let tables = Tables::training(config);
        let table = |values: &[f32]| Tensor::from_slice(values).to_device(device);
        DiffusionLoss::Ddpm {
            n_t: config.n_t as i64,
            sqrt_alpha_bar: table(&tables.sqrt_alpha_bar),
            sqrt_one_minus_alpha_bar: table(&tables.sqrt_one_minus_alpha_bar),
        }
    }

    /// Draws for a batch of images, from libtorch's generator.
    ///
    /// # Errors
    /// libtorch's.
    pub fn draw(&self, images: &Tensor) -> Result<Draws, TorchError> {
        let (count, device) = (images.size()[0], images.device());
        let level = match self {
            DiffusionLoss::Ddpm { n_t, .. } => {
                Tensor::f_randint_low(1, n_t + 1, [count], (Kind::Int64, device))
            }
            DiffusionLoss::Edm(_) => Tensor::f_randn([count], (Kind::Float, device)),
        };
        let noise = Tensor::f_randn(images.size(), (Kind::Float, device));
        level.and_then(|level| Ok(Draws { level, noise: noise? })).map_err(|e| TorchError::at("noise", e))
    }

    /// The loss of images `[B,C,H,W]` in [0, 1], a scalar.
    ///
    /// `network(x, t)` gives the network's `y [B,C,H,W]` for `x [B,C,H,W]` and the scalars `t [B]` that it embeds.
    ///
    /// # Errors
    /// Those of `network` and libtorch's.
    pub fn loss(
        &self,
        images: &Tensor,
        draws: &Draws,
        network: impl FnOnce(&Tensor, &Tensor) -> Result<Tensor, TorchError>,
    ) -> Result<Tensor, TorchError> {
        let failed = |e| TorchError::at("loss", e);
        let noised = self.noised(images, draws).map_err(failed)?;
        let y = network(&noised.x, &noised.t)?;
        self.compare(&noised, &y, draws).map_err(failed)
    }

    fn noised(&self, images: &Tensor, draws: &Draws) -> Result<Noised, TchError> {
        let images = images.f_mul_scalar(2.0)?.f_sub_scalar(1.0)?;
        match self {
            DiffusionLoss::Ddpm { n_t, sqrt_alpha_bar, sqrt_one_minus_alpha_bar } => {
                let at = |table: &Tensor| table.f_index_select(0, &draws.level)?.f_reshape([-1, 1, 1, 1]);
                let signal = at(sqrt_alpha_bar)?.f_mul(&images)?;
                let x = at(sqrt_one_minus_alpha_bar)?.f_mul(&draws.noise)?.f_add(&signal)?;
                let t = draws.level.f_to_kind(Kind::Float)?.f_div_scalar(*n_t as f64)?;
                Ok(Noised { x, t, edm: None })
            }
            DiffusionLoss::Edm(config) => {
                let data = config.sigma_data;
                let ln_sigma = draws.level.f_mul_scalar(config.p_std)?.f_add_scalar(config.p_mean)?;
                let sigma = ln_sigma.f_exp()?.f_reshape([-1, 1, 1, 1])?;
                let variance = sigma.f_square()?.f_add_scalar(data * data)?;
                let noisy = sigma.f_mul(&draws.noise)?.f_add(&images)?;
                let x = variance.f_rsqrt()?.f_mul(&noisy)?;
                let t = ln_sigma.f_div_scalar(4.0)?.f_reshape([-1])?;
                Ok(Noised { x, t, edm: Some(EdmNoised { images, noisy, sigma, variance }) })
            }
        }
    }

    fn compare(&self, noised: &Noised, y: &Tensor, draws: &Draws) -> Result<Tensor, TchError> {
        match (self, &noised.edm) {
            (DiffusionLoss::Edm(config), Some(EdmNoised { images, noisy, sigma, variance })) => {
                let data = config.sigma_data;
                let skip = variance.f_reciprocal()?.f_mul_scalar(data * data)?.f_mul(noisy)?;
                let out = sigma.f_mul_scalar(data)?.f_mul(&variance.f_rsqrt()?)?.f_mul(y)?;
                let error = skip.f_add(&out)?.f_sub(images)?.f_square()?;
                let weight = variance.f_div(&sigma.f_mul_scalar(data)?.f_square()?)?;
                weight.f_mul(&error)?.f_mean(Kind::Float)
            }
            _ => y.f_mse_loss(&draws.noise, Reduction::Mean),
        }
    }
}

/// Images with noise, as the network takes them.
struct Noised {
    x: Tensor,
    t: Tensor,
    edm: Option<EdmNoised>,
}

/// What EDM's loss needs after the network: images in [-1, 1], the same with noise, and per image `[B,1,1,1]` the
/// noise level and `sigma^2 + sigma_data^2`.
struct EdmNoised {
    images: Tensor,
    noisy: Tensor,
    sigma: Tensor,
    variance: Tensor,
}
