//! Images as they come, in the values that networks want.

use serde::{Deserialize, Serialize};

use crate::config::ChannelStatistics;
use crate::graph::{Graph, GraphError, Shape, Value};
use crate::tensor::{DType, Tensor};

type Built = Result<Value, GraphError>;

/// The values that images have at the graph's inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Pixels {
    /// Floats from 0 to 1.
    #[serde(rename = "[0,1]")]
    Unit,
    /// Bytes.
    #[serde(rename = "0..255")]
    Bytes,
    /// Floats from -1 to 1, noised.
    #[serde(rename = "[-1,1]")]
    Signed,
    /// As the network's training normalised them, channel by channel.
    #[serde(rename = "normalised")]
    Normalised,
    /// No images: latents of an autoencoder, scaled, or features.
    #[serde(rename = "latent")]
    Latent,
}

impl Pixels {
    /// The name in files.
    pub fn name(self) -> &'static str {
        match self {
            Pixels::Unit => "[0,1]",
            Pixels::Bytes => "0..255",
            Pixels::Signed => "[-1,1]",
            Pixels::Normalised => "normalised",
            Pixels::Latent => "latent",
        }
    }
}

/// Adds the input `name`, f32 `[B,C,H,W]` in [0, 1] or, as `bytes`, u8 `[B,H,W,C]`; gives it as f32 `[B,C,H,W]` from 0
/// to 1 ([`Pixels::Unit`]) or from -1 to 1 ([`Pixels::Signed`]).
///
/// # Errors
/// When there is an input of this name, or other values are wanted.
pub(super) fn image_input(
    g: &mut Graph,
    name: &str,
    shape: [usize; 3],
    bytes: bool,
    wanted: Pixels,
) -> Built {
    let [channels, height, width] = shape;
    let (image, largest) = if bytes {
        let levels = g.input(name, DType::U8, Shape::batch(&[height, width, channels]))?;
        let levels = g.cast(levels, DType::F32)?;
        (g.transpose(levels, &[0, 3, 1, 2])?, 255.0)
    } else {
        (g.input(name, DType::F32, Shape::batch(&shape))?, 1.0)
    };
    match wanted {
        Pixels::Unit if !bytes => Ok(image),
        Pixels::Unit => g.affine(image, 1.0 / largest, 0.0),
        Pixels::Signed => g.affine(image, 2.0 / largest, -1.0),
        other => {
            let message = format!("an image input cannot be had as {}", other.name());
            Err(GraphError::Shape { path: name.to_string(), message })
        }
    }
}

/// `(image - mean) / std`, channel by channel, of an image `[B,C,H,W]` in [0, 1].
///
/// # Errors
/// When the statistics are for another number of channels.
pub(super) fn normalised(g: &mut Graph, image: Value, statistics: &ChannelStatistics) -> Built {
    let (channels, means) = (g.shape(image).size(1).unwrap_or(0), statistics.mean.len());
    if means != channels || statistics.std.len() != channels {
        let message = format!("the normalisation is for {means} channels, the images have {channels}");
        return Err(GraphError::Shape { path: "normalisation".to_string(), message });
    }
    let per_channel = |g: &mut Graph, values: &[f64]| {
        g.constant(Tensor::f32(&[1, channels, 1, 1], values.iter().map(|&value| value as f32).collect()))
    };
    let (mean, std) = (per_channel(g, &statistics.mean)?, per_channel(g, &statistics.std)?);
    let centred = g.sub(image, mean)?;
    g.div(centred, std)
}
