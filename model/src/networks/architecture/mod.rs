//! All networks under one type: recognised from the names and shapes of their weights, described, and built.
//!
//! | module | holds |
//! | --- | --- |
//! | `shapes` | names and shapes, as recognition asks for them |
//! | `recognise` | which networks a file holds |
//! | `unet`, `edm2`, `diffusers`, `dit`, `others` | the sizes of each, from its parameters |
//! | `describe` | a network in a sentence |
//! | `names` | parameters under the names of other implementations |
//! | `unused` | what a file holds of a network beyond what was understood |

mod describe;
mod diffusers;
mod dit;
mod edm2;
mod names;
mod others;
mod recognise;
mod shapes;
mod unet;
mod unused;

pub use names::{Names, name_map};
pub use recognise::{Family, Found, Given, RecogniseError, Recognised, find};
pub use shapes::Shapes;

use serde::{Deserialize, Serialize};

use super::{
    DitConfig, Edm2Config, EncoderConfig, InceptionConfig, NoiseMlpConfig, UNetCConfig, UNetConfig,
    UNetEConfig, UNetGConfig, VaeEncoderConfig, WideResNetConfig, decoder_graph, dit_graph, inception_graph,
    noise_mlp_graph, resnet_graph, unet_c, unet_e, unet_g, unet_graph, vae_encoder_graph, wide_resnet_graph,
};
use crate::graph::{Graph, GraphError, Path, Shape, Value};
use crate::onnx_metadata::GraphKind;
use crate::tensor::DType;

/// A network with all its sizes: `net_type` and `network` of a configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "net_type", content = "network")]
pub enum Architecture {
    /// The UNet of DDPM and EDM, of DDAE or of diffusers.
    UNet(UNetConfig),
    /// The UNet of EDM2, config C.
    UNetC(UNetCConfig),
    /// The UNet of EDM2, config E.
    UNetE(UNetEConfig),
    /// The UNet of EDM2, config G.
    UNetG(UNetGConfig),
    /// SODA's encoder.
    SodaEncoder(EncoderConfig),
    /// SODA's decoder.
    SodaDecoder(UNetConfig),
    /// A noise-conditional WideResNet.
    WideResNet(WideResNetConfig),
    /// A noise-conditional MLP head on features.
    NoiseMlp(NoiseMlpConfig),
    /// A diffusion transformer on latents.
    DiT(DitConfig),
    /// The encoder of a latent autoencoder.
    VaeEncoder(VaeEncoderConfig),
    /// The Inception-v3 of the Fréchet inception distance.
    Inception(InceptionConfig),
}

impl Architecture {
    /// The one network of a file, from the names and shapes of its tensors.
    ///
    /// # Errors
    /// When they are those of no network or of several, or when something must be given that they do not tell.
    pub fn recognise(shapes: &Shapes, given: &Given) -> Result<Recognised, RecogniseError> {
        let found = find(shapes)?;
        if let [_, other, ..] = &*found {
            let problem = format!("it holds others besides ({:?} after '{}')", other.family, other.prefix);
            return Err(RecogniseError::Odd { network: found[0].family.name(), problem });
        }
        found[0].recognise(shapes, given)
    }

