//! Whole small networks.

use ddae_model::graph::Graph;
use ddae_model::networks::{
    Architecture, Conventions, Edm2Config, ResampleFilter, SongEmbedding, SongEncoder, SongUNetConfig,
    UNetCConfig, UNetConfig, UNetEConfig, UNetGConfig, decoder_graph, song_unet_graph, unet_graph,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::suite::Case;

/// A small UNet or SODA decoder of a random configuration, with random weights and inputs; the same for the same seed.
///
/// 32 channels at the finest resolution, 1 to 3 resolutions, images of up to 16x16. The outputs are `y` and every
/// tap.
pub fn random_network(seed: u64) -> Case {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let levels = rng.random_range(1..=3usize);
    let factor = 1 << (levels - 1);
    let mut side = || factor * rng.random_range(2..=4usize);
    let (height, width) = (side(), side());
    let guided: bool = rng.random();
    let config = UNetConfig {
        image_shape: [rng.random_range(1..=3), height, width],
        n_channels: 32,
        ch_mults: (0..levels).map(|_| rng.random_range(1..=2)).collect(),
        is_attn: (0..levels).map(|_| rng.random()).collect(),
        attn_channels_per_head: [None, Some(8), Some(16), Some(32)][rng.random_range(0..4)],
        dropout: 0.1,
        n_blocks: rng.random_range(1..=2),
        use_res_for_updown: rng.random(),
        augment_dim: if !guided && rng.random() { 9 } else { 0 },
        // Splits into 1, 2 and 3 parts.
        z_channels: if guided { 12 } else { 0 },
        z_parts: if guided { rng.random_range(1..=levels) } else { 1 },
        conventions: if rng.random() { Conventions::diffusers_ddpm() } else { Conventions::default() },
    };
    let with_label = config.augment_dim > 0 && rng.random();
    let graph = if guided { decoder_graph(&config) } else { unet_graph(&config, with_label) };
    let graph = graph.unwrap_or_else(|e| panic!("{config:?}: {e}"));
    let batch = rng.random_range(1..=2);
    let name = format!("network {seed}: {config:?}, label {with_label}");
    with_taps(name, &graph, batch, &mut rng)
}

/// A small network of EDM2 of a random configuration, like those of [`random_network`]: config C for the seeds 0, 3, …,
/// E for 1, 4, … and G for 2, 5, ….
pub fn random_edm2_network(seed: u64) -> Case {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let levels = rng.random_range(1..=2usize);
    let mut side = || levels * rng.random_range(2..=4usize);
    let (height, width) = (side(), side());
    let n_channels = if seed % 3 == 2 { 12 } else { 32 };
    let config = Edm2Config {
        image_shape: [rng.random_range(1..=3), height, width],
        n_channels,
        ch_mults: (0..levels).map(|_| rng.random_range(1..=2)).collect(),
        is_attn: (0..levels).map(|_| rng.random()).collect(),
        attn_channels_per_head: [None, Some(n_channels / 4), Some(n_channels / 2)][rng.random_range(0..3)],
        dropout: 0.1,
        n_blocks: rng.random_range(2..=3),
    };
    let name = format!("network {seed}: {config:?}");
    let architecture = match seed % 3 {
        0 => Architecture::UNetC(UNetCConfig(config)),
        1 => Architecture::UNetE(UNetEConfig(config)),
        _ => Architecture::UNetG(UNetGConfig(config)),
    };
    let graph = architecture.network_graph(false).unwrap_or_else(|e| panic!("{name}: {e}"));
    let batch = rng.random_range(1..=2);
    with_taps(name, &graph, batch, &mut rng)
}

/// A small SongUNet of a random configuration and labels, like those of [`random_network`]. Dropout is all in evaluation.
pub fn random_song_network(seed: u64) -> Case {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let levels = rng.random_range(1..=3usize);
    let img_resolution = (1 << (levels - 1)) * rng.random_range(2..=4usize);
    let mut of = |most: usize| rng.random_range(0..=most);
    let config = SongUNetConfig {
        img_resolution,
        img_channels: 1 + of(2),
        label_dim: 3 * of(1),
        augment_dim: 9 * of(1),
        model_channels: 8,
        channel_mult: (0..levels).map(|_| 1 + of(1)).collect(),
        channel_mult_emb: 1 + of(3),
        num_blocks: 1 + of(1),
        attn_resolutions: (0..levels).filter(|_| of(1) == 1).map(|level| img_resolution >> level).collect(),
        dropout: 0.1,
        embedding_type: [SongEmbedding::Positional, SongEmbedding::Fourier][of(1)],
        channel_mult_noise: 1 + of(1),
        encoder_type: [SongEncoder::Standard, SongEncoder::Residual][of(1)],
        resample_filter: [ResampleFilter::Box, ResampleFilter::Smooth][of(1)],
    };
    let labels = [config.augment_dim, config.label_dim].map(|count| count > 0 && of(1) == 1);
    let name = format!("network {seed}: {config:?}, labels {labels:?}");
    let graph = song_unet_graph(&config, labels[0], labels[1]).unwrap_or_else(|e| panic!("{name}: {e}"));
    let batch = rng.random_range(1..=2);
    with_taps(name, &graph, batch, &mut rng)
}

/// The network with all its taps as outputs too.
fn with_taps(name: String, graph: &Graph, batch: usize, rng: &mut ChaCha8Rng) -> Case {
    let names: Vec<&str> =
        std::iter::once("y").chain(graph.taps().iter().map(|(name, _)| name.as_str())).collect();
    let graph = graph.keep(&names).unwrap_or_else(|e| panic!("{name}: {e}"));
    Case::draw(name, graph, batch, rng)
}
