//! A SongUNet, from its parameters.

use super::{ResampleFilter, SongEmbedding, SongEncoder, SongUNetConfig};
use crate::graph::GraphKind;
use crate::networks::network::{HeadsGiven, PublishedProcess};
use crate::networks::recognition::{Given, Names, RecogniseError, Shapes};
use crate::networks::registry::Family;

const SONG: &str = "EDM's SongUNet";

/// The network as files hold it.
pub(in crate::networks) static FAMILY: Family = Family {
    name: "a SongUNet",
    kinds: &[GraphKind::Network, GraphKind::Features, GraphKind::Sampler],
    signature: ["map_layer0.weight", "map_layer1.weight"],
    parts: &["enc.", "dec.", "map_"],
    ignored: &[],
    heads: HeadsGiven::Nothing,
    // EDM's own, and the preconditionings of the networks that it compares with.
    process: PublishedProcess::Several,
    recognise: |shapes, given| Ok((deduce(shapes, given)?.into(), Names::Published)),
};

/// Deduces everything but the dropout.
fn deduce(shapes: &Shapes, given: &Given) -> Result<SongUNetConfig, RecogniseError> {
    let odd = |problem: String| RecogniseError::Inconsistent { network: SONG, problem };
    if shapes.has("out_conv.weight") {
        return Err(odd("'out_conv.weight' is of a DhariwalUNet (ADM), which is not known here".to_string()));
    }
    if let Some((name, _)) =
        shapes.iter().find(|(name, _)| name.contains("_aux_skip.") || name.contains("_aux_up."))
    {
        return Err(odd(format!(
            "'{name}' is of an encoder or a decoder of the type 'skip', which is not known here"
        )));
    }
    let sides = sides(shapes);
    let (Some(&img_resolution), Some(&coarsest)) = (sides.first(), sides.last()) else {
        return Err(odd("it has no blocks 'enc.…x…_block0'".to_string()));
    };
    let halved = sides.iter().enumerate().all(|(level, side)| img_resolution >> level == *side);
    if !halved {
        return Err(odd(format!("its resolutions {sides:?} are not halves of each other")));
    }
    if let Some([height, width]) = given.image_size
        && [height, width] != [img_resolution; 2]
    {
        return Err(odd(format!(
            "--image-size {height}x{width} does not fit its names, which are for images of {img_resolution}x{img_resolution}"
        )));
    }
    let layer = |side: usize, layer: &str| format!("enc.{side}x{side}_{layer}");
    let [model_channels, img_channels, ..] = shapes.want::<4>(SONG, &layer(img_resolution, "conv.weight"))?;
    let times = |what: &str, width: usize| match width.is_multiple_of(model_channels) {
        true => Ok(width / model_channels),
        false => Err(odd(format!(
            "{what} has {width} channels, no multiple of the first layer's {model_channels}"
        ))),
    };
    let mut channel_mult = Vec::with_capacity(sides.len());
    for &side in &sides {
        let [width, ..] = shapes.want::<4>(SONG, &layer(side, "block0.conv0.weight"))?;
        channel_mult.push(times("a resolution", width)?);
    }
    let num_blocks = (0..shapes.len())
        .take_while(|i| shapes.has_layer(&layer(img_resolution, &format!("block{i}"))))
        .count();
    let attends = |side: &usize| shapes.has_layer(&layer(*side, "block0.qkv"));
    let [embedding, noise] = shapes.want::<2>(SONG, "map_layer0.weight")?;
    let second = |name: &str| match shapes.has(name) {
        true => shapes.want::<2>(SONG, name).map(|[_, size]| size),
        false => Ok(0),
    };
    let resample_filter = match sides.len() {
        1 => ResampleFilter::Box,
        _ => match shapes.want::<4>(SONG, &layer(coarsest, "down.conv0.resample_filter"))? {
            [1, 1, 2, 2] => ResampleFilter::Box,
            [1, 1, 4, 4] => ResampleFilter::Smooth,
            shape => return Err(odd(format!("its resample_filter {shape:?} is of no filter known here"))),
        },
    };
    let residual = sides.len() > 1 && shapes.has_layer(&layer(coarsest, "aux_residual"));
    let fourier = shapes.has("map_noise.freqs");
    Ok(SongUNetConfig {
        img_resolution,
        img_channels,
        label_dim: second("map_label.weight")?,
        augment_dim: second("map_augment.weight")?,
        model_channels,
        channel_mult,
        channel_mult_emb: times("the embedding", embedding)?,
        num_blocks,
        attn_resolutions: sides.iter().copied().filter(attends).collect(),
        // What it was in training is not in the weights, and inference has none.
        dropout: 0.0,
        embedding_type: if fourier { SongEmbedding::Fourier } else { SongEmbedding::Positional },
        channel_mult_noise: times("the noise level's embedding", noise)?,
        encoder_type: if residual { SongEncoder::Residual } else { SongEncoder::Standard },
        resample_filter,
    })
}

/// The sides of the images at each resolution, the largest first.
fn sides(shapes: &Shapes) -> Vec<usize> {
    let side = |(name, _): (&str, &[usize])| {
        let (side, rest) = name.strip_prefix("enc.")?.split_once('x')?;
        let same = rest.strip_suffix("_block0.conv0.weight")?;
        side.parse::<usize>().ok().filter(|&number| side == same && number > 0)
    };
    let mut sides: Vec<usize> = shapes.iter().filter_map(side).collect();
    sides.sort_unstable_by(|a, b| b.cmp(a));
    sides
}