    /// What kind of network it is, in a few words.
    pub fn name(&self) -> &'static str {
        self.family().name()
    }

    fn family(&self) -> Family {
        match self {
            Architecture::UNet(_) => Family::UNet,
            Architecture::UNetC(_) | Architecture::UNetE(_) => Family::UNetCOrE,
            Architecture::UNetG(_) => Family::UNetG,
            Architecture::SodaEncoder(_) => Family::SodaEncoder,
            Architecture::SodaDecoder(_) => Family::SodaDecoder,
            Architecture::WideResNet(_) => Family::WideResNet,
            Architecture::NoiseMlp(_) => Family::NoiseMlp,
            Architecture::DiT(_) => Family::DiT,
            Architecture::VaeEncoder(_) => Family::VaeEncoder,
            Architecture::Inception(_) => Family::Inception,
        }
    }

    /// Checks what the types cannot.
    ///
    /// # Errors
    /// A sentence that names the key and the values.
    pub fn check(&self) -> Result<(), String> {
        match self {
            Architecture::UNet(c) if c.z_channels > 0 => {
                Err("z_channels is for net_type: SodaDecoder".to_string())
            }
            Architecture::SodaDecoder(c) if c.z_channels == 0 => {
                Err("z_channels is 0; a SODA decoder is guided by a latent".to_string())
            }
            Architecture::UNet(c) | Architecture::SodaDecoder(c) => c.check(),
            Architecture::UNetC(c) => c.check(),
            Architecture::UNetE(c) => c.check(),
            Architecture::UNetG(c) => c.check(),
            Architecture::SodaEncoder(c) => c.check(),
            Architecture::WideResNet(c) => c.check(),
            Architecture::NoiseMlp(c) => c.check(),
            Architecture::DiT(c) => c.check(),
            Architecture::VaeEncoder(c) => c.check(),
            Architecture::Inception(c) => c.check(),
        }
    }

    /// The kinds of graphs that can be made of it.
    pub fn kinds(&self) -> &'static [GraphKind] {
        self.family().kinds()
    }

    /// `[C, H, W]` of the pictures (or latents) that it works on, if it works on any.
    pub fn picture(&self) -> Option<[usize; 3]> {
        let sized = |channels: usize, [height, width]: [usize; 2]| Some([channels, height, width]);
        match self {
            Architecture::UNet(c) | Architecture::SodaDecoder(c) => Some(c.image_shape),
            Architecture::UNetC(UNetCConfig(c))
            | Architecture::UNetE(UNetEConfig(c))
            | Architecture::UNetG(UNetGConfig(c)) => Some(c.image_shape),
            Architecture::SodaEncoder(c) => Some(c.image_shape),
            Architecture::WideResNet(c) => Some(c.image_shape),
            Architecture::NoiseMlp(_) => None,
            Architecture::DiT(c) => sized(c.in_channels, [c.input_size; 2]),
            Architecture::VaeEncoder(c) => sized(c.in_channels, c.image_size),
            Architecture::Inception(c) => sized(3, c.image_size),
        }
    }

    /// The same network for pictures of another size.
    ///
    /// # Errors
    /// A sentence, for a network that is tied to its size or cannot have the new one.
    pub fn resized(&self, [height, width]: [usize; 2]) -> Result<Architecture, String> {
        let mut resized = self.clone();
        match &mut resized {
            Architecture::UNet(UNetConfig { image_shape, .. })
            | Architecture::UNetC(UNetCConfig(Edm2Config { image_shape, .. }))
            | Architecture::UNetE(UNetEConfig(Edm2Config { image_shape, .. }))
            | Architecture::UNetG(UNetGConfig(Edm2Config { image_shape, .. }))
            | Architecture::SodaDecoder(UNetConfig { image_shape, .. })
            | Architecture::SodaEncoder(EncoderConfig { image_shape, .. })
            | Architecture::WideResNet(WideResNetConfig { image_shape, .. }) => {
                *image_shape = [image_shape[0], height, width];
            }
            Architecture::VaeEncoder(VaeEncoderConfig { image_size, .. })
            | Architecture::Inception(InceptionConfig { image_size }) => *image_size = [height, width],
            Architecture::DiT(c) if [c.input_size; 2] == [height, width] => {}
            Architecture::DiT(c) => {
                return Err(format!("a DiT is tied to its latents of {0}x{0}", c.input_size));
            }
            Architecture::NoiseMlp(_) => return Err(format!("{} takes no pictures", self.name())),
        }
        resized.check()?;
        Ok(resized)
    }

    /// Whether its graphs of kind `network` can take a label, and what that is.
    pub fn label(&self) -> Option<&'static str> {
        match self {
            Architecture::UNet(c) if c.augment_dim > 0 => Some("augment_label"),
            Architecture::DiT(_) => Some("label"),
            _ => None,
        }
    }

    /// The bare network, with all its taps, as a graph of kind `network`.
    ///
    /// # Errors
    /// When the configuration cannot be built.
    pub fn network_graph(&self, with_label: bool) -> Result<Graph, GraphError> {
        match self {
            Architecture::UNet(c) => unet_graph(c, with_label),
            Architecture::UNetC(c) => denoiser_graph(&c.0, |g, x, t| unet_c(g, &Path::root(), c, x, t)),
            Architecture::UNetE(c) => denoiser_graph(&c.0, |g, x, t| unet_e(g, &Path::root(), c, x, t)),
            Architecture::UNetG(c) => denoiser_graph(&c.0, |g, x, t| unet_g(g, &Path::root(), c, x, t)),
            Architecture::SodaDecoder(c) => decoder_graph(c),
            Architecture::SodaEncoder(c) => resnet_graph(c),
            Architecture::WideResNet(c) => wide_resnet_graph(c),
            Architecture::NoiseMlp(c) => noise_mlp_graph(c),
            Architecture::DiT(c) => dit_graph(c, with_label),
            Architecture::VaeEncoder(c) => vae_encoder_graph(c),
            Architecture::Inception(c) => inception_graph(c),
        }
    }
}

/// A graph of kind `network` of an EDM2 UNet.
fn denoiser_graph(
    config: &Edm2Config,
    add: impl FnOnce(&mut Graph, Value, Value) -> Result<Value, GraphError>,
) -> Result<Graph, GraphError> {
    let mut g = Graph::new();
    let x = g.input("x", DType::F32, Shape::batch(&config.image_shape))?;
    let t = g.input("t", DType::F32, Shape::batch(&[]))?;
    let y = add(&mut g, x, t)?;
    g.output("y", y);
    Ok(g)
}
