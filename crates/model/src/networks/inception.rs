//! The Inception-v3 that Fréchet inception distances are defined on (pytorch-fid's `pt_inception-2015-12-05`).
//!
//! Source: Inception-v3 (arXiv 1512.00567) as TensorFlow's 2015 file has it. It differs from torchvision's network:
//! average pools leave the padding out of the mean, the last block pools by the maximum, and there is no auxiliary
//! classifier. The published file also holds a classifier `fc` of 1008 classes, which features do not need and Inception
//! scores do.

use serde::{Deserialize, Serialize};

use super::network::{Extractor, HeadsGiven, Network, PublishedProcess, Role};
use super::recognition::Names;
use super::registry::Family;
use super::sides;
use crate::diffusion::Pixels;
use crate::graph::{Conv, Graph, GraphError, GraphKind, Path, Shape, Value, Window};
use crate::tensor::DType;

type Built = Result<Value, GraphError>;

const EPS: f64 = 1e-3;

/// Side of the images that the network was trained on.
const SIDE: usize = 299;

/// A limit far above any image: beyond it its numbers could not even be counted.
const LARGEST_SIDE: usize = 4096;

/// Classes of `fc`: the 1,000 of ImageNet and eight that TensorFlow's file has and nothing uses.
const LOGITS: usize = 1008;

/// What the network is built for. Its weights fit images of any size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InceptionConfig {
    /// `[H, W]` of the images, which the graph resizes to 299 x 299.
    pub image_size: [usize; 2],
    /// Whether the weights have the classifier `fc`, as the published ones do; it adds the tap `logits_unbiased`.
    #[serde(default, skip_serializing_if = "is_false")]
    pub classifier: bool,
}

fn is_false(value: &bool) -> bool {
    !value
}

impl InceptionConfig {
    /// Checks what the types cannot.
    ///
    /// # Errors
    /// A sentence that names the key and the values.
    pub fn check(&self) -> Result<(), String> {
        let [height, width] = self.image_size;
        if [height, width].iter().any(|side| !(1..=LARGEST_SIDE).contains(side)) {
            return Err(format!("image_size is [{height}, {width}]; both must be 1 to {LARGEST_SIDE}"));
        }
        Ok(())
    }
}

/// The network as files hold it.
pub(super) static FAMILY: Family = Family {
    name: "FID's Inception-v3",
    kinds: &[GraphKind::Network, GraphKind::Features],
    signature: ["Conv2d_1a_3x3.conv.weight", "Mixed_7c.branch_pool.conv.weight"],
    // The published file has a classifier too.
    parts: &[],
    ignored: &[],
    heads: HeadsGiven::Nothing,
    process: PublishedProcess::None,
    recognise: |shapes, given| {
        let image_size = given.image_size.unwrap_or([SIDE; 2]);
        let classifier = shapes.has("fc.weight");
        Ok((InceptionConfig { image_size, classifier }.into(), Names::Published))
    },
};

impl Network for InceptionConfig {
    fn family(&self) -> &'static Family {
        &FAMILY
    }

    fn describe(&self) -> String {
        let [height, width] = self.image_size;
        format!("FID's Inception-v3: {} images to 2048 features", sides([3, height, width]))
    }

    fn check(&self) -> Result<(), String> {
        InceptionConfig::check(self)
    }

    fn image_shape(&self) -> Option<[usize; 3]> {
        let [height, width] = self.image_size;
        Some([3, height, width])
    }

    fn resize(&mut self, size: [usize; 2]) -> Result<(), String> {
        self.image_size = size;
        Ok(())
    }

    fn graph(&self, _with_label: bool) -> Result<Graph, GraphError> {
        inception_graph(self)
    }

    fn pixels(&self) -> Pixels {
        Pixels::Unit
    }

    fn role(&self) -> Role<'_> {
        Role::Extractor(self)
    }
}

impl Extractor for InceptionConfig {
    fn extract(&self, g: &mut Graph, image: Value) -> Built {
        let pool = inception(g, self, image)?;
        g.tap(self.features(), pool);
        Ok(pool)
    }

    fn features(&self) -> &'static str {
        "pool"
    }
}

/// The network as a graph: input `image [B,3,H,W]` in [0, 1]; output `pool [B,2048]`, the features that distances are
/// computed on. The taps `maxpool1` (64 channels), `maxpool2` (192) and `Mixed_6e` (768) are the maps whose means
/// pytorch-fid offers as other features; `logits_unbiased` (1008) are those of the classifier without its bias, which
/// torch-fidelity computes Inception scores on.
///
/// # Errors
/// When the configuration cannot be built.
pub fn inception_graph(config: &InceptionConfig) -> Result<Graph, GraphError> {
    let mut g = Graph::new();
    let [height, width] = config.image_size;
    let image = g.input("image", DType::F32, Shape::batch(&[3, height, width]))?;
    let features = inception(&mut g, config, image)?;
    g.output("pool", features);
    Ok(g)
}

