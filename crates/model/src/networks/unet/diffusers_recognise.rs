//! diffusers' `UNet2DModel`, from its `config.json` or, where that is missing, from its parameters.

use super::{AttentionNames, Conventions, UNetConfig};
use crate::graph::GraphKind;
use crate::networks::network::{HeadsGiven, PublishedProcess};
use crate::networks::recognition::{Given, Names, RecogniseError, Shapes};
use crate::networks::registry::Family;

const UNET: &str = "diffusers' UNet2DModel";

/// The UNet under diffusers' names.
pub static DIFFUSERS: Family = Family {
    name: UNET,
    kinds: &[GraphKind::Network, GraphKind::Features, GraphKind::Sampler],
    signature: ["conv_in.weight", "time_embedding.linear_1.weight"],
    parts: &[""],
    ignored: &[],
    heads: HeadsGiven::Channels,
    process: PublishedProcess::Several,
    recognise: |shapes, given| {
        let (config, attention) = deduce(shapes, given)?;
        Ok((config.into(), Names::DiffusersUNet(attention)))
    },
};

/// The network and the names of its attention layers. Without a `config.json` it is taken for one of Google's DDPM
/// checkpoints: what it computes otherwise is not in the weights.
fn deduce(shapes: &Shapes, given: &Given) -> Result<(UNetConfig, AttentionNames), RecogniseError> {
    let attention = AttentionNames::among(shapes.iter().map(|(name, _)| name));
    if let Some(config) = &given.diffusers {
        let impossible = |problem| RecogniseError::Impossible {
            network: UNET,
            problem: format!("config.json: {problem}"),
        };
        return Ok((config.unet().map_err(impossible)?, attention));
    }
    let odd = |problem: String| RecogniseError::Inconsistent { network: UNET, problem };
    let [n_channels, channels, ..] = shapes.want::<4>(UNET, "conv_in.weight")?;
    let levels = shapes.count("down_blocks");
    let n_blocks = shapes.count("down_blocks.0.resnets");
    let (mut ch_mults, mut is_attn) = (Vec::new(), Vec::new());
    for level in 0..levels {
        let path = format!("down_blocks.{level}");
        let [width, ..] = shapes.want::<4>(UNET, &format!("{path}.resnets.0.conv1.weight"))?;
        if !width.is_multiple_of(n_channels) {
            return Err(odd(format!(
                "'{path}' has {width} channels, no multiple of the first layer's {n_channels}"
            )));
        }
        ch_mults.push(width / n_channels);
        is_attn.push(shapes.has_layer(&format!("{path}.attentions")));
    }
    let found = format!("{UNET} with {n_channels} channels times {ch_mults:?}");
    let [height, width] = given.image_size(&found)?;
    let config = UNetConfig {
        image_shape: [channels, height, width],
        n_channels,
        ch_mults,
        is_attn,
        attn_channels_per_head: given.head_channels,
        dropout: 0.0,
        n_blocks,
        use_res_for_updown: false,
        augment_dim: 0,
        z_channels: 0,
        z_parts: 1,
        conventions: Conventions::diffusers_ddpm(),
    };
    Ok((config, attention))
}
