//! Which networks a file holds, told from the names of its tensors.

use super::{Architecture, Names, Shapes, diffusers, dit, edm2, others, unet};
use crate::networks::{DiffusersConfig, InceptionConfig, UNetGConfig};
use crate::onnx_metadata::GraphKind;

/// Side of the pictures that Inception was trained on: no resizing.
const INCEPTION_SIDE: usize = 299;

/// What the names and shapes of the weights do not tell.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Given {
    /// Height and width of the pictures (or latents).
    pub image_size: Option<[usize; 2]>,
    /// Attention heads.
    pub heads: Option<usize>,
    /// Channels of an attention head; one head over all channels without it.
    pub head_channels: Option<usize>,
    /// The `config.json` beside the weights of a diffusers model.
    pub diffusers: Option<DiffusersConfig>,
}

/// Why the weights of a file are not those of a network known here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecogniseError {
    /// The names are those of no network.
    #[error(
        "its {count} tensors ({shown}) are of no network known here; docs/import.md lists what can be imported. If they are those of a configuration, give --config FILE"
    )]
    Unknown {
        /// Number of tensors.
        count: usize,
        /// The first names.
        shown: String,
    },
    /// The names are those of a network, but something does not fit.
    #[error("its names are those of {network}, but {problem}")]
    Odd {
        /// The network.
        network: &'static str,
        /// What does not fit.
        problem: String,
    },
    /// Something that the weights do not tell must be given.
    #[error("it holds {found}; the weights do not tell {what}: give {option}, or --config FILE")]
    Untold {
        /// What was found.
        found: String,
        /// What is missing.
        what: &'static str,
        /// The option that gives it.
        option: &'static str,
    },
    /// Networks that are told apart by what they compute, not by what they store.
    #[error(
        "it holds {found}: the weights of {networks} have the same names and shapes, so it takes --config FILE with the net_type to tell which they are"
    )]
    Alike {
        /// What was found.
        found: String,
        /// The networks.
        networks: &'static str,
    },
    /// What was found, or given, makes no network.
    #[error("it holds {network}, but {problem}")]
    Impossible {
        /// The network.
        network: &'static str,
        /// What is wrong.
        problem: String,
    },
}

impl RecogniseError {
    pub(super) fn untold(found: String, what: &'static str, option: &'static str) -> RecogniseError {
        RecogniseError::Untold { found, what, option }
    }
}

impl Given {
    /// Height and width, which `found` needs.
    pub(super) fn image_size(&self, found: &str) -> Result<[usize; 2], RecogniseError> {
        let size = self.image_size;
        size.ok_or_else(|| {
            RecogniseError::untold(found.to_string(), "the size of its pictures", "--image-size HxW")
        })
    }
}

/// The kinds of networks, by the names of their parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// The UNet of DDAE.
    UNet,
    /// The UNet of EDM2 of config C or E, whose parameters are the same.
    UNetCOrE,
    /// The UNet of EDM2, config G.
    UNetG,
    /// The same network under diffusers' names.
    DiffusersUNet,
    /// SODA's encoder.
    SodaEncoder,
    /// SODA's decoder.
    SodaDecoder,
    /// A noise-conditional WideResNet.
    WideResNet,
    /// A noise-conditional MLP head.
    NoiseMlp,
    /// A DiT.
    DiT,
    /// The encoder of a latent autoencoder.
    VaeEncoder,
    /// FID's Inception-v3.
    Inception,
}

impl Family {
    /// What its networks are, in a few words.
    pub fn name(self) -> &'static str {
        match self {
            Family::UNet => "a UNet",
            Family::UNetCOrE => "a UNetC or UNetE",
            Family::UNetG => "a UNetG",
            Family::DiffusersUNet => "diffusers' UNet2DModel",
            Family::SodaEncoder => "the encoder of a SODA",
            Family::SodaDecoder => "the decoder of a SODA",
            Family::WideResNet => "a noise-conditional WideResNet",
            Family::NoiseMlp => "a noise-conditional MLP head",
            Family::DiT => "a DiT",
            Family::VaeEncoder => "a latent encoder",
            Family::Inception => "FID's Inception-v3",
        }
    }

    /// The kinds of graphs that can be made of them.
    pub fn kinds(self) -> &'static [GraphKind] {
        match self {
            Family::UNet | Family::DiffusersUNet => {
                &[GraphKind::Network, GraphKind::Features, GraphKind::Sampler]
            }
            Family::SodaEncoder => &[GraphKind::Network, GraphKind::Encoder],
            Family::DiT | Family::Inception => &[GraphKind::Network, GraphKind::Features],
            Family::VaeEncoder => &[GraphKind::Network, GraphKind::Latent],
            Family::SodaDecoder => &[GraphKind::Network, GraphKind::Sampler],
            Family::WideResNet | Family::NoiseMlp | Family::UNetCOrE | Family::UNetG => &[GraphKind::Network],
        }
    }
}