/// Adds the network to a graph, with the resizing and scaling of its input.
///
/// # Shapes
/// `image [B,3,H,W]` in [0, 1] to `[B, 2048]`.
///
/// # Errors
/// When the configuration or shapes do not fit, with the layer's path.
pub fn inception(g: &mut Graph, config: &InceptionConfig, image: Value) -> Built {
    config.check().map_err(|message| GraphError::Shape { path: "network".to_string(), message })?;
    let p = Path::root();
    let x = if config.image_size == [SIDE, SIDE] { image } else { g.resize_bilinear(image, SIDE, SIDE)? };
    let x = g.affine(x, 2.0, -1.0)?;

    let x = conv(g, &p.at("Conv2d_1a_3x3"), x, shrinking(32, 3).stride(2))?;
    let x = conv(g, &p.at("Conv2d_2a_3x3"), x, shrinking(32, 3))?;
    let x = conv(g, &p.at("Conv2d_2b_3x3"), x, Conv::same(64, 3))?;
    let x = g.max_pool(x, HALVE)?;
    g.tap("maxpool1", x);
    let x = conv(g, &p.at("Conv2d_3b_1x1"), x, Conv::same(80, 1))?;
    let x = conv(g, &p.at("Conv2d_4a_3x3"), x, shrinking(192, 3))?;
    let x = g.max_pool(x, HALVE)?;
    g.tap("maxpool2", x);

    let x = block_a(g, &p.at("Mixed_5b"), x, 32)?;
    let x = block_a(g, &p.at("Mixed_5c"), x, 64)?;
    let x = block_a(g, &p.at("Mixed_5d"), x, 64)?;
    let x = block_b(g, &p.at("Mixed_6a"), x)?;
    let x = block_c(g, &p.at("Mixed_6b"), x, 128)?;
    let x = block_c(g, &p.at("Mixed_6c"), x, 160)?;
    let x = block_c(g, &p.at("Mixed_6d"), x, 160)?;
    let x = block_c(g, &p.at("Mixed_6e"), x, 192)?;
    g.tap("Mixed_6e", x);
    let x = block_d(g, &p.at("Mixed_7a"), x)?;
    let x = block_e(g, &p.at("Mixed_7b"), x, Pool::Average)?;
    let x = block_e(g, &p.at("Mixed_7c"), x, Pool::Max)?;
    let pool = g.pool(x)?;
    if config.classifier {
        let logits = g.linear(&p.at("fc"), pool, LOGITS, false)?;
        g.tap("logits_unbiased", logits);
    }
    Ok(pool)
}

/// A 3 x 3 window at every second pixel.
const HALVE: Window = Window { kernel: 3, stride: 2, padding: 0 };

/// A 3 x 3 window around each pixel.
const AROUND: Window = Window { kernel: 3, stride: 1, padding: 1 };

/// How a block's pooling branch pools.
#[derive(Clone, Copy)]
enum Pool {
    /// The mean of the pixels there are; padding does not count.
    Average,
    /// The maximum: a slip of the original network, which its weights depend on.
    Max,
}

/// A convolution that loses the pixels at the border.
fn shrinking(channels: usize, kernel: usize) -> Conv {
    Conv::same(channels, kernel).padding([0; 4])
}

/// Convolution without bias, batch normalisation, ReLU.
fn conv(g: &mut Graph, p: &Path, x: Value, conv: Conv) -> Built {
    let x = g.conv2d(&p.at("conv"), x, conv.without_bias())?;
    let x = g.batch_norm(&p.at("bn"), x, EPS)?;
    g.relu(x)
}

/// Convolutions one after the other, each under its name in the block `p`.
fn chain(g: &mut Graph, p: &Path, x: Value, layers: &[(&str, Conv)]) -> Built {
    layers.iter().try_fold(x, |x, (name, layer)| conv(g, &p.at(name), x, *layer))
}

/// Pooling at full resolution, then a 1 x 1 convolution `branch_pool`.
fn pool_branch(g: &mut Graph, p: &Path, x: Value, pool: Pool, channels: usize) -> Built {
    let pooled = match pool {
        Pool::Average => g.avg_pool_window(x, AROUND, false)?,
        Pool::Max => g.max_pool(x, AROUND)?,
    };
    conv(g, &p.at("branch_pool"), pooled, Conv::same(channels, 1))
}

