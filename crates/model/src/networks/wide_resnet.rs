//! The noise-conditional WideResNet: classes from a noised image and its noise level.
//!
//! Sources: score SDE (arXiv 2011.13456, appendix I.1), Wide Residual Networks (arXiv 1605.07146) and the published
//! code of DDAE (arXiv 2303.09769), whose names these are.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

use super::initialisation::he_normal;
use super::network::{Classifier, HeadsGiven, Network, PublishedProcess, Role};
use super::recognition::{Given, Names, RecogniseError, Shapes};
use super::registry::Family;
use super::sides;
use crate::config::{Preconditioner, ProcessConfig, Timesteps};
use crate::graph::{Conv, Graph, GraphError, GraphKind, Init, Path, Shape, Value};
use crate::tensor::DType;

type Built = Result<Value, GraphError>;

const WIDE_RESNET: &str = "a noise-conditional WideResNet";

const EPS: f64 = 1e-5;
/// Channels of the first convolution.
const STEM: usize = 16;
/// Random frequencies of the noise level.
const FREQUENCIES: usize = 128;
/// Their standard deviation.
const FREQUENCY_STD: f64 = 16.0;
/// Length of the noise level's embedding.
const TIME_CHANNELS: usize = 512;

/// The shape of the network. The default is WRN-28-10 for CIFAR-10.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WideResNetConfig {
    /// `[C, H, W]` of the images; sides that are multiples of 4.
    pub image_shape: [usize; 3],
    /// Residual blocks in each of the three groups: `(depth - 4) / 6`.
    pub blocks_per_group: usize,
    /// Widths of the groups in multiples of 16, 32 and 64.
    pub channel_multiplier: usize,
    /// Number of classes.
    pub classes: usize,
}

impl Default for WideResNetConfig {
    fn default() -> WideResNetConfig {
        WideResNetConfig {
            image_shape: [3, 32, 32],
            blocks_per_group: 4,
            channel_multiplier: 10,
            classes: 10,
        }
    }
}

impl WideResNetConfig {
    /// Checks what the types cannot.
    ///
    /// # Errors
    /// A sentence that names the key and the value.
    pub fn check(&self) -> Result<(), String> {
        let [channels, height, width] = self.image_shape;
        let sides = [height, width];
        if !(1..=4096).contains(&channels)
            || sides.iter().any(|side| !(4..=4096).contains(side) || !side.is_multiple_of(4))
        {
            return Err(format!(
                "image_shape is {:?}; it must be [channels, height, width] with sides that are multiples of 4, up to 4096",
                self.image_shape
            ));
        }
        let counts = [
            ("blocks_per_group", self.blocks_per_group, 1000),
            ("channel_multiplier", self.channel_multiplier, 1000),
            ("classes", self.classes, 1 << 20),
        ];
        match counts.iter().find(|(_, count, most)| !(1..=*most).contains(count)) {
            Some((key, count, most)) => Err(format!("{key} is {count}; it must be 1 to {most}")),
            None => Ok(()),
        }
    }
}

/// The network as files hold it.
pub(in crate::networks) static FAMILY: Family = Family {
    name: "a noise-conditional WideResNet",
    kinds: &[GraphKind::Network, GraphKind::Classifier],
    signature: ["init_conv.weight", "group1.blocks.0.init_bn.0.weight"],
    parts: &[""],
    ignored: &[],
    heads: HeadsGiven::Nothing,
    process: PublishedProcess::None,
    recognise: |shapes, given| Ok((deduce(shapes, given)?.into(), Names::Published)),
};

impl Network for WideResNetConfig {
    fn family(&self) -> &'static Family {
        &FAMILY
    }

    fn describe(&self) -> String {
        let depth = self.blocks_per_group.saturating_mul(6).saturating_add(4);
        let (image, width, classes) = (sides(self.image_shape), self.channel_multiplier, self.classes);
        format!("noise-conditional WRN-{depth}-{width}: {image} images, {classes} classes")
    }

    fn check(&self) -> Result<(), String> {
        WideResNetConfig::check(self)
    }

    fn image_shape(&self) -> Option<[usize; 3]> {
        Some(self.image_shape)
    }

    fn resize(&mut self, [height, width]: [usize; 2]) -> Result<(), String> {
        self.image_shape = [self.image_shape[0], height, width];
        Ok(())
    }

    fn graph(&self, _with_label: bool) -> Result<Graph, GraphError> {
        wide_resnet_graph(self)
    }

    fn role(&self) -> Role<'_> {
        Role::Classifier(self)
    }
}

