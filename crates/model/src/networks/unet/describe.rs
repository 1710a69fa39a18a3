//! A UNet in a sentence.

use super::UNetConfig;
use crate::networks::sides;

/// A UNet in a sentence that begins with `name`.
pub(in crate::networks) fn describe(name: &str, c: &UNetConfig) -> String {
    let [_, height, width] = c.image_shape;
    let attending = c.is_attn.iter().enumerate().filter(|(_, is_attn)| **is_attn);
    let attending: Vec<String> =
        attending.map(|(level, _)| format!("{}x{}", height >> level, width >> level)).collect();
    let heads = match c.attn_channels_per_head {
        Some(n) => format!("heads of {n} channels"),
        None => "one head".to_string(),
    };
    let mut words = vec![
        format!("{name}: {} images", sides(c.image_shape)),
        format!("n_channels {}, ch_mults {:?}, n_blocks {}", c.n_channels, c.ch_mults, c.n_blocks),
        match &*attending {
            [] => format!("attention in the middle with {heads}"),
            places => format!("attention at {} with {heads}", places.join(", ")),
        },
    ];
    words.extend(c.use_res_for_updown.then(|| "residual resampling".to_string()));
    words.extend((c.augment_dim > 0).then(|| format!("augmentation label of {}", c.augment_dim)));
    words.extend((c.z_channels > 0).then(|| format!("guided by a latent of {}", c.z_channels)));
    words.join(", ")
}
