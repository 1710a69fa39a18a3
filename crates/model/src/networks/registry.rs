//! The list of all networks.
//!
//! A new network is a file (or folder) beside this one and a line in the list: its configuration implements [`Network`],
//! and its [`Family`] says how files hold it. Configurations, checkpoints, exports and training find it here.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::network::{Classifier, Denoiser, HeadsGiven, Network, PublishedProcess, Role};
use super::recognition::{Given, Names, RecogniseError, Shapes};
use super::{
    DecoderConfig, DitConfig, EncoderConfig, FineTunedConfig, InceptionConfig, NoiseMlpConfig,
    SongUNetConfig, UNetCConfig, UNetConfig, UNetEConfig, UNetGConfig, VaeEncoderConfig, WideResNetConfig,
    dit, edm2, fine_tuned, inception, noise_mlp, soda, song, unet, vae_encoder, wide_resnet,
};
use crate::graph::{Graph, GraphError, GraphKind};

/// Makes the enum of all networks and the table of how files hold them.
macro_rules! networks {
    (
        networks { $($(#[$doc:meta])* $name:ident($config:ty),)+ }
        families { $($family:expr,)+ }
    ) => {
        /// A network with all its sizes: `net_type` and `network` of a configuration.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "net_type", content = "network")]
        pub enum Architecture {
            $($(#[$doc])* $name($config),)+
        }

        impl Architecture {
            /// The network, whichever it is.
            pub fn network(&self) -> &dyn Network {
                match self {
                    $(Architecture::$name(config) => config,)+
                }
            }

            /// What configurations call it.
            pub fn net_type(&self) -> &'static str {
                match self {
                    $(Architecture::$name(_) => stringify!($name),)+
                }
            }

            fn network_mut(&mut self) -> &mut dyn Network {
                match self {
                    $(Architecture::$name(config) => config,)+
                }
            }
        }

        $(impl From<$config> for Architecture {
            fn from(config: $config) -> Architecture {
                Architecture::$name(config)
            }
        })+

        /// The ways in which files hold networks, in the order in which they are looked for: a SODA's decoder is a UNet
        /// after `decoder.`, so it comes first.
        pub static FAMILIES: &[&Family] = &[$(&$family,)+];
    };
}

networks! {
    networks {
        /// The UNet of DDPM and EDM, of DDAE or of diffusers.
        UNet(UNetConfig),
        /// The UNet of EDM2, config C.
        UNetC(UNetCConfig),
        /// The UNet of EDM2, config E.
        UNetE(UNetEConfig),
        /// The UNet of EDM2, config G.
        UNetG(UNetGConfig),
        /// The UNet of EDM's published weights.
        SongUNet(SongUNetConfig),
        /// SODA's encoder.
        SodaEncoder(EncoderConfig),
        /// SODA's decoder.
        SodaDecoder(DecoderConfig),
        /// A noise-conditional WideResNet.
        WideResNet(WideResNetConfig),
        /// A denoiser cut after a layer, with a linear head.
        FineTuned(FineTunedConfig),
        /// A noise-conditional MLP head on features.
        NoiseMlp(NoiseMlpConfig),
        /// A diffusion transformer.
        DiT(DitConfig),
        /// The encoder of a latent autoencoder.
        VaeEncoder(VaeEncoderConfig),
        /// The Inception-v3 of the Fréchet inception distance.
        Inception(InceptionConfig),
    }
    families {
        fine_tuned::FAMILY,
        soda::encoder::FAMILY,
        soda::decoder::FAMILY,
        unet::FAMILY,
        unet::DIFFUSERS,
        edm2::C_OR_E,
        edm2::G,
        song::FAMILY,
        wide_resnet::FAMILY,
        noise_mlp::FAMILY,
        dit::FAMILY,
        vae_encoder::FAMILY,
        inception::FAMILY,
    }
}

/// Reads a network's sizes off the shapes of its parameters, given what they do not tell.
pub type Recognise = fn(&Shapes, &Given) -> Result<(Architecture, Names), RecogniseError>;

/// A way in which files hold a network.
pub struct Family {
    /// What such networks are, in a few words.
    pub name: &'static str,
    /// The kinds of graphs that can be made of its networks.
    pub kinds: &'static [GraphKind],
    /// Two parameters that only its networks have together.
    pub signature: [&'static str; 2],
    /// The beginnings of its parameters' names.
    pub parts: &'static [&'static str],
    /// Tensors that stand where parameters do and change nothing.
    pub ignored: &'static [&'static str],
    /// What weights do not tell of its attention.
    pub heads: HeadsGiven,
    /// The process of its published weights.
    pub process: PublishedProcess,
    /// The network with all its sizes and how its parameters are named, from the shapes of its tensors.
    pub recognise: Recognise,
}

impl PartialEq for Family {
    fn eq(&self, other: &Family) -> bool {
        self.name == other.name
    }
}

impl Eq for Family {}

impl fmt::Debug for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Architecture {
    /// What kind of network it is, in a few words.
    pub fn name(&self) -> &'static str {
        self.network().family().name
    }

    /// What it is, with its sizes.
    pub fn describe(&self) -> String {
        self.network().describe()
    }

    /// Checks what the types cannot.
    ///
    /// # Errors
    /// A sentence that names the key and the values.
    pub fn check(&self) -> Result<(), String> {
        self.network().check()
    }

    /// The kinds of graphs that can be made of it.
    pub fn kinds(&self) -> &'static [GraphKind] {
        self.network().role().kinds()
    }

    /// `[C, H, W]` of the images (or latents) that it works on, if it works on any.
    pub fn image_shape(&self) -> Option<[usize; 3]> {
        self.network().image_shape()
    }

    /// The same network for images of another size.
    ///
    /// # Errors
    /// A sentence, for a network that is tied to its size or cannot have the new one.
    pub fn resized(&self, size: [usize; 2]) -> Result<Architecture, String> {
        let mut resized = self.clone();
        resized.network_mut().resize(size)?;
        resized.check()?;
        Ok(resized)
    }

    /// The bare network, with all its taps, as a graph of kind `network`.
    ///
    /// # Errors
    /// When the configuration cannot be built.
    pub fn network_graph(&self, with_labels: bool) -> Result<Graph, GraphError> {
        self.network().graph(with_labels)
    }

    /// The network as one that a process trains.
    ///
    /// # Errors
    /// A sentence, for another.
    pub fn denoiser(&self) -> Result<&dyn Denoiser, String> {
        match self.network().role() {
            Role::Denoiser(network) => Ok(network),
            _ => Err(format!("{} does not denoise", self.name())),
        }
    }

    /// The network as one that tells the classes of noised images.
    ///
    /// # Errors
    /// A sentence, for another.
    pub fn classifier(&self) -> Result<&dyn Classifier, String> {
        match self.network().role() {
            Role::Classifier(network) => Ok(network),
            _ => Err(format!("{} tells no classes of images", self.name())),
        }
    }

    /// The denoiser that was cut, if it is one.
    pub fn fine_tuned(&self) -> Option<&FineTunedConfig> {
        match self {
            Architecture::FineTuned(config) => Some(config),
            _ => None,
        }
    }

    /// The UNet, if it is one.
    pub fn unet(&self) -> Option<&UNetConfig> {
        match self {
            Architecture::UNet(config) => Some(config),
            _ => None,
        }
    }
}