/// 35 x 35 pixels, branches of 1, 5 and twice 3.
fn block_a(g: &mut Graph, p: &Path, x: Value, pool_channels: usize) -> Built {
    let one = chain(g, p, x, &[("branch1x1", Conv::same(64, 1))])?;
    let five = chain(g, p, x, &[("branch5x5_1", Conv::same(48, 1)), ("branch5x5_2", Conv::same(64, 5))])?;
    let three = chain(
        g,
        p,
        x,
        &[
            ("branch3x3dbl_1", Conv::same(64, 1)),
            ("branch3x3dbl_2", Conv::same(96, 3)),
            ("branch3x3dbl_3", Conv::same(96, 3)),
        ],
    )?;
    let pool = pool_branch(g, p, x, Pool::Average, pool_channels)?;
    g.concat(&[one, five, three, pool], 1)
}

/// From 35 x 35 to 17 x 17 pixels.
fn block_b(g: &mut Graph, p: &Path, x: Value) -> Built {
    let three = chain(g, p, x, &[("branch3x3", shrinking(384, 3).stride(2))])?;
    let double = chain(
        g,
        p,
        x,
        &[
            ("branch3x3dbl_1", Conv::same(64, 1)),
            ("branch3x3dbl_2", Conv::same(96, 3)),
            ("branch3x3dbl_3", shrinking(96, 3).stride(2)),
        ],
    )?;
    let pool = g.max_pool(x, HALVE)?;
    g.concat(&[three, double, pool], 1)
}

/// 17 x 17 pixels, branches of 1, 7 and twice 7, each 7 x 7 as a row and a column. `inner` is the channels between.
fn block_c(g: &mut Graph, p: &Path, x: Value, inner: usize) -> Built {
    let row = |channels| Conv::rect(channels, [1, 7]);
    let column = |channels| Conv::rect(channels, [7, 1]);
    let one = chain(g, p, x, &[("branch1x1", Conv::same(192, 1))])?;
    let seven = chain(
        g,
        p,
        x,
        &[("branch7x7_1", Conv::same(inner, 1)), ("branch7x7_2", row(inner)), ("branch7x7_3", column(192))],
    )?;
    let double = chain(
        g,
        p,
        x,
        &[
            ("branch7x7dbl_1", Conv::same(inner, 1)),
            ("branch7x7dbl_2", column(inner)),
            ("branch7x7dbl_3", row(inner)),
            ("branch7x7dbl_4", column(inner)),
            ("branch7x7dbl_5", row(192)),
        ],
    )?;
    let pool = pool_branch(g, p, x, Pool::Average, 192)?;
    g.concat(&[one, seven, double, pool], 1)
}

/// From 17 x 17 to 8 x 8 pixels.
fn block_d(g: &mut Graph, p: &Path, x: Value) -> Built {
    let three =
        chain(g, p, x, &[("branch3x3_1", Conv::same(192, 1)), ("branch3x3_2", shrinking(320, 3).stride(2))])?;
    let seven = chain(
        g,
        p,
        x,
        &[
            ("branch7x7x3_1", Conv::same(192, 1)),
            ("branch7x7x3_2", Conv::rect(192, [1, 7])),
            ("branch7x7x3_3", Conv::rect(192, [7, 1])),
            ("branch7x7x3_4", shrinking(192, 3).stride(2)),
        ],
    )?;
    let pool = g.max_pool(x, HALVE)?;
    g.concat(&[three, seven, pool], 1)
}

/// 8 x 8 pixels: 3 x 3 convolutions that end in a row and a column side by side.
fn block_e(g: &mut Graph, p: &Path, x: Value, pool: Pool) -> Built {
    let one = chain(g, p, x, &[("branch1x1", Conv::same(320, 1))])?;
    let three = chain(g, p, x, &[("branch3x3_1", Conv::same(384, 1))])?;
    let three = row_and_column(g, p, three, ["branch3x3_2a", "branch3x3_2b"])?;
    let double =
        chain(g, p, x, &[("branch3x3dbl_1", Conv::same(448, 1)), ("branch3x3dbl_2", Conv::same(384, 3))])?;
    let double = row_and_column(g, p, double, ["branch3x3dbl_3a", "branch3x3dbl_3b"])?;
    let pool = pool_branch(g, p, x, pool, 192)?;
    g.concat(&[one, three, double, pool], 1)
}

/// A 1 x 3 and a 3 x 1 convolution of the same value, joined.
fn row_and_column(g: &mut Graph, p: &Path, x: Value, [row, column]: [&str; 2]) -> Built {
    let row = conv(g, &p.at(row), x, Conv::rect(384, [1, 3]))?;
    let column = conv(g, &p.at(column), x, Conv::rect(384, [3, 1]))?;
    g.concat(&[row, column], 1)
}
