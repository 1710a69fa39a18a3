//! Graphs of kind `sampler`: one network call of a [`super::SamplerPlan`], with the arithmetic around it.

use super::super::process::{DdpmLevel, EdmLevel, class_input, scalars};
use crate::config::{Config, DdpmConfig, ModelConfig, ProcessConfig};
use crate::graph::{Dim, Graph, GraphError, Shape, Value};
use crate::networks::{Conditions, Denoiser, Domain, Guidance, Latent, Role};
use crate::tensor::{DType, Tensor};

type Built = Result<Value, GraphError>;

/// Coefficients of a step of a DDPM and of an EDM.
const DDPM_COEFFICIENTS: usize = 5;
const EDM_COEFFICIENTS: usize = 7;

/// A graph of kind `sampler` of the network of a training run. See [`model_sampler_graph`].
///
/// # Errors
/// When the configuration cannot be built.
pub fn sampler_graph(config: &Config) -> Result<Graph, GraphError> {
    model_sampler_graph(&config.model())
}

/// A graph of kind `sampler`: one network call of a [`super::SamplerPlan`].
///
/// # Shapes
/// Inputs `x [B,C,H,W]` in the state's type (DDPM f32, EDM f64), `noise` f32 `[B,C,H,W]`, `t` f32 `[1]`,
/// `preconditioning` f32 `[2]` or `[3]`, `coefficients` `[5]` or `[7]` in the state's type, and `carry`, like `x`.
/// Outputs `next` and `next_carry`, like `x`.
///
/// A SongUNet of classes takes besides `label` i64 `[B]`, the class of each image, or the number of classes for none.
///
/// A SODA decoder takes besides `z` f32 `[B,Z]`, the latents that guide it, and `guidance` f32 `[1]`, how much further
/// than by itself a latent leads: the network sees every image twice, in one batch of `2 B`, with its latent and
/// without, and `(1 + guidance) eps_with - guidance eps_without` is taken for the noise (arXiv 2207.12598).
///
/// # Errors
/// For a network without sampler or without a process, or a configuration that cannot be built.
pub fn model_sampler_graph(model: &ModelConfig) -> Result<Graph, GraphError> {
    let wrong = |message: String| GraphError::Shape { path: "sampler".to_string(), message };
    let (network, name) = (model.architecture.network(), model.architecture.name());
    let (denoiser, shape) = match (network.role(), network.image_shape()) {
        (Role::Denoiser(denoiser), Some(shape)) if denoiser.domain() == Domain::Images => (denoiser, shape),
        _ => return Err(wrong(format!("{name} has no graph of this kind"))),
    };
    let mut g = Graph::new();
    match (&model.process, denoiser.guidance()) {
        (None, _) => return Err(wrong(format!("the diffusion process of {name} is not known"))),
        (Some(ProcessConfig::Ddpm(config)), None) => ddpm_step(&mut g, config, shape, |g, x, t| {
            let class = class_input(g, denoiser)?;
            denoiser.predict(g, x, t, Conditions { class, ..Conditions::default() })
        })?,
        (Some(ProcessConfig::Ddpm(config)), Some(guidance)) => {
            ddpm_step(&mut g, config, shape, |g, x, t| guided_noise(g, denoiser, guidance, x, t))?;
        }
        (Some(ProcessConfig::Edm(_)), None) => edm_step(&mut g, shape, denoiser)?,
        (Some(ProcessConfig::Edm(_)), Some(_)) => {
            return Err(wrong(format!("{name} is sampled as a DDPM; its model_type is EDM")));
        }
    }
    let names: Vec<String> = g.outputs().iter().map(|(name, _)| name.clone()).collect();
    g.keep(&names.iter().map(String::as_str).collect::<Vec<_>>())
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

/// A step of a DDPM for images `[C, H, W]`; `network` adds what finds the noise, or what else is predicted, in `x`.
fn ddpm_step(
    g: &mut Graph,
    config: &DdpmConfig,
    image: [usize; 3],
    network: impl FnOnce(&mut Graph, Value, Value) -> Built,
) -> Result<(), GraphError> {
    let shape = Shape::batch(&image);
    let x = g.input("x", DType::F32, shape.clone())?;
    let noise = g.input("noise", DType::F32, shape.clone())?;
    let t = g.input("t", DType::F32, Shape::fixed(&[1]))?;
    let [signal, spread] = scalars(g, "preconditioning", DType::F32)?;
    let c: [Value; DDPM_COEFFICIENTS] = scalars(g, "coefficients", DType::F32)?;
    let carry = g.input("carry", DType::F32, shape)?;
    let level = DdpmLevel { t, signal, spread };

    let found = network(g, x, t)?;
    let x0 = level.clean(g, config, x, found)?;
    // The noise that goes with the clipped image.
    let eps = level.noise(g, x, x0)?;
    let next = combine(g, &[(c[0], x), (c[1], x0), (c[2], eps), (c[3], noise), (c[4], carry)])?;
    g.output("next", next);
    g.output("next_carry", x0);
    Ok(())
}

/// The noise that a guided denoiser finds in `x [B,C,H,W]`, led by the inputs `z` and `guidance`.
fn guided_noise(g: &mut Graph, network: &dyn Denoiser, shape: Guidance, x: Value, t: Value) -> Built {
    let Guidance { channels, parts } = shape;
    let z = g.input("z", DType::F32, Shape::batch(&[channels]))?;
    let [guidance] = scalars(g, "guidance", DType::F32)?;
    let image = g.shape(x).clone();
    let once = stacked(g, x, 1)?;
    let twice = g.concat(&[once, once], 0)?;
    let x = unstacked(g, twice)?;
    // A latent of zeros is a hidden one, so nothing of the second half is hidden besides.
    let z = stacked(g, z, 1)?;
    let z = g.pad(z, 0, 0, 1)?;
    let z = unstacked(g, z)?;
    let mask = if parts > 1 { vec![1, parts] } else { vec![1] };
    let mask = g.constant(Tensor::f32(&mask, vec![0.0; parts]))?;

    let latent = Some(Latent { z, mask });
    let eps = network.predict(g, x, t, Conditions { latent, ..Conditions::default() })?;
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

/// A step of an EDM for images `[C, H, W]`.
fn edm_step(g: &mut Graph, image: [usize; 3], network: &dyn Denoiser) -> Result<(), GraphError> {
    let shape = Shape::batch(&image);
    let x = g.input("x", DType::F64, shape.clone())?;
    let noise = g.input("noise", DType::F32, shape.clone())?;
    let t = g.input("t", DType::F32, Shape::fixed(&[1]))?;
    let [c_in, c_skip, c_out] = scalars(g, "preconditioning", DType::F32)?;
    let c: [Value; EDM_COEFFICIENTS] = scalars(g, "coefficients", DType::F64)?;
    let carry = g.input("carry", DType::F64, shape)?;
    let level = EdmLevel { t, c_in, c_skip, c_out };

    let x32 = g.cast(x, DType::F32)?;
    let input = level.input(g, x32)?;
    let class = class_input(g, network)?;
    let f = network.predict(g, input, t, Conditions { class, ..Conditions::default() })?;
    let denoised = level.denoised(g, x32, f)?;
    let denoised = g.clamp(denoised, -1.0, 1.0)?;
    let denoised = g.cast(denoised, DType::F64)?;
    let noise = g.cast(noise, DType::F64)?;
    let next = combine(g, &[(c[0], x), (c[1], denoised), (c[2], carry), (c[3], noise)])?;
    let next_carry = combine(g, &[(c[4], x), (c[5], denoised), (c[6], carry)])?;
    g.output("next", next);
    g.output("next_carry", next_carry);
    Ok(())
}
