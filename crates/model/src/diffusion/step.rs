//! Graphs of kind `sampler`: one network call of a [`super::Plan`], with the arithmetic around it.

use crate::config::{Config, ModelConfig, ProcessConfig};
use crate::graph::{Dim, Graph, GraphError, Path, Shape, Value};
use crate::networks::{Architecture, UNetConfig, decoder, unet};
use crate::tensor::{DType, Tensor};

type Built = Result<Value, GraphError>;

/// A graph of kind `sampler` of the network of a training run. See [`model_sampler_graph`].
///
/// # Errors
/// When the configuration cannot be built.
pub fn sampler_graph(config: &Config) -> Result<Graph, GraphError> {
    model_sampler_graph(&config.model())
}

/// A graph of kind `sampler`: one network call of a [`super::Plan`].
///
/// # Shapes
/// Inputs `x [B,C,H,W]` in the state's type (DDPM f32, EDM f64), `noise` f32 `[B,C,H,W]`, `t` f32 `[1]`,
/// `preconditioning` f32 `[2]` or `[3]`, `coefficients` `[4]` or `[7]` in the state's type, and for EDM
/// `carry [B,C,H,W]` f64. Outputs `next` and, for EDM, `next_carry`, like `x`.
///
/// A SODA decoder takes besides `z` f32 `[B,Z]`, the latents that guide it, and `guidance` f32 `[1]`, how much further
/// than by itself a latent leads: the network sees every image twice, in one batch of `2 B`, with its latent and
/// without, and `(1 + guidance) eps_with - guidance eps_without` is taken for the noise (arXiv 2207.12598).
///
/// # Errors
/// For a network without sampler or without a process, or a configuration that cannot be built.
pub fn model_sampler_graph(model: &ModelConfig) -> Result<Graph, GraphError> {
    let wrong = |message: String| GraphError::Shape { path: "sampler".to_string(), message };
    let name = model.architecture.name();
    let mut g = Graph::new();
    match (&model.architecture, &model.process) {
        (Architecture::UNet(config), Some(ProcessConfig::Ddpm(_))) => {
            ddpm_step(&mut g, config.image_shape, |g, x, t| unet(g, config, x, t, None))?;
        }
        (Architecture::UNet(config), Some(ProcessConfig::Edm(_))) => edm_step(&mut g, config)?,
        (Architecture::SodaDecoder(config), Some(ProcessConfig::Ddpm(_))) => {
            ddpm_step(&mut g, config.image_shape, |g, x, t| guided_noise(g, config, x, t))?;
        }
        (Architecture::SodaDecoder(_), Some(ProcessConfig::Edm(_))) => {
            return Err(wrong(format!("{name} is sampled as a DDPM; its model_type is EDM")));
        }
        (Architecture::UNet(_) | Architecture::SodaDecoder(_), None) => {
            return Err(wrong(format!("the diffusion process of {name} is not known")));
        }
        _ => return Err(wrong(format!("{name} has no graph of this kind"))),
    }
    let names: Vec<String> = g.outputs().iter().map(|(name, _)| name.clone()).collect();
    g.keep(&names.iter().map(String::as_str).collect::<Vec<_>>())
}

/// The elements of a vector input, each as `[1,1,1,1]`.
fn scalars(g: &mut Graph, name: &str, dtype: DType, count: usize) -> Result<Vec<Value>, GraphError> {
    let vector = g.input(name, dtype, Shape::fixed(&[count]))?;
    (0..count)
        .map(|i| {
            let element = g.slice(vector, 0, i, 1)?;
            g.reshape(element, Shape::fixed(&[1, 1, 1, 1]))
        })
        .collect()
}

/// The sum of products.
fn combine(g: &mut Graph, terms: &[(Value, Value)]) -> Built {
    let mut sum = None;
    for &(factor, x) in terms {
        let product = g.mul(factor, x)?;
        sum = Some(match sum {
            None => product,
            Some(sum) => g.add(sum, product)?,
        });
    }
    sum.ok_or_else(|| GraphError::Shape { path: "sampler".to_string(), message: "an empty sum".to_string() })
}