impl Classifier for WideResNetConfig {
    fn classify(&self, g: &mut Graph, x: Value, t: Value) -> Built {
        wide_resnet(g, self, x, t)
    }

    fn classes(&self) -> usize {
        self.classes
    }

    fn is_preconditioned(&self) -> bool {
        false
    }

    fn refuses(&self, process: &ProcessConfig) -> Option<String> {
        match process {
            ProcessConfig::Ddpm(ddpm) if ddpm.timesteps == Timesteps::Index => {
                Some(format!("{WIDE_RESNET} is told t / n_T: set timesteps to fraction"))
            }
            ProcessConfig::Edm(edm) if edm.preconditioning != Preconditioner::Edm => {
                let name = edm.preconditioning.name();
                Some(format!("preconditioning {name} is of denoisers; {WIDE_RESNET} sees images as they are"))
            }
            ProcessConfig::Ddpm(_) | ProcessConfig::Edm(_) => None,
        }
    }
}

/// The network as a graph of kind `network`: inputs `x [B,C,H,W]` and `t [B]`; output `logits [B, classes]`.
///
/// # Errors
/// When the configuration cannot be built.
pub fn wide_resnet_graph(config: &WideResNetConfig) -> Result<Graph, GraphError> {
    let mut g = Graph::new();
    let x = g.input("x", DType::F32, Shape::batch(&config.image_shape))?;
    let t = g.input("t", DType::F32, Shape::batch(&[]))?;
    let logits = wide_resnet(&mut g, config, x, t)?;
    g.output("logits", logits);
    Ok(g)
}

/// Adds the network to a graph.
///
/// # Shapes
/// `x [B,C,H,W]`, a noised image of any range (it is standardised first); `t [B]` or `[1]`, its noise level: `t / n_T`
/// of a variance preserving process, `ln sigma` of a variance exploding one. The result is `[B, classes]`.
///
/// # Errors
/// When shapes do not fit, with the layer's path.
pub fn wide_resnet(g: &mut Graph, config: &WideResNetConfig, x: Value, t: Value) -> Built {
    config.check().map_err(|message| GraphError::Shape { path: "network".to_string(), message })?;
    let p = Path::root();
    let emb = noise_embedding(g, &p, t)?;
    let x = standardised(g, x)?;
    let mut x = he_conv(g, &p.at("init_conv"), x, Conv::same(STEM, 3))?;
    for (group, stride) in [1, 2, 2].into_iter().enumerate() {
        let blocks = p.at(format!("group{}", group + 1)).at("blocks");
        let channels = (STEM << group) * config.channel_multiplier;
        for i in 0..config.blocks_per_group {
            let first = i == 0;
            let kind = Block {
                channels,
                stride: if first { stride } else { 1 },
                residual_after_norm: first && group == 0,
            };
            x = kind.build(g, &blocks.at(i), x, emb)?;
        }
    }
    let x = norm_relu(g, &p.at("pre_pool_bn"), x)?;
    let x = g.pool(x)?;
    he_linear(g, &p.at("final_linear"), x, config.classes)
}

/// Each image with mean 0 and standard deviation 1, a flat one not blown up: `(x - mean) / max(std, 1 / sqrt(N))`
/// over its `N` values, the standard deviation the unbiased one.
fn standardised(g: &mut Graph, x: Value) -> Built {
    let count = g.shape(x).per_sample() as f64;
    let mean = g.mean(x, &[1, 2, 3])?;
    let mean = g.per_image(mean)?;
    let centred = g.sub(x, mean)?;
    let squares = g.mul(centred, centred)?;
    let variance = g.mean(squares, &[1, 2, 3])?;
    let variance = g.affine(variance, count / (count - 1.0), 0.0)?;
    let std = g.sqrt(variance)?;
    let std = g.clamp(std, 1.0 / count.sqrt(), f64::from(f32::MAX))?;
    let std = g.per_image(std)?;
    g.div(centred, std)
}

