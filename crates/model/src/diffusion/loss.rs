//! Graphs of kind `loss`: images, noise and a noise level to the loss of each image.

use super::classifier::classification_loss;
use super::image::{Pixels, image_input};
use super::process::{DdpmLevel, EdmLevel, class_input, edm_noised};
use crate::config::{Config, Preconditioner, ProcessConfig, RunConfig, SodaRun};
use crate::graph::{Graph, GraphError, Shape, Value};
use crate::networks::network::Encoder;
use crate::networks::{Conditions, DecoderConfig, Denoiser, Latent};
use crate::tensor::DType;

type Built = Result<Value, GraphError>;

/// The graph of kind `loss` of a training run.
///
/// # Shapes
/// Inputs: `image` f32 `[B,C,H,W]` in [0, 1] (or, with `input_u8`, u8 `[B,H,W,C]`); `noise` f32 `[B,C,H,W]`, standard
/// normal; `level [B]`, of a DDPM the timestep (i64, one of [`super::feature_timesteps`]), of an EDM standard normal
/// (f32), from which `ln sigma` is made; `augment_label` f32 `[B, augment_dim]` and `label` i64 `[B]`, the class, where the
/// network takes them. A SODA's `image` is the
/// target; it takes besides `source` f32 `[B,C,H,W]`, normalised (and noised: it is augmented beyond [0, 1]), and `mask` f32 `[B]` (or `[B, z_parts]`), 1 where a latent
/// is hidden.
///
/// Output: `loss` f32 `[B]`, of a DDPM the mean squared error of the noise (arXiv 2006.11239, eq. 14), or of what else its
/// network predicts, of an EDM the
/// weighted one of the denoised image (arXiv 2206.00364, table 1), where the network learns its uncertainty `u` divided
/// by `exp(u)`, plus `u` (arXiv 2312.02696, eq. 21); of a classifier, which always takes `label` and has no `level` where its
/// timestep is fixed, the cross-entropy. A run minimises its mean over the batch.
///
/// # Errors
/// When the configuration cannot be built, or says of a network that cannot be trained.
pub fn loss_graph(config: &RunConfig, input_u8: bool) -> Result<Graph, GraphError> {
    let mut g = Graph::new();
    let loss = match config {
        RunConfig::Diffusion(config) => denoising(&mut g, config, input_u8)?,
        RunConfig::Soda(config) => guided_denoising(&mut g, config, input_u8)?,
        RunConfig::Classifier(config) => return classification_loss(config, input_u8),
    };
    g.output("loss", loss);
    Ok(g)
}

/// The loss of a denoiser by itself.
fn denoising(g: &mut Graph, config: &Config, input_u8: bool) -> Built {
    let wrong = |message: String| GraphError::Shape { path: "network".to_string(), message };
    let network = config.network.denoiser().map_err(wrong)?;
    if let Some(reason) = network.untrainable() {
        return Err(wrong(reason));
    }
    let image = image_input(g, "image", config.image_shape(), input_u8, Pixels::Signed)?;
    let augment_label = match network.augment_dim() {
        0 => None,
        n => Some(g.input("augment_label", DType::F32, Shape::batch(&[n]))?),
    };
    let class = class_input(g, network)?;
    of_process(g, &config.process, network, image, Conditions { augment_label, class, latent: None })
}

/// The loss of a SODA: the source's latent guides the denoising of the target.
fn guided_denoising(g: &mut Graph, config: &SodaRun, input_u8: bool) -> Built {
    let (shape, networks) = (config.image_shape(), &config.networks);
    let source = g.input("source", DType::F32, Shape::batch(&shape))?;
    let z = networks.encoder.encode(g, source)?;
    let image = image_input(g, "image", shape, input_u8, Pixels::Signed)?;
    let decoder = DecoderConfig(networks.decoder.clone());
    let mask = if networks.decoder.z_parts > 1 { vec![networks.decoder.z_parts] } else { vec![] };
    let mask = g.input("mask", DType::F32, Shape::batch(&mask))?;
    let conditions = Conditions { latent: Some(Latent { z, mask }), ..Conditions::default() };
    of_process(g, &ProcessConfig::Ddpm(config.diffusion.process()), &decoder, image, conditions)
}

/// The loss `[B]` of images `[B,C,H,W]` in [-1, 1].
fn of_process(
    g: &mut Graph,
    process: &ProcessConfig,
    network: &dyn Denoiser,
    image: Value,
    conditions: Conditions,
) -> Built {
    let shape = g.shape(image).clone();
    let noise = g.input("noise", DType::F32, shape)?;
    let (losses, t) = match process {
        ProcessConfig::Ddpm(ddpm) => {
            let timestep = g.input("level", DType::I64, Shape::batch(&[]))?;
            let level = DdpmLevel::at(g, ddpm, timestep)?;
            let x = level.noised(g, image, noise)?;
            let found = network.predict(g, x, level.t, conditions)?;
            let target = level.target(g, ddpm, image, noise)?;
            (mean_square(g, target, found)?, level.t)
        }
        ProcessConfig::Edm(edm) => {
            if edm.preconditioning != Preconditioner::Edm {
                let message = format!(
                    "the loss of the preconditioning {} is not known here",
                    edm.preconditioning.name()
                );
                return Err(GraphError::Shape { path: "diffusion".to_string(), message });
            }
            let normal = g.input("level", DType::F32, Shape::batch(&[]))?;
            let ln_sigma = g.affine(normal, edm.p_std, edm.p_mean)?;
            let sigma = g.exp(ln_sigma)?;
            let per_image = g.per_image(sigma)?;
            let level = EdmLevel::of(g, edm, per_image, ln_sigma)?;
            let x = edm_noised(g, image, per_image, noise)?;
            let input = level.input(g, x)?;
            let f = network.predict(g, input, level.t, conditions)?;
            let denoised = level.denoised(g, x, f)?;
            let error = mean_square(g, denoised, image)?;
            // lambda = (sigma^2 + sigma_data^2) / (sigma sigma_data)^2
            let square = g.mul(sigma, sigma)?;
            let variance = g.affine(square, 1.0, edm.sigma_data * edm.sigma_data)?;
            let product = g.affine(square, edm.sigma_data * edm.sigma_data, 0.0)?;
            let weight = g.div(variance, product)?;
            (g.mul(weight, error)?, level.t)
        }
    };
    match network.uncertainty(g, t)? {
        None => Ok(losses),
        Some(u) => {
            let spread = g.exp(u)?;
            let losses = g.div(losses, spread)?;
            g.add(losses, u)
        }
    }
}

/// `[B]`: the mean of `(a - b)^2` over each image.
fn mean_square(g: &mut Graph, a: Value, b: Value) -> Built {
    let error = g.sub(a, b)?;
    let square = g.mul(error, error)?;
    g.mean(square, &[1, 2, 3])
}
