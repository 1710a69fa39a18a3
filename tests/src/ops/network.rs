//! Whole small networks.

use ddae_model::networks::{Conventions, UNetConfig, decoder_graph, unet_graph};
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
    let taps: Vec<String> = graph.taps().iter().map(|(name, _)| name.clone()).collect();
    let names: Vec<&str> = std::iter::once("y").chain(taps.iter().map(String::as_str)).collect();
    let graph = graph.keep(&names).unwrap_or_else(|e| panic!("{config:?}: {e}"));
    let batch = rng.random_range(1..=2);
    Case::draw(format!("network {seed}: {config:?}, label {with_label}"), graph, batch, &mut rng)
}
