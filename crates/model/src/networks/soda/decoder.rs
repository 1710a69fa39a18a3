//! SODA's decoder (`net_type: SodaDecoder`): the UNet that a latent modulates.

use serde::{Deserialize, Serialize};

use crate::config::{DdpmConfig, ProcessConfig, Timesteps};
use crate::graph::{Graph, GraphError, GraphKind, Path, Shape, Value};
use crate::networks::network::{
    Conditions, Denoiser, Guidance, HeadsGiven, Latent, Network, PublishedProcess, Role,
};
use crate::networks::recognition::Names;
use crate::networks::registry::{Architecture, Family};
use crate::networks::unet::{self, UNetConfig, guided};
use crate::tensor::DType;

/// The decoder as files hold it.
pub(in crate::networks) static FAMILY: Family = Family {
    name: "the decoder of a SODA",
    kinds: &[GraphKind::Network, GraphKind::Sampler],
    signature: ["decoder.image_proj.weight", "decoder.middle.res1.z_emb.1.weight"],
    parts: &["decoder."],
    ignored: &[],
    heads: HeadsGiven::Channels,
    // All published configurations have it; another schedule is --set diffusion.betas=cosine or inverted.
    process: PublishedProcess::One(|| ProcessConfig::Ddpm(DdpmConfig::published(Timesteps::Fraction))),
    recognise: |shapes, given| {
        let config = unet::deduce(&shapes.below("decoder."), given)?;
        Ok((Architecture::SodaDecoder(DecoderConfig(config)), Names::Published))
    },
};

/// A UNet with `z_channels`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DecoderConfig(pub UNetConfig);

impl Network for DecoderConfig {
    fn family(&self) -> &'static Family {
        &FAMILY
    }

    fn describe(&self) -> String {
        unet::describe("SODA decoder", &self.0)
    }

    fn check(&self) -> Result<(), String> {
        UNetConfig::check(&self.0)?;
        check_decoder(&self.0)
    }

    fn image_shape(&self) -> Option<[usize; 3]> {
        Some(self.0.image_shape)
    }

    fn resize(&mut self, size: [usize; 2]) -> Result<(), String> {
        self.0.resize(size)
    }

    fn graph(&self, _with_label: bool) -> Result<Graph, GraphError> {
        decoder_graph(&self.0)
    }

    fn role(&self) -> Role<'_> {
        Role::Denoiser(self)
    }
}

impl Denoiser for DecoderConfig {
    fn predict(
        &self,
        g: &mut Graph,
        x: Value,
        t: Value,
        conditions: Conditions,
    ) -> Result<Value, GraphError> {
        let Some(Latent { z, mask }) = conditions.latent else {
            let message = "a SODA decoder is guided by a latent, and there is none".to_string();
            return Err(GraphError::Shape { path: "decoder".to_string(), message });
        };
        decoder(g, &Path::root().at("decoder"), &self.0, x, t, z, mask)
    }

    fn guidance(&self) -> Option<Guidance> {
        Some(Guidance { channels: self.0.z_channels, parts: self.0.z_parts })
    }
}

/// Refuses a UNet that no latent guides, or something else too.
pub(super) fn check_decoder(config: &UNetConfig) -> Result<(), String> {
    if config.z_channels == 0 {
        return Err("z_channels is 0; a SODA decoder needs the length of its latent".to_string());
    }
    if config.augment_dim > 0 {
        let dim = config.augment_dim;
        return Err(format!("augment_dim is {dim}; a SODA decoder takes no augmentation label"));
    }
    Ok(())
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
pub(super) fn decoder_inputs(
    g: &mut Graph,
    config: &UNetConfig,
    z: Option<Value>,
) -> Result<Value, GraphError> {
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
    guided(g, p, config, x, t, Conditions { latent: Some(Latent { z, mask }), ..Conditions::default() })
}