/// A step of a DDPM for images `[C, H, W]`; `network` adds what finds the noise in `x`.
fn ddpm_step(
    g: &mut Graph,
    image: [usize; 3],
    network: impl FnOnce(&mut Graph, Value, Value) -> Built,
) -> Result<(), GraphError> {
    let shape = Shape::batch(&image);
    let x = g.input("x", DType::F32, shape.clone())?;
    let noise = g.input("noise", DType::F32, shape)?;
    let t = g.input("t", DType::F32, Shape::of(vec![Dim::Size(1)]))?;
    let scale = scalars(g, "preconditioning", DType::F32, 2)?;
    let c = scalars(g, "coefficients", DType::F32, 4)?;
    let (signal, spread) = (scale[0], scale[1]);

    let eps = network(g, x, t)?;
    let noise_part = g.mul(spread, eps)?;
    let image = g.sub(x, noise_part)?;
    let x0 = g.div(image, signal)?;
    let x0 = g.clamp(x0, -1.0, 1.0)?;
    // The noise that goes with the clipped image.
    let signal_part = g.mul(signal, x0)?;
    let rest = g.sub(x, signal_part)?;
    let eps = g.div(rest, spread)?;
    let next = combine(g, &[(c[0], x), (c[1], x0), (c[2], eps), (c[3], noise)])?;
    g.output("next", next);
    Ok(())
}

/// The noise that a SODA decoder finds in `x [B,C,H,W]`, led by the inputs `z` and `guidance`.
fn guided_noise(g: &mut Graph, config: &UNetConfig, x: Value, t: Value) -> Built {
    let z = g.input("z", DType::F32, Shape::batch(&[config.z_channels]))?;
    let guidance = scalars(g, "guidance", DType::F32, 1)?[0];
    let image = g.shape(x).clone();
    let once = stacked(g, x, 1)?;
    let twice = g.concat(&[once, once], 0)?;
    let x = unstacked(g, twice)?;
    // A latent of zeros is a hidden one, so nothing of the second half is hidden besides.
    let z = stacked(g, z, 1)?;
    let z = g.pad(z, 0, 0, 1)?;
    let z = unstacked(g, z)?;
    let mask = if config.z_parts > 1 { vec![1, config.z_parts] } else { vec![1] };
    let mask = g.constant(Tensor::f32(&mask, vec![0.0; config.z_parts]))?;

    let eps = decoder(g, &Path::root().at("decoder"), config, x, t, z, mask)?;
    let halves = stacked(g, eps, 2)?;
    let half = |g: &mut Graph, i: usize| {
        let half = g.slice(halves, 0, i, 1)?;
        g.reshape(half, image.clone())
    };
    let (with, without) = (half(g, 0)?, half(g, 1)?);
    // (1 + guidance) with - guidance without: without guidance, exactly what the latent leads to.
    let led = g.sub(with, without)?;
    let led = g.mul(guidance, led)?;
    g.add(with, led)
}

/// `[n B, …]` as `[n, B, …]`: `n` batches, one after the other.
fn stacked(g: &mut Graph, x: Value, n: usize) -> Built {
    let shape = g.shape(x);
    let dims = [Dim::Size(n), Dim::Batch(1)].into_iter().chain(shape.dims().iter().skip(1).copied());
    let dims = dims.collect();
    g.reshape(x, Shape::of(dims))
}

/// `[n, B, …]` as one batch `[n B, …]`.
fn unstacked(g: &mut Graph, x: Value) -> Built {
    let shape = g.shape(x);
    let batch = Dim::Batch(shape.size(0).unwrap_or(1));
    let dims = std::iter::once(batch).chain(shape.dims().iter().skip(2).copied()).collect();
    g.reshape(x, Shape::of(dims))
}

fn edm_step(g: &mut Graph, config: &UNetConfig) -> Result<(), GraphError> {
    let shape = Shape::batch(&config.image_shape);
    let x = g.input("x", DType::F64, shape.clone())?;
    let noise = g.input("noise", DType::F32, shape.clone())?;
    let t = g.input("t", DType::F32, Shape::of(vec![Dim::Size(1)]))?;
    let scale = scalars(g, "preconditioning", DType::F32, 3)?;
    let c = scalars(g, "coefficients", DType::F64, 7)?;
    let carry = g.input("carry", DType::F64, shape)?;
    let (c_in, c_skip, c_out) = (scale[0], scale[1], scale[2]);

    let x32 = g.cast(x, DType::F32)?;
    let input = g.mul(c_in, x32)?;
    let f = unet(g, config, input, t, None)?;
    let denoised = combine(g, &[(c_skip, x32), (c_out, f)])?;
    let denoised = g.clamp(denoised, -1.0, 1.0)?;
    let denoised = g.cast(denoised, DType::F64)?;
    let noise = g.cast(noise, DType::F64)?;
    let next = combine(g, &[(c[0], x), (c[1], denoised), (c[2], carry), (c[3], noise)])?;
    let next_carry = combine(g, &[(c[4], x), (c[5], denoised), (c[6], carry)])?;
    g.output("next", next);
    g.output("next_carry", next_carry);
    Ok(())
}
