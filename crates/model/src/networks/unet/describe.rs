//! A UNet in a sentence.

use super::UNetConfig;

/// A UNet in a sentence that begins with `name`.
pub(in crate::networks) fn describe(name: &str, c: &UNetConfig) -> String {
    let mut words = vec![format!("{name}: {}", c.resolutions().describe())];
    words.extend(c.use_res_for_updown.then(|| "residual resampling".to_string()));
    words.extend((c.augment_dim > 0).then(|| format!("augmentation label of {}", c.augment_dim)));
    words.extend((c.z_channels > 0).then(|| format!("guided by a latent of {}", c.z_channels)));
    words.join(", ")
}
