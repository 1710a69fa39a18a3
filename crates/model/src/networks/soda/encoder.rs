//! SODA's encoder: ResNet-18 with a latent in place of the classes.
//!
//! Sources: SODA (arXiv 2311.17901) and its published code; ResNet (arXiv 1512.03385) in torchvision's form. The code
//! keeps torchvision's layers in a flat sequence, so a layer's name is its place there.

use serde::{Deserialize, Serialize};

use crate::diffusion::Pixels;
use crate::graph::{Conv, Graph, GraphError, GraphKind, Path, Shape, Value, Window};
use crate::networks::initialisation::he_normal;
use crate::networks::network::{Encoder, HeadsGiven, Network, PublishedProcess, Role};
use crate::networks::recognition::{Given, Names, RecogniseError, Shapes};
use crate::networks::registry::Family;
use crate::networks::sides;
use crate::tensor::DType;

type Built = Result<Value, GraphError>;

const ENCODER: &str = "the ResNet-18 encoder of a SODA";
const EPS: f64 = 1e-5;
/// Channels of the first convolution and of the first stage.
const STEM: usize = 64;
/// Residual blocks in each of the four stages.
const BLOCKS: usize = 2;
/// A limit far above any encoder: beyond it its numbers could not even be counted.
const LARGEST_WIDTH: usize = 1 << 20;

/// Encoder networks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EncoderArch {
    /// Four stages of two basic blocks.
    #[default]
    ResNet18,
}

/// The `encoder` section of a SODA configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EncoderConfig {
    /// The network.
    pub arch: EncoderArch,
    /// Length of the latent.
    pub feature_dim: usize,
    /// Start with a 3x3 convolution at full resolution, for images of about 32x32, rather than with a 7x7 one and
    /// pooling that quarter the sides.
    pub cifar_small_image: bool,
    /// Our addition: `[C, H, W]` of the images, which the published configurations leave to the data set.
    #[serde(default = "EncoderConfig::cifar")]
    pub image_shape: [usize; 3],
}

impl EncoderConfig {
    fn cifar() -> [usize; 3] {
        [3, 32, 32]
    }

    /// Checks what the types cannot.
    ///
    /// # Errors
    /// A sentence that names the key and the value.
    pub fn check(&self) -> Result<(), String> {
        if !(1..=LARGEST_WIDTH).contains(&self.feature_dim) {
            return Err(format!("feature_dim is {}; it must be 1 to {LARGEST_WIDTH}", self.feature_dim));
        }
        if self.image_shape.iter().any(|size| !(1..=4096).contains(size)) {
            return Err(format!("image_shape is {:?}; each size must be 1 to 4096", self.image_shape));
        }
        Ok(())
    }
}

/// The encoder as files hold it.
pub(in crate::networks) static FAMILY: Family = Family {
    name: "the encoder of a SODA",
    kinds: &[GraphKind::Network, GraphKind::Encoder],
    signature: ["encoder.encoder.0.weight", "encoder.encoder.1.running_mean"],
    parts: &["encoder."],
    ignored: &[],
    heads: HeadsGiven::Nothing,
    process: PublishedProcess::None,
    recognise: |shapes, given| Ok((deduce(shapes, given)?.into(), Names::Published)),
};

impl Network for EncoderConfig {
    fn family(&self) -> &'static Family {
        &FAMILY
    }

    fn describe(&self) -> String {
        let (image, dim) = (sides(self.image_shape), self.feature_dim);
        format!("SODA encoder: ResNet-18, {image} images, latents of {dim}")
    }

    fn check(&self) -> Result<(), String> {
        EncoderConfig::check(self)
    }

    fn image_shape(&self) -> Option<[usize; 3]> {
        Some(self.image_shape)
    }

    fn resize(&mut self, [height, width]: [usize; 2]) -> Result<(), String> {
        self.image_shape = [self.image_shape[0], height, width];
        Ok(())
    }

    fn graph(&self, _with_label: bool) -> Result<Graph, GraphError> {
        resnet_graph(self)
    }

    fn pixels(&self) -> Pixels {
        Pixels::Normalised
    }

    fn role(&self) -> Role<'_> {
        Role::Encoder(self)
    }
}

