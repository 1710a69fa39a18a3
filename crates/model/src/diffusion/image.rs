//! Images as they come, in the values that networks want; graphs that make codes of them.

use crate::config::ModelConfig;
use crate::graph::{Graph, GraphError, Path, Shape, Value};
use crate::networks::{self, Architecture, posterior_sample, resnet, vae_encoder};
use crate::tensor::{DType, Tensor};

type Built = Result<Value, GraphError>;

/// The values that a network wants images in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pixels {
    /// From 0 to 1.
    Unit,
    /// From -1 to 1.
    Signed,
}

/// Adds the input `image`, f32 `[B,C,H,W]` in [0, 1] or, as `bytes`, u8 `[B,H,W,C]`; gives it as f32 `[B,C,H,W]` in the
/// wanted values.
///
/// # Errors
/// When there is an input of this name.
pub fn image_input(g: &mut Graph, shape: [usize; 3], bytes: bool, wanted: Pixels) -> Built {
    let [channels, height, width] = shape;
    if !bytes {
        let image = g.input("image", DType::F32, Shape::batch(&shape))?;
        return match wanted {
            Pixels::Unit => Ok(image),
            Pixels::Signed => g.affine(image, 2.0, -1.0),
        };
    }
    let levels = g.input("image", DType::U8, Shape::batch(&[height, width, channels]))?;
    let floats = g.cast(levels, DType::F32)?;
    let planes = g.transpose(floats, &[0, 3, 1, 2])?;
    match wanted {
        Pixels::Unit => g.affine(planes, 1.0 / 255.0, 0.0),
        Pixels::Signed => g.affine(planes, 2.0 / 255.0, -1.0),
    }
}

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
    let Architecture::SodaEncoder(config) = &model.architecture else {
        return Err(wrong(format!("{} has no graph of this kind", model.architecture.name())));
    };
    let Some(statistics) = &model.normalisation else {
        return Err(wrong("the normalisation of its training images is not known".to_string()));
    };
    let (channels, means) = (config.image_shape[0], statistics.mean.len());
    if means != channels || statistics.std.len() != channels {
        return Err(wrong(format!("the normalisation is for {means} channels, the images have {channels}")));
    }
    let mut g = Graph::new();
    let image = image_input(&mut g, config.image_shape, input_u8, Pixels::Unit)?;
    let per_channel = |g: &mut Graph, values: Vec<f32>| g.constant(Tensor::f32(&[1, channels, 1, 1], values));
    let mean = per_channel(&mut g, statistics.mean.iter().map(|&mean| mean as f32).collect())?;
    let std = per_channel(&mut g, statistics.std.iter().map(|&std| std as f32).collect())?;
    let centred = g.sub(image, mean)?;
    let x = g.div(centred, std)?;
    let mut z = resnet(&mut g, &Path::root().at("encoder").at("encoder"), config, x)?;
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
    let Architecture::VaeEncoder(config) = &model.architecture else {
        let message = format!("{} has no graph of this kind", model.architecture.name());
        return Err(GraphError::Shape { path: "latent".to_string(), message });
    };
    let [height, width] = config.image_size;
    let mut g = Graph::new();
    let x = image_input(&mut g, [config.in_channels, height, width], input_u8, Pixels::Signed)?;
    let noise = g.input("noise", DType::F32, Shape::batch(&config.latent_shape()))?;
    let moments = vae_encoder(&mut g, config, x)?;
    let latent = posterior_sample(&mut g, config, moments, noise)?;
    g.output("latent", latent);
    g.keep(&["latent"])
}
