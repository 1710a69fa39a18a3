//! The UNets of EDM2, from their parameters.

use super::{Edm2Config, UNetGConfig};
use crate::config::{EdmConfig, ProcessConfig};
use crate::graph::GraphKind;
use crate::networks::network::{HeadsGiven, PublishedProcess};
use crate::networks::recognition::{Given, Names, RecogniseError, Shapes};
use crate::networks::registry::Family;

const KINDS: &[GraphKind] = &[GraphKind::Network, GraphKind::Features, GraphKind::Sampler];

/// All published configurations have it.
const PROCESS: PublishedProcess = PublishedProcess::One(|| ProcessConfig::Edm(EdmConfig::published()));

/// Configs C and E, whose parameters are the same.
pub(in crate::networks) static C_OR_E: Family = Family {
    name: "a UNetC or UNetE",
    kinds: KINDS,
    signature: ["embedding.linear2.weight", "final.2.weight"],
    parts: &[""],
    ignored: &[],
    heads: HeadsGiven::Channels,
    process: PROCESS,
    recognise: |shapes, given| Err(c_or_e(shapes, given)),
};

/// Config G.
pub(in crate::networks) static G: Family = Family {
    name: "a UNetG",
    kinds: KINDS,
    signature: ["middle1.res.gain.g", "final.1.g"],
    parts: &[""],
    ignored: &[],
    heads: HeadsGiven::Channels,
    process: PROCESS,
    recognise: |shapes, given| Ok((UNetGConfig(deduce(shapes, given)?).into(), Names::Published)),
};

/// Says what configs C and E are mistaken for: each other.
fn c_or_e(shapes: &Shapes, given: &Given) -> RecogniseError {
    let size = given.image_size.unwrap_or_default();
    match deduce(shapes, &Given { image_size: Some(size), ..given.clone() }) {
        Ok(config) => RecogniseError::Alike { found: found(&config), networks: "UNetC and UNetE" },
        Err(error) => error,
    }
}

/// Deduces everything but the size of the images and the number of attention heads.
fn deduce(shapes: &Shapes, given: &Given) -> Result<Edm2Config, RecogniseError> {
    const UNET: &str = "a UNet of EDM2";
    let odd = |problem: String| RecogniseError::Inconsistent { network: UNET, problem };
    let [n_channels, channels_and_ones, ..] = shapes.want::<4>(UNET, "image_proj.weight")?;
    // With L resolutions of n blocks there are L n - 1 on the way down and L n + L - 1 on the way up.
    let (down, up) = (shapes.count("down"), shapes.count("up"));
    let levels = up.saturating_sub(down);
    if levels == 0 || (down + 1) % levels != 0 {
        return Err(odd(format!(
            "{down} modules 'down.…' and {up} 'up.…' are those of no number of resolutions"
        )));
    }
    let n_blocks = (down + 1) / levels;
    let first = |level: usize| format!("down.{}", level * n_blocks);
    let mut ch_mults = Vec::with_capacity(levels);
    for level in 0..levels {
        let [width, ..] = shapes.want::<4>(UNET, &format!("{}.res.conv1.weight", first(level)))?;
        if !width.is_multiple_of(n_channels) {
            return Err(odd(format!(
                "a resolution has {width} channels, no multiple of the first layer's {n_channels}"
            )));
        }
        ch_mults.push(width / n_channels);
    }
    let mut config = Edm2Config {
        image_shape: [channels_and_ones.saturating_sub(1), 0, 0],
        n_channels,
        ch_mults,
        is_attn: (0..levels).map(|level| shapes.has_layer(&format!("{}.attn", first(level)))).collect(),
        attn_channels_per_head: given.head_channels,
        // What it was in training is not in the weights, and inference has none.
        dropout: 0.0,
        n_blocks,
    };
    let [height, width] = given.image_size(&found(&config))?;
    config.image_shape = [config.image_shape[0], height, width];
    Ok(config)
}

fn found(config: &Edm2Config) -> String {
    let Edm2Config { image_shape: [channels, ..], n_channels, ch_mults, n_blocks, .. } = config;
    format!(
        "a UNet of EDM2 with {channels} image channels, n_channels {n_channels}, ch_mults {ch_mults:?}, n_blocks \
         {n_blocks}"
    )
}
