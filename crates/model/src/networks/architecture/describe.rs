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
            Architecture::SodaEncoder(c) => {
                let (image, dim) = (sides(c.image_shape), c.feature_dim);
                format!("SODA encoder: ResNet-18, {image} images, latents of {dim}")
            }
            Architecture::WideResNet(c) => {
                let (depth, width) =
                    (c.blocks_per_group.saturating_mul(6).saturating_add(4), c.channel_multiplier);
                let (image, classes) = (sides(c.image_shape), c.classes);
                format!("noise-conditional WRN-{depth}-{width}: {image} images, {classes} classes")
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
                let (image, latent) = (sides([c.in_channels, height, width]), sides(c.latent_shape()));
                let scale = c.scaling_factor;
                format!("latent encoder: {image} images to {latent} latents, scaled by {scale}")
            }
            Architecture::Inception(c) => {
                let [height, width] = c.image_size;
                format!("FID's Inception-v3: {} images to 2048 features", sides([3, height, width]))
            }
        }
    }
}

fn sides([channels, height, width]: [usize; 3]) -> String {
    format!("{channels}x{height}x{width}")
}

fn unet(name: &str, c: &UNetConfig) -> String {
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
