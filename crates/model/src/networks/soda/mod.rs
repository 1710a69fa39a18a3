//! SODA: an encoder whose latent guides a denoising decoder (arXiv 2311.17901).
//!
//! The encoder is a [`resnet`], the decoder the UNet with another modulation: in each residual block, after
//! the second norm, the time and the latent each scale and shift the channels.

pub(super) mod decoder;
pub(super) mod encoder;

pub use decoder::{DecoderConfig, decoder, decoder_graph};
pub use encoder::{EncoderArch, EncoderConfig, resnet, resnet_graph};

use serde::{Deserialize, Serialize};

use super::UNetConfig;
use crate::graph::{Graph, GraphError, Path, Shape, Value};
use crate::tensor::DType;

/// Latents are not scaled up from below this length (PyTorch's `normalize`).
const SHORTEST: f64 = 1e-12;

/// The networks of a SODA configuration, with its keys.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SodaConfig {
    /// Image to latent.
    pub encoder: EncoderConfig,
    /// Noised image, timestep and latent to noise: a UNet with `z_channels`.
    pub decoder: UNetConfig,
}

impl SodaConfig {
    /// Checks what the types cannot, and that the networks fit together.
    ///
    /// # Errors
    /// A sentence that names the key and the values.
    pub fn check(&self) -> Result<(), String> {
        self.encoder.check().map_err(|m| format!("encoder: {m}"))?;
        UNetConfig::check(&self.decoder)
            .and_then(|()| decoder::check_decoder(&self.decoder))
            .map_err(|m| format!("decoder: {m}"))?;
        let (made, taken) = (self.encoder.feature_dim, self.decoder.z_channels);
        if made != taken {
            return Err(format!(
                "encoder.feature_dim is {made} and decoder.z_channels {taken}; the decoder must take the encoder's latent"
            ));
        }
        Ok(())
    }
}

/// Both networks as one graph, as they are trained: inputs `source [B,C,H,W]`, normalised, and `x`, `t` and `mask` of the
/// decoder ([`decoder_graph`]); output `y [B,C,H,W]`. The encoder's parameters come before the decoder's, under the names
/// of a SODA checkpoint.
///
/// # Errors
/// When the configuration cannot be built.
pub fn soda_graph(config: &SodaConfig) -> Result<Graph, GraphError> {
    let mut g = Graph::new();
    let source = g.input("source", DType::F32, Shape::batch(&config.encoder.image_shape))?;
    let z = resnet(&mut g, &Path::root().at("encoder").at("encoder"), &config.encoder, source)?;
    let y = decoder::decoder_inputs(&mut g, &config.decoder, Some(z))?;
    g.output("y", y);
    Ok(g)
}

/// `z [B,Z]` scaled to length 1, as k-NN and linear probes take it; a zero latent stays zero.
///
/// # Errors
/// When `z` has not two axes.
pub fn unit_length(g: &mut Graph, z: Value) -> Result<Value, GraphError> {
    let shape = g.shape(z).clone();
    let (2, Some(width)) = (shape.rank(), shape.size(1)) else {
        return Err(GraphError::Shape {
            path: "z".to_string(),
            message: format!("wants [B, Z], got {shape}"),
        });
    };
    let squares = g.mul(z, z)?;
    let mean = g.mean(squares, &[1])?;
    let sum = g.affine(mean, width as f64, 0.0)?;
    let length = g.sqrt(sum)?;
    let length = g.clamp(length, SHORTEST, f64::from(f32::MAX))?;
    let length = g.reshape(length, shape.with(1, 1))?;
    g.div(z, length)
}
