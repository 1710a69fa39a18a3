//! Graphs of kind `features`: images (or latents), noised as in training, to the means of layers.

use super::ddpm::Tables;
use super::edm::{self, Preconditioning};
use super::image::{Pixels, image_input};
use crate::config::{Config, DdpmConfig, EdmConfig, ModelConfig, ProcessConfig, Timesteps};
use crate::graph::{Graph, GraphError, Shape, Value};
use crate::networks::{Architecture, dit, inception, unet};
use crate::tensor::{DType, Tensor};

type Built = Result<Value, GraphError>;

/// What a feature graph computes and from what.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FeatureOptions {
    /// The layers (`out_6`), each averaged to `[B, D]`.
    pub taps: Vec<String>,
    /// A timestep fixed in the graph; its input disappears.
    pub timestep: Option<i64>,
    /// Images as bytes `[B,H,W,C]` rather than floats `[B,C,H,W]`.
    pub input_u8: bool,
}

/// A graph of kind `features` of the network of a training run. See [`model_features_graph`].
///
/// # Errors
/// Like [`model_features_graph`].
pub fn features_graph(config: &Config, options: &FeatureOptions) -> Result<Graph, GraphError> {
    model_features_graph(&config.model(), options)
}

/// A graph of kind `features`.
///
/// # Shapes
/// Inputs of a UNet: `image` f32 `[B,C,H,W]` in [0, 1] (or u8 `[B,H,W,C]`), `noise` f32 `[B,C,H,W]` standard normal, and,
/// unless fixed, `timestep` i64 `[B]`, one of [`super::feature_timesteps`]. Those of a DiT: `latent` f32 `[B,C,H,W]`,
/// scaled as [`super::latent_graph`] gives it, in place of `image`; it is run without labels. Inception takes
/// `image` alone.
///
/// Outputs: each tap under its name, averaged over the image or the tokens, f32 `[B, D]`.
///
/// # Errors
/// For a network without features or without a process, an unknown tap, a timestep outside the process, or a
/// configuration that cannot be built.
pub fn model_features_graph(model: &ModelConfig, options: &FeatureOptions) -> Result<Graph, GraphError> {
    let mut g = Graph::new();
    match &model.architecture {
        Architecture::UNet(config) => {
            let image = image_input(&mut g, config.image_shape, options.input_u8, Pixels::Signed)?;
            let (x, t) = noised(&mut g, model, image, options)?;
            unet(&mut g, config, x, t, None)?;
        }
        Architecture::DiT(config) => {
            if options.input_u8 {
                return wrong("latent", "latents are floats; bytes as input are for images".to_string());
            }
            let shape = [config.in_channels, config.input_size, config.input_size];
            let latent = g.input("latent", DType::F32, Shape::batch(&shape))?;
            let (x, t) = noised(&mut g, model, latent, options)?;
            dit(&mut g, config, x, t, None)?;
        }
        Architecture::Inception(config) => {
            if options.timestep.is_some() {
                return wrong("timestep", format!("{} has no timesteps", model.architecture.name()));
            }
            let [height, width] = config.image_size;
            let image = image_input(&mut g, [3, height, width], options.input_u8, Pixels::Unit)?;
            let pool = inception(&mut g, config, image)?;
            g.tap("pool", pool);
        }
        other => return wrong("features", format!("{} has no graph of this kind", other.name())),
    }
    let names: Vec<&str> = options.taps.iter().map(String::as_str).collect();
    let maps = names.iter().map(|name| g.find_tap(name)).collect::<Result<Vec<_>, _>>()?;
    g.clear_results();
    for (name, map) in names.iter().zip(maps) {
        let pooled = averaged(&mut g, map)?;
        g.output(name, pooled);
    }
    g.keep(&names)
}

/// The layers of which a `features` graph can give the means, with the shapes of what is averaged.
///
/// # Errors
/// When the network cannot be built.
pub fn feature_layers(architecture: &Architecture) -> Result<Vec<(String, Vec<usize>)>, GraphError> {
    let graph = architecture.network_graph(false)?;
    let mut layers: Vec<(String, Value)> = graph.taps().to_vec();
    if matches!(architecture, Architecture::Inception(_)) {
        layers.extend(graph.outputs().iter().cloned());
    }
    let sized = |value: Value| {
        let shape = graph.shape(value);
        (0..shape.rank()).filter_map(|axis| shape.size(axis)).collect()
    };
    Ok(layers.into_iter().map(|(name, value)| (name, sized(value))).collect())
}

fn wrong<T>(path: &str, message: String) -> Result<T, GraphError> {
    Err(GraphError::Shape { path: path.to_string(), message })
}

/// The mean of a map `[B,C,H,W]` over the image or of `[B,N,C]` over the tokens; vectors `[B,C]` as they are.
fn averaged(g: &mut Graph, layer: Value) -> Built {
    match g.shape(layer).rank() {
        4 => g.pool(layer),
        3 => g.mean(layer, &[1]),
        _ => Ok(layer),
    }
}

/// The network's input and scalar for `x`, noised as far as the timestep says; the inputs `noise` and `timestep` are
/// added.
fn noised(
    g: &mut Graph,
    model: &ModelConfig,
    x: Value,
    options: &FeatureOptions,
) -> Result<(Value, Value), GraphError> {
    let Some(process) = &model.process else {
        let message = format!("the diffusion process of this {} is not known", model.architecture.name());
        return wrong("features", message);
    };
    let shape = g.shape(x).clone();
    let noise = g.input("noise", DType::F32, shape)?;
    let range = super::feature_timesteps(process);
    let timestep = match options.timestep {
        Some(t) if !range.contains(&t) => {
            return wrong(
                "timestep",
                format!("{t} is outside {}..={} of this process", range.start(), range.end()),
            );
        }
        Some(t) => g.constant(Tensor::i64(&[1], vec![t]))?,
        None => g.input("timestep", DType::I64, Shape::batch(&[]))?,
    };
    match process {
        ProcessConfig::Ddpm(ddpm) => noised_ddpm(g, ddpm, x, noise, timestep),
        ProcessConfig::Edm(edm) => noised_edm(g, edm, x, noise, timestep),
    }
}

/// The value of a table at each sample's timestep, ready to multiply images: `[B,1,1,1]`.
fn lookup(g: &mut Graph, table: Vec<f32>, timestep: Value) -> Built {
    let values = column(g, table, timestep)?;
    g.per_image(values)
}

fn column(g: &mut Graph, table: Vec<f32>, timestep: Value) -> Built {
    let table = g.constant(Tensor::f32(&[table.len()], table))?;
    g.gather(table, timestep)
}

/// `sqrt(alpha_bar) x + sqrt(1 - alpha_bar) noise`, and what the network is told of the timestep.
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
    let t = match config.timesteps {
        Timesteps::Fraction => {
            let scalars = (0..=config.n_t).map(|t| config.scalar(t)).collect();
            column(g, scalars, timestep)?
        }
        Timesteps::Index => g.cast(timestep, DType::F32)?,
    };
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
