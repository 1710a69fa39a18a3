//! Augmentation with torchvision's semantics: against the fixture, against Pillow, and what SODA makes of it.

mod operations;
mod pairs;
mod pillow;
mod views;

use ddae_data::Split;
use ddae_model::config::{ChannelStatistics, SodaAugmentation};

/// As published but for the target, which is the image.
const UNALTERED_TARGET: SodaAugmentation = SodaAugmentation { augment_target: false, crop_area: [0.08, 1.0] };

/// `count` images of `shape`, all levels equally likely.
fn split(count: usize, shape: [usize; 3]) -> Split {
    let size: usize = shape.iter().product();
    let levels = ddae_tests::rule_values("augmented pictures", count * size, 0.0, 256.0);
    let labels = (0..count).map(|i| (i % 3) as u32).collect();
    let classes = ["a", "b", "c"].map(String::from).to_vec();
    let levels = levels.into_iter().map(|level| level as u8).collect();
    Split::in_memory("noise/train", classes, labels, shape, levels).expect("consistent")
}

/// Different statistics for every channel.
fn statistics(channels: usize) -> ChannelStatistics {
    let all = ChannelStatistics::published("cifar10").expect("published");
    ChannelStatistics { mean: all.mean[..channels].to_vec(), std: all.std[..channels].to_vec() }
}

/// Planes of three channels, [3, H, W], as pixels, [H, W, 3].
fn interleaved(planes: &[u8]) -> Vec<u8> {
    let pixels = planes.len() / 3;
    (0..pixels).flat_map(|i| [0, 1, 2].map(|channel| planes[channel * pixels + i])).collect()
}