impl Encoder for EncoderConfig {
    fn encode(&self, g: &mut Graph, x: Value) -> Built {
        resnet(g, &Path::root().at("encoder").at("encoder"), self, x)
    }

    fn width(&self) -> usize {
        self.feature_dim
    }
}

/// The encoder as a graph of kind `network`: input `x [B,C,H,W]`, normalised as in training; output
/// `z [B, feature_dim]`. Its names are those in a SODA checkpoint (`encoder.encoder.0.weight`).
///
/// # Errors
/// When the configuration cannot be built.
pub fn resnet_graph(config: &EncoderConfig) -> Result<Graph, GraphError> {
    let mut g = Graph::new();
    let x = g.input("x", DType::F32, Shape::batch(&config.image_shape))?;
    let z = resnet(&mut g, &Path::root().at("encoder").at("encoder"), config, x)?;
    g.output("z", z);
    Ok(g)
}

/// Adds the encoder to a graph, under the path `p`.
///
/// # Shapes
/// `x [B,C,H,W]`, any size; the result `[B, feature_dim]`.
///
/// # Errors
/// When shapes do not fit, with the layer's path.
pub fn resnet(g: &mut Graph, p: &Path, config: &EncoderConfig, x: Value) -> Built {
    config.check().map_err(|message| GraphError::Shape { path: "encoder".to_string(), message })?;
    let small = config.cifar_small_image;
    // The published code puts a new layer in the place of torchvision's, which starts like all of PyTorch's.
    let x = match small {
        true => g.conv2d(&p.at(0), x, Conv::same(STEM, 3).without_bias())?,
        false => conv(g, &p.at(0), x, Conv::same(STEM, 7).stride(2))?,
    };
    let x = g.batch_norm(&p.at(1), x, EPS)?;
    let mut x = g.relu(x)?;
    // The ReLU is child 2.
    let mut child = 3;
    if !small {
        x = g.max_pool(x, Window { kernel: 3, stride: 2, padding: 1 })?;
        child += 1;
    }
    for stage in 0..4 {
        for block in 0..BLOCKS {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            x = basic_block(g, &p.at(child).at(block), x, STEM << stage, stride)?;
        }
        child += 1;
    }
    let x = g.pool(x)?;
    // The pooling and the flattening are children too.
    g.linear(&p.at(child + 2), x, config.feature_dim, true)
}

fn basic_block(g: &mut Graph, p: &Path, x: Value, channels: usize, stride: usize) -> Built {
    let h = conv(g, &p.at("conv1"), x, Conv::same(channels, 3).stride(stride))?;
    let h = g.batch_norm(&p.at("bn1"), h, EPS)?;
    let h = g.relu(h)?;
    let h = conv(g, &p.at("conv2"), h, Conv::same(channels, 3))?;
    let h = g.batch_norm(&p.at("bn2"), h, EPS)?;
    let mut shortcut = x;
    if stride != 1 || g.shape(x).size(1) != Some(channels) {
        let p = p.at("downsample");
        shortcut = conv(g, &p.at(0), x, Conv::same(channels, 1).stride(stride))?;
        shortcut = g.batch_norm(&p.at(1), shortcut, EPS)?;
    }
    let sum = g.add(h, shortcut)?;
    g.relu(sum)
}

/// A convolution without bias, which starts as torchvision's do.
fn conv(g: &mut Graph, p: &Path, x: Value, conv: Conv) -> Built {
    let fan_out = conv.channels * conv.kernel[0] * conv.kernel[1];
    let x = g.conv2d(p, x, conv.without_bias())?;
    g.initialise(&p.at("weight"), he_normal(fan_out))?;
    Ok(x)
}

/// The sizes of an encoder, from its parameters.
fn deduce(shapes: &Shapes, given: &Given) -> Result<EncoderConfig, RecogniseError> {
    let odd = |problem: String| RecogniseError::Inconsistent { network: ENCODER, problem };
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
