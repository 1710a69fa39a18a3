//! Graphs of kind `features` and `sampler`: the network inside its diffusion process.

use super::ddpm::Tables;
use super::edm::{self, Preconditioning};
use crate::config::{Config, DdpmConfig, EdmConfig, ProcessConfig};
use crate::graph::{Dim, Graph, GraphError, Shape, Value};
use crate::networks::unet;
use crate::tensor::{DType, Tensor};

type Built = Result<Value, GraphError>;

/// What a feature graph computes and from what.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FeatureOptions {
    /// The layers (`out_6`), each pooled to `[B, D]`.
    pub taps: Vec<String>,
    /// A timestep fixed in the graph; its input disappears.
    pub timestep: Option<i64>,
    /// Pictures as bytes `[B,H,W,C]` rather than floats `[B,C,H,W]`.
    pub input_u8: bool,
}

/// A graph of kind `features`.
///
/// # Shapes
/// Inputs `image` f32 `[B,C,H,W]` in [0, 1] (or u8 `[B,H,W,C]`), `noise` f32 `[B,C,H,W]` standard normal, and, unless
/// fixed, `timestep` i64 `[B]` (DDPM: `1..=n_T`; EDM: step `1..=18` of the grid from `sigma_min` to `sigma_max`).
/// Outputs: each tap under its name, averaged over the picture, f32 `[B, D]`.
///
/// # Errors
/// For an unknown tap, a timestep outside the process, or a configuration that cannot be built.
pub fn features_graph(config: &Config, options: &FeatureOptions) -> Result<Graph, GraphError> {
    let network = &config.network;
    let [channels, height, width] = network.image_shape;
    let mut g = Graph::new();
    let image = if options.input_u8 {
        let bytes = g.input("image", DType::U8, Shape::batch(&[height, width, channels]))?;
        let floats = g.cast(bytes, DType::F32)?;
        let planes = g.transpose(floats, &[0, 3, 1, 2])?;
        g.affine(planes, 2.0 / 255.0, -1.0)?
    } else {
        let image = g.input("image", DType::F32, Shape::batch(&network.image_shape))?;
        g.affine(image, 2.0, -1.0)?
    };
    let noise = g.input("noise", DType::F32, Shape::batch(&network.image_shape))?;
    let range = super::feature_timesteps(&config.process);
    let timestep = match options.timestep {
        Some(t) if !range.contains(&t) => {
            let message = format!("{t} is outside {}..={} of this process", range.start(), range.end());
            return Err(GraphError::Shape { path: "timestep".to_string(), message });
        }
        Some(t) => g.constant(Tensor::i64(&[1], vec![t]))?,
        None => g.input("timestep", DType::I64, Shape::batch(&[]))?,
    };
    let (x, t) = match &config.process {
        ProcessConfig::Ddpm(ddpm) => noised_ddpm(&mut g, ddpm, image, noise, timestep)?,
        ProcessConfig::Edm(edm) => noised_edm(&mut g, edm, image, noise, timestep)?,
    };
    unet(&mut g, network, x, t, None)?;
    let names: Vec<&str> = options.taps.iter().map(String::as_str).collect();
    let maps = names.iter().map(|name| g.find_tap(name)).collect::<Result<Vec<_>, _>>()?;
    g.clear_results();
    for (name, map) in names.iter().zip(maps) {
        let pooled = g.pool(map)?;
        g.output(name, pooled);
    }
    g.keep(&names)
}

/// The value of a table at each sample's timestep, ready to multiply pictures: `[B,1,1,1]`.
fn lookup(g: &mut Graph, table: Vec<f32>, timestep: Value) -> Built {
    let values = column(g, table, timestep)?;
    g.per_picture(values)
}

fn column(g: &mut Graph, table: Vec<f32>, timestep: Value) -> Built {
    let table = g.constant(Tensor::f32(&[table.len()], table))?;
    g.gather(table, timestep)
}

/// `sqrt(alpha_bar) x + sqrt(1 - alpha_bar) noise`, and the network's scalar `t / n_T`.
fn noised_ddpm(
    g: &mut Graph,
    config: &DdpmConfig,
    image: Value,
    noise: Value,
    timestep: Value,
) -> Result<(Value, Value), GraphError> {
    let tables = Tables::training(config);
    let signal = lookup(g, tables.sqrt_alpha_bar, timestep)?;
    let spread = lookup(g, tables.sqrt_one_minus_alpha_bar, timestep)?;
    let scalars = (0..=config.n_t).map(|t| t as f32 / config.n_t as f32).collect();
    let t = column(g, scalars, timestep)?;
    let image = g.mul(image, signal)?;
    let noise = g.mul(noise, spread)?;
    Ok((g.add(image, noise)?, t))
}

