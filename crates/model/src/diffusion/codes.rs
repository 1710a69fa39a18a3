//! Graphs that make codes of images: of kind `encoder` and `latent`.

use super::image::{Pixels, image_input, normalised};
use crate::config::ModelConfig;
use crate::graph::{Graph, GraphError, Shape};
use crate::networks::{self, Role};
use crate::tensor::DType;

/// A graph of kind `encoder`.
///
/// # Shapes
/// Input `image` f32 `[B,C,H,W]` in [0, 1] (or u8 `[B,H,W,C]`), output `z` f32 `[B, feature_dim]`, divided by its
/// Euclidean length if `unit_length`. The normalisation of the training images happens inside.
///
/// # Errors
/// For a network that is no encoder, one whose normalisation is not known or has other channels, or a configuration
/// that cannot be built.
pub fn encoder_graph(model: &ModelConfig, input_u8: bool, unit_length: bool) -> Result<Graph, GraphError> {
    let wrong = |message: String| GraphError::Shape { path: "encoder".to_string(), message };
    let network = model.architecture.network();
    let (Role::Encoder(encoder), Some(shape)) = (network.role(), network.image_shape()) else {
        return Err(wrong(format!("{} has no graph of this kind", model.architecture.name())));
    };
    let Some(statistics) = &model.normalisation else {
        return Err(wrong("the normalisation of its training images is not known".to_string()));
    };
    let mut g = Graph::new();
    let image = image_input(&mut g, "image", shape, input_u8, Pixels::Unit)?;
    let x = normalised(&mut g, image, statistics)?;
    let mut z = encoder.encode(&mut g, x)?;
    if unit_length {
        z = networks::unit_length(&mut g, z)?;
    }
    g.output("z", z);
    g.keep(&["z"])
}

/// A graph of kind `latent`.
///
/// # Shapes
/// Inputs `image` f32 `[B,C,H,W]` in [0, 1] (or u8 `[B,H,W,C]`) and `noise` f32 `[B,Z,H/8,W/8]`, standard normal (zeros
/// give the posterior's mean); output `latent`, like `noise`: a sample of the posterior, scaled.
///
/// # Errors
/// For a network that is no latent encoder, or a configuration that cannot be built.
pub fn latent_graph(model: &ModelConfig, input_u8: bool) -> Result<Graph, GraphError> {
    let network = model.architecture.network();
    let (Role::LatentEncoder(encoder), Some(shape)) = (network.role(), network.image_shape()) else {
        let message = format!("{} has no graph of this kind", model.architecture.name());
        return Err(GraphError::Shape { path: "latent".to_string(), message });
    };
    let mut g = Graph::new();
    let x = image_input(&mut g, "image", shape, input_u8, Pixels::Signed)?;
    let noise = g.input("noise", DType::F32, Shape::batch(&encoder.latent_shape()))?;
    let latent = encoder.sample(&mut g, x, noise)?;
    g.output("latent", latent);
    g.keep(&["latent"])
}
