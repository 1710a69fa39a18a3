//! SODA: an encoder whose latent guides a denoising decoder (arXiv 2311.17901).
//!
//! The encoder is [`resnet`](super::resnet), the decoder the UNet with another modulation: in each residual block, after
//! the second norm, the time and the latent each scale and shift the channels.

use serde::{Deserialize, Serialize};

use super::unet::{Guides, Latent, UNetConfig, guided};
use super::{EncoderConfig, resnet};
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
        self.decoder
            .check()
            .and_then(|()| check_decoder(&self.decoder))
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

/// Refuses a UNet that no latent guides, or something else too.
fn check_decoder(config: &UNetConfig) -> Result<(), String> {
    if config.z_channels == 0 {
        return Err("z_channels is 0; a SODA decoder needs the length of its latent".to_string());
    }
    if config.augment_dim > 0 {
        let dim = config.augment_dim;
        return Err(format!("augment_dim is {dim}; a SODA decoder takes no augmentation label"));
    }
    Ok(())
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
    let y = decoder_inputs(&mut g, &config.decoder, Some(z))?;
    g.output("y", y);
    Ok(g)
}

/// The decoder as a graph of kind `network`: inputs `x [B,C,H,W]`, `t [B]`, `z [B,Z]` and `mask [B]` (or
/// `[B, z_parts]`); output `y [B,C,H,W]`; taps `out_1 … out_N [B,C,H,W]`. Its names are those in a SODA checkpoint
/// (`decoder.image_proj.weight`).
///
/// # Errors
/// When the configuration cannot be built.
pub fn decoder_graph(config: &UNetConfig) -> Result<Graph, GraphError> {
    let mut g = Graph::new();
    let y = decoder_inputs(&mut g, config, None)?;
    g.output("y", y);
    Ok(g)
}

/// Adds the decoder with its inputs, `z` among them where the graph has none.
fn decoder_inputs(g: &mut Graph, config: &UNetConfig, z: Option<Value>) -> Result<Value, GraphError> {
    let x = g.input("x", DType::F32, Shape::batch(&config.image_shape))?;
    let t = g.input("t", DType::F32, Shape::batch(&[]))?;
    let z = match z {
        Some(z) => z,
        None => g.input("z", DType::F32, Shape::batch(&[config.z_channels]))?,
    };
    let mask = if config.z_parts > 1 { Shape::batch(&[config.z_parts]) } else { Shape::batch(&[]) };
    let mask = g.input("mask", DType::F32, mask)?;
    decoder(g, &Path::root().at("decoder"), config, x, t, z, mask)
}

/// Adds the decoder to a graph, under the path `p`.
///
/// # Shapes
/// `x [B,C,H,W]`; `t [B]` or `[1]`, the scalar that is embedded; `z [B, z_channels]`; `mask [B]`, or `[B, z_parts]` where
/// the latent has several parts, 1 to hide the latent or its part (unconditional) and 0 to show it. The result has `x`'s
/// shape. The outputs of the up path's blocks become the taps `out_1 … out_N`, in order of execution.
///
/// # Errors
/// When shapes do not fit, with the layer's path, or the configuration has no `z_channels`.
pub fn decoder(
    g: &mut Graph,
    p: &Path,
    config: &UNetConfig,
    x: Value,
    t: Value,
    z: Value,
    mask: Value,
) -> Result<Value, GraphError> {
    check_decoder(config).map_err(|message| GraphError::Shape { path: p.to_string(), message })?;
    guided(g, p, config, x, Guides { t, augment_label: None, latent: Some(Latent { z, mask }) })
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