/// SiLU of the embedded noise level, `[B, 512]`: sines and cosines at fixed random frequencies, two linear layers.
fn noise_embedding(g: &mut Graph, p: &Path, t: Value) -> Built {
    let init = Init::Normal { std: FREQUENCY_STD };
    let frequencies = g.buffer(&p.at("time_emb").at("W"), &[FREQUENCIES], init)?;
    let frequencies = g.reshape(frequencies, Shape::fixed(&[1, FREQUENCIES]))?;
    let batch = g.shape(t).dims()[0];
    let t = g.reshape(t, Shape::of(vec![batch, 1.into()]))?;
    let turns = g.mul(t, frequencies)?;
    let angles = g.affine(turns, 2.0 * PI, 0.0)?;
    let (sin, cos) = (g.sin(angles)?, g.cos(angles)?);
    let emb = g.concat(&[sin, cos], 1)?;
    let mlp = p.at("time_emb_mlp");
    let emb = he_linear(g, &mlp.at(0), emb, TIME_CHANNELS)?;
    let emb = g.silu(emb)?;
    let emb = he_linear(g, &mlp.at(2), emb, TIME_CHANNELS)?;
    // Every block applies SiLU to the embedding first: once is enough.
    g.silu(emb)
}

/// A residual block with its norms before the convolutions.
struct Block {
    channels: usize,
    stride: usize,
    /// Whether the residual is taken after the first norm and activation, as in the network's first block.
    residual_after_norm: bool,
}

impl Block {
    fn build(&self, g: &mut Graph, p: &Path, x: Value, emb: Value) -> Built {
        let h = norm_relu(g, &p.at("init_bn"), x)?;
        let residual = if self.residual_after_norm { h } else { x };
        let h = he_conv(g, &p.at("conv1"), h, Conv::same(self.channels, 3).stride(self.stride))?;
        let emb = he_linear(g, &p.at("time_emb").at(1), emb, self.channels)?;
        let emb = g.per_image(emb)?;
        let h = g.add(h, emb)?;
        let h = norm_relu(g, &p.at("bn_2"), h)?;
        let h = he_conv(g, &p.at("conv2"), h, Conv::same(self.channels, 3))?;
        let residual = self.fit(g, residual)?;
        g.add(h, residual)
    }

    /// The residual in the block's shape, without weights: pooled by the stride, with channels of zeros at the end.
    fn fit(&self, g: &mut Graph, residual: Value) -> Built {
        let channels = g.shape(residual).size(1).unwrap_or(0);
        let pooled = if self.stride == 1 { residual } else { g.avg_pool(residual, self.stride)? };
        let missing = self.channels.saturating_sub(channels);
        if missing == 0 { Ok(pooled) } else { g.pad(pooled, 1, 0, missing) }
    }
}

fn norm_relu(g: &mut Graph, p: &Path, x: Value) -> Built {
    let channels = g.shape(x).size(1).unwrap_or(0);
    let x = g.group_norm(&p.at(0), x, (channels / 4).min(32), EPS)?;
    g.relu(x)
}

/// A convolution without bias.
fn he_conv(g: &mut Graph, p: &Path, x: Value, conv: Conv) -> Built {
    let [rows, columns] = conv.kernel;
    let fan_in = g.shape(x).size(1).unwrap_or(1) * rows * columns;
    let x = g.conv2d(p, x, conv.without_bias())?;
    g.initialise(&p.at("weight"), he_normal(fan_in))?;
    Ok(x)
}

fn he_linear(g: &mut Graph, p: &Path, x: Value, features: usize) -> Built {
    let fan_in = g.shape(x).size(1).unwrap_or(1);
    let x = g.linear(p, x, features, true)?;
    g.initialise(&p.at("weight"), he_normal(fan_in))?;
    Ok(x)
}

/// The sizes of a WideResNet, from its parameters.
fn deduce(shapes: &Shapes, given: &Given) -> Result<WideResNetConfig, RecogniseError> {
    let odd = |problem: String| RecogniseError::Inconsistent { network: WIDE_RESNET, problem };
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
