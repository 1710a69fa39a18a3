//! The networks whose parameters tell nearly everything: SODA's encoder, the noise-conditional classifiers, the latent
//! encoder.

use super::{Given, RecogniseError, Shapes};
use crate::networks::{EncoderArch, EncoderConfig, NoiseMlpConfig, VaeEncoderConfig, WideResNetConfig};

const ENCODER: &str = "the ResNet-18 encoder of a SODA";
const WIDE_RESNET: &str = "a noise-conditional WideResNet";
const NOISE_MLP: &str = "a noise-conditional MLP head";
const VAE: &str = "the encoder of a latent autoencoder";

/// Side of the images that Stable Diffusion's latents are made of for DiT.
const VAE_SIDE: usize = 256;

pub(super) fn encoder(shapes: &Shapes, given: &Given) -> Result<EncoderConfig, RecogniseError> {
    let odd = |problem: String| RecogniseError::Odd { network: ENCODER, problem };
    let [_, channels, kernel, _] = shapes.want::<4>(ENCODER, "encoder.encoder.0.weight")?;
    let cifar_small_image = match kernel {
        3 => true,
        7 => false,
        n => return Err(odd(format!("its first convolution is {n}x{n}, not 3x3 or 7x7"))),
    };
    let first = if cifar_small_image { 3 } else { 4 };
    for stage in first..first + 4 {
        let path = format!("encoder.encoder.{stage}");
        let blocks = shapes.count(&path);
        if blocks != 2 || shapes.has_layer(&format!("{path}.0.conv3")) {
            return Err(odd(format!("'{path}' is not two basic blocks: only ResNet-18 is known here")));
        }
    }
    let [feature_dim, _] = shapes.want::<2>(ENCODER, &format!("encoder.encoder.{}.weight", first + 6))?;
    let stem = if cifar_small_image { "small" } else { "large" };
    let found = format!("{ENCODER} for {stem} images, latents of {feature_dim}");
    let [height, width] = given.image_size(&found)?;
    let image_shape = [channels, height, width];
    Ok(EncoderConfig { arch: EncoderArch::ResNet18, feature_dim, cifar_small_image, image_shape })
}

pub(super) fn wide_resnet(shapes: &Shapes, given: &Given) -> Result<WideResNetConfig, RecogniseError> {
    let odd = |problem: String| RecogniseError::Odd { network: WIDE_RESNET, problem };
    let [stem, channels, ..] = shapes.want::<4>(WIDE_RESNET, "init_conv.weight")?;
    let [width, ..] = shapes.want::<4>(WIDE_RESNET, "group1.blocks.0.conv1.weight")?;
    if !width.is_multiple_of(stem) {
        return Err(odd(format!("its first group has {width} channels, no multiple of {stem}")));
    }
    let [classes, _] = shapes.want::<2>(WIDE_RESNET, "final_linear.weight")?;
    let (blocks_per_group, channel_multiplier) = (shapes.count("group1.blocks"), width / stem);
    let depth = 6 * blocks_per_group + 4;
    let found = format!("{WIDE_RESNET}-{depth}-{channel_multiplier} of {classes} classes");
    let [height, width] = given.image_size(&found)?;
    let image_shape = [channels, height, width];
    Ok(WideResNetConfig { image_shape, blocks_per_group, channel_multiplier, classes })
}

pub(super) fn noise_mlp(shapes: &Shapes) -> Result<NoiseMlpConfig, RecogniseError> {
    let [dim, _] = shapes.want::<2>(NOISE_MLP, "time_emb.lin2.weight")?;
    let [classes, _] = shapes.want::<2>(NOISE_MLP, "cls.2.weight")?;
    Ok(NoiseMlpConfig { dim, classes })
}

pub(super) fn vae_encoder(shapes: &Shapes, given: &Given) -> Result<VaeEncoderConfig, RecogniseError> {
    let odd = |problem: String| RecogniseError::Odd { network: VAE, problem };
    let [_, in_channels, ..] = shapes.want::<4>(VAE, "encoder.conv_in.weight")?;
    let [moments, ..] = shapes.want::<4>(VAE, "quant_conv.weight")?;
    let levels = shapes.count("encoder.down_blocks");
    if levels == 0 || !moments.is_multiple_of(2) {
        return Err(odd(format!("it has {levels} resolutions and {moments} moments")));
    }
    let block_out_channels = (0..levels)
        .map(|level| shapes.want::<4>(VAE, &format!("encoder.down_blocks.{level}.resnets.0.conv1.weight")))
        .map(|shape| shape.map(|[width, ..]| width))
        .collect::<Result<_, _>>()?;
    let published = VaeEncoderConfig::sd_vae_ft_mse(VAE_SIDE, VAE_SIDE);
    Ok(VaeEncoderConfig {
        image_size: given.image_size.unwrap_or(published.image_size),
        in_channels,
        latent_channels: moments / 2,
        block_out_channels,
        layers_per_block: shapes.count("encoder.down_blocks.0.resnets"),
        ..published
    })
}