/// `c_in (x + sigma noise)`, and the network's scalar `c_noise`.
fn noised_edm(
    g: &mut Graph,
    config: &EdmConfig,
    image: Value,
    noise: Value,
    timestep: Value,
) -> Result<(Value, Value), GraphError> {
    let sigmas: Vec<f32> = edm::feature_sigmas(config).into_iter().map(|s| s as f32).collect();
    let levels: Vec<Preconditioning> = sigmas.iter().map(|&s| Preconditioning::at(config, s)).collect();
    let sigma = lookup(g, sigmas, timestep)?;
    let c_in = lookup(g, levels.iter().map(|p| p.c_in).collect(), timestep)?;
    // Step 0 has no noise and no scalar (ln 0); it is no feature step.
    let t = column(g, levels.iter().map(|p| p.c_noise.max(f32::MIN)).collect(), timestep)?;
    let noise = g.mul(noise, sigma)?;
    let noised = g.add(image, noise)?;
    Ok((g.mul(noised, c_in)?, t))
}

/// A graph of kind `sampler`: one network call of a [`super::Plan`].
///
/// # Shapes
/// Inputs `x [B,C,H,W]` in the state's type (DDPM f32, EDM f64), `noise` f32 `[B,C,H,W]`, `t` f32 `[1]`,
/// `preconditioning` f32 `[2]` or `[3]`, `coefficients` `[4]` or `[7]` in the state's type, and for EDM
/// `carry [B,C,H,W]` f64. Outputs `next` and, for EDM, `next_carry`, like `x`.
///
/// # Errors
/// When the configuration cannot be built.
pub fn sampler_graph(config: &Config) -> Result<Graph, GraphError> {
    let mut g = Graph::new();
    match &config.process {
        ProcessConfig::Ddpm(_) => ddpm_step(&mut g, config)?,
        ProcessConfig::Edm(_) => edm_step(&mut g, config)?,
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

fn ddpm_step(g: &mut Graph, config: &Config) -> Result<(), GraphError> {
    let shape = Shape::batch(&config.network.image_shape);
    let x = g.input("x", DType::F32, shape.clone())?;
    let noise = g.input("noise", DType::F32, shape)?;
    let t = g.input("t", DType::F32, Shape::of(vec![Dim::Size(1)]))?;
    let scale = scalars(g, "preconditioning", DType::F32, 2)?;
    let c = scalars(g, "coefficients", DType::F32, 4)?;
    let (signal, spread) = (scale[0], scale[1]);

    let eps = unet(g, &config.network, x, t, None)?;
    let noise_part = g.mul(spread, eps)?;
    let picture = g.sub(x, noise_part)?;
    let x0 = g.div(picture, signal)?;
    let x0 = g.clamp(x0, -1.0, 1.0)?;
    // The noise that goes with the clipped picture.
    let signal_part = g.mul(signal, x0)?;
    let rest = g.sub(x, signal_part)?;
    let eps = g.div(rest, spread)?;
    let next = combine(g, &[(c[0], x), (c[1], x0), (c[2], eps), (c[3], noise)])?;
    g.output("next", next);
    Ok(())
}

fn edm_step(g: &mut Graph, config: &Config) -> Result<(), GraphError> {
    let shape = Shape::batch(&config.network.image_shape);
    let x = g.input("x", DType::F64, shape.clone())?;
    let noise = g.input("noise", DType::F32, shape.clone())?;
    let t = g.input("t", DType::F32, Shape::of(vec![Dim::Size(1)]))?;
    let scale = scalars(g, "preconditioning", DType::F32, 3)?;
    let c = scalars(g, "coefficients", DType::F64, 7)?;
    let carry = g.input("carry", DType::F64, shape)?;
    let (c_in, c_skip, c_out) = (scale[0], scale[1], scale[2]);

    let x32 = g.cast(x, DType::F32)?;
    let input = g.mul(c_in, x32)?;
    let f = unet(g, &config.network, input, t, None)?;
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
