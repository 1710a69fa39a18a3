//! Graphs of kind `features`: images (or latents), noised as in training, to the means of layers or to their maps.

use super::image::{Pixels, image_input};
use super::process::{DdpmLevel, EdmLevel, edm_noised};
use crate::config::{Config, ModelConfig, ProcessConfig};
use crate::graph::{Graph, GraphError, Shape, Value};
use crate::networks::{Architecture, Conditions, Domain, Role};
use crate::tensor::{DType, Tensor};

type Built = Result<Value, GraphError>;

/// What a feature graph computes and from what.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FeatureOptions {
    /// The layers (`out_6`), each averaged to `[B, D]` unless `unpooled`.
    pub taps: Vec<String>,
    /// Whether layers are given as they are: maps `[B, D, H, W]`, or tokens `[B, N, D]`.
    pub unpooled: bool,
    /// A timestep fixed in the graph; its input disappears.
    pub timestep: Option<i64>,
    /// Images as bytes `[B,H,W,C]` rather than floats `[B,C,H,W]`.
    pub input_u8: bool,
    /// Whether the network is told the class of each image, the input `label`; without it, it is told of none.
    pub label: bool,
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
/// scaled as [`super::latent_graph`] gives it, in place of `image`; it is run without labels. A SongUNet takes, where it
/// is asked for, `label` i64 `[B]`: a class, or the number of classes for none. Inception takes `image` alone.
///
/// Outputs: each tap under its name, averaged over the image or the tokens, f32 `[B, D]`; with
/// [`FeatureOptions::unpooled`] the map f32 `[B, D, H, W]` or the tokens f32 `[B, N, D]`.
///
/// # Errors
/// For a network without features or without a process, an unknown tap, a timestep outside the process, or a
/// configuration that cannot be built.
pub fn model_features_graph(model: &ModelConfig, options: &FeatureOptions) -> Result<Graph, GraphError> {
    let mut g = Graph::new();
    let (network, name) = (model.architecture.network(), model.architecture.name());
    match (network.role(), network.image_shape()) {
        (Role::Denoiser(denoiser), Some(shape)) if denoiser.guidance().is_none() => {
            let x0 = match denoiser.domain() {
                Domain::Images => image_input(&mut g, "image", shape, options.input_u8, Pixels::Signed)?,
                Domain::Latents if options.input_u8 => {
                    return wrong("latent", "latents are floats; bytes as input are for images".to_string());
                }
                Domain::Latents => g.input("latent", DType::F32, Shape::batch(&shape))?,
            };
            let (x, t) = noised(&mut g, model, x0, options)?;
            let class = match options.label {
                true if denoiser.classes() == 0 => {
                    return wrong("label", format!("{name} is told of no class here"));
                }
                true => super::process::class_input(&mut g, denoiser)?,
                false => None,
            };
            denoiser.predict(&mut g, x, t, Conditions { class, ..Conditions::default() })?;
        }
        (Role::Extractor(extractor), Some(shape)) => {
            if options.timestep.is_some() {
                return wrong("timestep", format!("{name} has no timesteps"));
            }
            if options.label {
                return wrong("label", format!("{name} is told of no class"));
            }
            let image = image_input(&mut g, "image", shape, options.input_u8, Pixels::Unit)?;
            extractor.extract(&mut g, image)?;
        }
        _ => return wrong("features", format!("{name} has no graph of this kind")),
    }
    let names: Vec<&str> = options.taps.iter().map(String::as_str).collect();
    let maps = names.iter().map(|name| g.find_tap(name)).collect::<Result<Vec<_>, _>>()?;
    g.clear_results();
    for (name, map) in names.iter().zip(maps) {
        let feature = if options.unpooled { map } else { averaged(&mut g, map)? };
        g.output(name, feature);
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
    if let Role::Extractor(_) = architecture.network().role() {
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
        ProcessConfig::Ddpm(ddpm) => {
            let level = DdpmLevel::at(g, ddpm, timestep)?;
            Ok((level.noised(g, x, noise)?, level.t))
        }
        ProcessConfig::Edm(edm) => {
            let (level, sigma) = EdmLevel::on_grid(g, edm, timestep)?;
            let noised = edm_noised(g, x, sigma, noise)?;
            Ok((level.input(g, noised)?, level.t))
        }
    }
}
