//! A network in a sentence.

use super::{Architecture, Names, Recognised, dit};
use crate::networks::UNetConfig;

impl Recognised {
    /// A sentence that says what was found.
    pub fn describe(&self) -> String {
        let names = match self.names {
            Names::Published => "",
            Names::DiffusersUNet(_) => ", under diffusers' names",
            Names::OlderVae => ", under older names",
        };
        let prefix = match &*self.prefix {
            "" => String::new(),
            prefix => format!(", its names after '{prefix}'"),
        };
        format!("{}{names}{prefix}", self.architecture.describe())
    }
}

impl Architecture {
    /// What it is, with its sizes.
    pub fn describe(&self) -> String {
        match self {
            Architecture::UNet(c) => unet("UNet", c),
            Architecture::SodaDecoder(c) => unet("SODA decoder", c),
            Architecture::UNetC(c) => format!("UNetC: {}", c.0.describe()),
            Architecture::UNetE(c) => format!("UNetE: {}", c.0.describe()),
            Architecture::UNetG(c) => format!("UNetG: {}", c.0.describe()),
            Architecture::SodaEncoder(c) => {
                let (picture, dim) = (sides(c.image_shape), c.feature_dim);
                format!("SODA encoder: ResNet-18, {picture} pictures, latents of {dim}")
            }
            Architecture::WideResNet(c) => {
                let (depth, width) =
                    (c.blocks_per_group.saturating_mul(6).saturating_add(4), c.channel_multiplier);
                let (picture, classes) = (sides(c.image_shape), c.classes);
                format!("noise-conditional WRN-{depth}-{width}: {picture} pictures, {classes} classes")
            }
            Architecture::NoiseMlp(c) => {
                format!("noise-conditional MLP head: features of {}, {} classes", c.dim, c.classes)
            }
            Architecture::DiT(c) => {
                let latent = sides([c.in_channels, c.input_size, c.input_size]);
                let (heads, classes) = (c.num_heads, c.num_classes);
                format!("{}: {latent} latents, {heads} heads, {classes} classes", dit::name(c))
            }
            Architecture::VaeEncoder(c) => {
                let [height, width] = c.image_size;
                let (picture, latent) = (sides([c.in_channels, height, width]), sides(c.latent_shape()));
                let scale = c.scaling_factor;
                format!("latent encoder: {picture} pictures to {latent} latents, scaled by {scale}")
            }
            Architecture::Inception(c) => {
                let [height, width] = c.image_size;
                format!("FID's Inception-v3: {} pictures to 2048 features", sides([3, height, width]))
            }
        }
    }
}

fn sides([channels, height, width]: [usize; 3]) -> String {
    format!("{channels}x{height}x{width}")
}

fn unet(name: &str, c: &UNetConfig) -> String {
    let mut words = vec![format!("{name}: {}", c.resolutions().describe())];
    words.extend(c.use_res_for_updown.then(|| "residual resampling".to_string()));
    words.extend((c.augment_dim > 0).then(|| format!("augmentation label of {}", c.augment_dim)));
    words.extend((c.z_channels > 0).then(|| format!("guided by a latent of {}", c.z_channels)));
    words.join(", ")
}
