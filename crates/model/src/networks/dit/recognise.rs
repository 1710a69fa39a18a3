//! A DiT, from its parameters.

use super::{DitConfig, DitSize, Space};
use crate::config::{DdpmConfig, ProcessConfig, Timesteps};
use crate::graph::GraphKind;
use crate::networks::network::{HeadsGiven, PublishedProcess};
use crate::networks::recognition::{Given, Names, RecogniseError, Shapes};
use crate::networks::registry::Family;

const DIT: &str = "a DiT";

/// The network as files hold it.
pub(in crate::networks) static FAMILY: Family = Family {
    name: DIT,
    kinds: &[GraphKind::Network, GraphKind::Features],
    signature: ["x_embedder.proj.weight", "final_layer.adaLN_modulation.1.weight"],
    parts: &[""],
    // The table of positions holds the values of a formula, which a configuration may prefer.
    ignored: &["pos_embed"],
    heads: HeadsGiven::Number,
    process: PublishedProcess::One(|| ProcessConfig::Ddpm(DdpmConfig::published(Timesteps::Index))),
    recognise: |shapes, given| Ok((deduce(shapes, given)?.into(), Names::Published)),
};

/// Deduces everything; the number of heads only for the published widths, the size of the latents only where the file
/// holds the table of positions.
fn deduce(shapes: &Shapes, given: &Given) -> Result<DitConfig, RecogniseError> {
    let odd = |problem: String| RecogniseError::Inconsistent { network: DIT, problem };
    let [hidden_size, in_channels, patch_size, _] = shapes.want::<4>(DIT, "x_embedder.proj.weight")?;
    let [rows, _] = shapes.want::<2>(DIT, "y_embedder.embedding_table.weight")?;
    let [outputs, _] = shapes.want::<2>(DIT, "final_layer.linear.weight")?;
    let depth = shapes.count("blocks");
    let out_channels = outputs / (patch_size * patch_size);
    let learn_sigma = match out_channels {
        n if n == in_channels => false,
        n if n == 2 * in_channels => true,
        n => return Err(odd(format!("it gives {n} channels for {in_channels}"))),
    };
    let found = format!("a DiT with patches of {patch_size}, {depth} layers of width {hidden_size}");
    let stored_positions = shapes.has("pos_embed");
    let input_size = if stored_positions {
        let [_, tokens, _] = shapes.want::<3>(DIT, "pos_embed")?;
        let grid = tokens.isqrt();
        if grid * grid != tokens {
            return Err(odd(format!("its {tokens} positions are no square")));
        }
        match given.image_size {
            Some(size) if size != [grid * patch_size; 2] => {
                let ([height, width], side) = (size, grid * patch_size);
                return Err(odd(format!(
                    "--image-size {height}x{width} does not fit its table of positions, which is for latents of {side}x{side}"
                )));
            }
            _ => grid * patch_size,
        }
    } else {
        match given.image_size(&found)? {
            [height, width] if height == width => height,
            [height, width] => return Err(odd(format!("its latents are square, not {height}x{width}"))),
        }
    };
    let num_heads = match given.heads.or_else(|| published_heads(depth, hidden_size)) {
        Some(heads) => heads,
        None => return Err(RecogniseError::incomplete(found, "the number of attention heads", "--heads N")),
    };
    // The last row stands for no class, unless there is but one or another number of classes is given.
    let (num_classes, null_label) = match given.classes {
        Some(classes) if classes == rows => (classes, false),
        Some(classes) if classes + 1 == rows => (classes, true),
        Some(classes) => {
            return Err(odd(format!(
                "its table of labels has {rows} rows, which is neither --classes {classes} nor one more"
            )));
        }
        None if rows == 1 => (1, false),
        None => (rows - 1, true),
    };
    Ok(DitConfig {
        input_size,
        patch_size,
        in_channels,
        hidden_size,
        depth,
        num_heads,
        num_classes,
        null_label,
        learn_sigma,
        stored_positions,
        space: Space::Latent,
    })
}

fn published(depth: usize, hidden_size: usize) -> Option<(DitSize, DitConfig)> {
    [DitSize::S, DitSize::B, DitSize::L, DitSize::XL]
        .map(|size| (size, DitConfig::new(size, 2, 32)))
        .into_iter()
        .find(|(_, config)| (config.depth, config.hidden_size) == (depth, hidden_size))
}

fn published_heads(depth: usize, hidden_size: usize) -> Option<usize> {
    published(depth, hidden_size).map(|(_, config)| config.num_heads)
}

/// The published name, `DiT-XL/2`, where there is one.
pub(super) fn name(config: &DitConfig) -> String {
    match published(config.depth, config.hidden_size) {
        Some((size, _)) => format!("DiT-{size:?}/{}", config.patch_size),
        None => format!(
            "DiT of {} layers of width {}, patches of {}",
            config.depth, config.hidden_size, config.patch_size
        ),
    }
}