/// A family and two parameters that only its networks have together.
const SIGNATURES: [(Family, [&str; 2]); 11] = [
    (Family::SodaEncoder, ["encoder.encoder.0.weight", "encoder.encoder.1.running_mean"]),
    (Family::SodaDecoder, ["decoder.image_proj.weight", "decoder.middle.res1.z_emb.1.weight"]),
    (Family::UNet, ["image_proj.weight", "middle.res1.norm1.weight"]),
    (Family::UNetCOrE, ["embedding.linear2.weight", "final.2.weight"]),
    (Family::UNetG, ["middle1.res.gain.g", "final.1.g"]),
    (Family::DiffusersUNet, ["conv_in.weight", "time_embedding.linear_1.weight"]),
    (Family::WideResNet, ["init_conv.weight", "group1.blocks.0.init_bn.0.weight"]),
    (Family::NoiseMlp, ["time_emb.lin2.weight", "cls.2.weight"]),
    (Family::DiT, ["x_embedder.proj.weight", "final_layer.adaLN_modulation.1.weight"]),
    (Family::VaeEncoder, ["encoder.conv_in.weight", "quant_conv.weight"]),
    (Family::Inception, ["Conv2d_1a_3x3.conv.weight", "Mixed_7c.branch_pool.conv.weight"]),
];

/// A network that was found in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its kind.
    pub family: Family,
    /// What stands before its parameters' names in the file.
    pub prefix: String,
}

/// A network that was found, with all its sizes.
#[derive(Clone, Debug, PartialEq)]
pub struct Recognised {
    /// The network.
    pub architecture: Architecture,
    /// Its parameters' names in the file, after the prefix.
    pub names: Names,
    /// What stands before all of them.
    pub prefix: String,
}

/// The networks that a file holds, in the order of the table above.
///
/// # Errors
/// [`RecogniseError::Unknown`] when there is none.
pub fn find(shapes: &Shapes) -> Result<Vec<Found>, RecogniseError> {
    let mut found = Vec::new();
    for (family, [first, second]) in SIGNATURES {
        for prefix in shapes.prefixes(first) {
            // A decoder is a UNet after 'decoder.', and has been found already.
            let is_decoder = prefix.strip_suffix("decoder.").is_some_and(|outer| {
                let decoder = Found { family: Family::SodaDecoder, prefix: outer.to_string() };
                found.contains(&decoder)
            });
            if shapes.has(&format!("{prefix}{second}")) && !is_decoder {
                found.push(Found { family, prefix });
            }
        }
    }
    if found.is_empty() {
        let mut shown: Vec<&str> = shapes.iter().map(|(name, _)| name).take(3).collect();
        if shapes.len() > shown.len() {
            shown.push("…");
        }
        return Err(RecogniseError::Unknown { count: shapes.len(), shown: shown.join(", ") });
    }
    Ok(found)
}

impl Found {
    /// The network with all its sizes, from the shapes of all tensors of the file and from what is given.
    ///
    /// # Errors
    /// When parameters do not fit together, when something must be given, or when what is given is impossible.
    pub fn recognise(&self, shapes: &Shapes, given: &Given) -> Result<Recognised, RecogniseError> {
        let shapes = shapes.below(&self.prefix);
        let mut names = Names::Published;
        let architecture = match self.family {
            Family::UNet => Architecture::UNet(unet::deduce(&shapes, given)?),
            Family::UNetCOrE => return Err(edm2::c_or_e(&shapes, given)),
            Family::UNetG => Architecture::UNetG(UNetGConfig(edm2::deduce(&shapes, given)?)),
            Family::SodaDecoder => Architecture::SodaDecoder(unet::deduce(&shapes.below("decoder."), given)?),
            Family::DiffusersUNet => {
                let (config, attention) = diffusers::deduce(&shapes, given)?;
                names = Names::DiffusersUNet(attention);
                Architecture::UNet(config)
            }
            Family::SodaEncoder => Architecture::SodaEncoder(others::encoder(&shapes, given)?),
            Family::WideResNet => Architecture::WideResNet(others::wide_resnet(&shapes, given)?),
            Family::NoiseMlp => Architecture::NoiseMlp(others::noise_mlp(&shapes)?),
            Family::DiT => Architecture::DiT(dit::deduce(&shapes, given)?),
            Family::VaeEncoder => {
                if Names::is_older_vae(&shapes) {
                    names = Names::OlderVae;
                }
                Architecture::VaeEncoder(others::vae_encoder(&shapes, given)?)
            }
            Family::Inception => {
                let image_size = given.image_size.unwrap_or([INCEPTION_SIDE; 2]);
                Architecture::Inception(InceptionConfig { image_size })
            }
        };
        architecture
            .check()
            .map_err(|problem| RecogniseError::Impossible { network: architecture.name(), problem })?;
        Ok(Recognised { architecture, names, prefix: self.prefix.clone() })
    }
}
