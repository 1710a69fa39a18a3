//! The UNet of DDAE and the decoder of SODA, from their parameters.

use super::{Conventions, UNetConfig};
use crate::graph::GraphKind;
use crate::networks::network::{HeadsGiven, PublishedProcess};
use crate::networks::recognition::{Given, Names, RecogniseError, Shapes};
use crate::networks::registry::Family;

const UNET: &str = "the UNet of DDAE";

/// The UNet under its published names.
pub(in crate::networks) static FAMILY: Family = Family {
    name: "a UNet",
    kinds: &[GraphKind::Network, GraphKind::Features, GraphKind::Sampler],
    signature: ["image_proj.weight", "middle.res1.norm1.weight"],
    parts: &[""],
    ignored: &[],
    heads: HeadsGiven::Channels,
    process: PublishedProcess::Several,
    recognise: |shapes, given| Ok((deduce(shapes, given)?.into(), Names::Published)),
};

/// Deduces everything but the size of the images and the number of attention heads.
pub(in crate::networks) fn deduce(shapes: &Shapes, given: &Given) -> Result<UNetConfig, RecogniseError> {
    let odd = |problem: String| RecogniseError::Inconsistent { network: UNET, problem };
    let [n_channels, channels, ..] = shapes.want::<4>(UNET, "image_proj.weight")?;
    let levels = levels(shapes)?;
    let widths: Vec<usize> = levels.iter().map(|level| level.width).collect();
    if let Some(width) = widths.iter().find(|width| !width.is_multiple_of(n_channels)) {
        return Err(odd(format!(
            "a resolution has {width} channels, no multiple of the first layer's {n_channels}"
        )));
    }
    let n_blocks = levels[0].blocks;
    if let Some(other) = levels.iter().find(|level| level.blocks != n_blocks) {
        return Err(odd(format!("its resolutions have {n_blocks} and {} blocks", other.blocks)));
    }
    let augment_dim = match shapes.has("time_emb.aug_emb.weight") {
        true => shapes.want::<2>(UNET, "time_emb.aug_emb.weight")?[1],
        false => 0,
    };
    let z_channels = match shapes.has("middle.res1.z_emb.1.weight") {
        true => shapes.want::<2>(UNET, "middle.res1.z_emb.1.weight")?[1],
        false => 0,
    };
    let ch_mults: Vec<usize> = widths.iter().map(|width| width / n_channels).collect();
    let is_attn: Vec<bool> = levels.iter().map(|level| level.attention).collect();
    let found = format!(
        "{} with {channels} image channels, n_channels {n_channels}, ch_mults {ch_mults:?}, n_blocks {n_blocks}",
        if z_channels > 0 { "the decoder of a SODA" } else { UNET }
    );
    let [height, width] = given.image_size(&found)?;
    Ok(UNetConfig {
        image_shape: [channels, height, width],
        n_channels,
        ch_mults,
        is_attn,
        attn_channels_per_head: given.head_channels,
        // What it was in training is not in the weights, and inference has none.
        dropout: 0.0,
        n_blocks,
        use_res_for_updown: levels.iter().any(|level| level.residual_down),
        augment_dim,
        z_channels,
        z_parts: 1,
        conventions: Conventions::default(),
    })
}

/// One resolution of the way down.
#[derive(Default)]
struct Level {
    width: usize,
    blocks: usize,
    attention: bool,
    residual_down: bool,
}

/// The resolutions, finest first: blocks up to and with a resampler.
fn levels(shapes: &Shapes) -> Result<Vec<Level>, RecogniseError> {
    let odd = |problem: String| RecogniseError::Inconsistent { network: UNET, problem };
    let (mut levels, mut level) = (Vec::new(), Level::default());
    let modules = shapes.count("down");
    for module in 0..modules {
        let path = format!("down.{module}");
        if shapes.has_layer(&format!("{path}.res")) {
            level.width = shapes.want::<4>(UNET, &format!("{path}.res.conv1.weight"))?[0];
            level.attention = shapes.has_layer(&format!("{path}.attn"));
            level.blocks += 1;
        } else {
            level.residual_down = shapes.has_layer(&format!("{path}.op"));
            levels.push(std::mem::take(&mut level));
        }
    }
    levels.push(level);
    match levels.iter().position(|level| level.blocks == 0) {
        Some(at) => Err(odd(format!("resolution {at} of its {modules} modules 'down.…' has no block"))),
        None => Ok(levels),
    }
}
