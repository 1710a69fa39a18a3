//! The operations a graph is made of.

use std::sync::Arc;

use crate::tensor::{DType, Tensor};

/// How a parameter or a buffer is initialised before training.
#[derive(Clone, Debug, PartialEq)]
pub enum Init {
    /// All zeros.
    Zeros,
    /// All ones.
    Ones,
    /// Uniform in `[-bound, bound]`.
    Uniform {
        /// Half the width of the interval.
        bound: f64,
    },
    /// Normal, of mean 0.
    Normal {
        /// Standard deviation.
        std: f64,
    },
    /// These values, in row-major order: a table that a formula gives.
    Values(Arc<[f32]>),
}

/// The order of queries, keys and values in the last axis of a packed projection of `heads * 3 * d` channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QkvLayout {
    /// `[heads, 3, d]`: each head's q, k, v side by side (the DDAE UNet).
    HeadMajor,
    /// `[3, heads, d]`: all queries, then all keys, then all values (timm, diffusers).
    QkvMajor,
    /// `[heads, d, 3]`: the query, key and value of each channel side by side (EDM's SongUNet).
    ChannelMajor,
}

/// Square windows over the pixels of `[B,C,H,W]`. Only whole ones count:
/// `H' = floor((H + 2 padding - kernel) / stride) + 1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Side of a window.
    pub kernel: usize,
    /// Step between windows, along both axes.
    pub stride: usize,
    /// Pixels added at all four sides; at most half the kernel, so that every window holds a pixel of the image.
    pub padding: usize,
}

/// What a node computes from its inputs.
///
/// Shapes below are written `[batch, channels, height, width]`; inputs are in the order given.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// A value given when the graph runs.
    Input,
    /// A stored value, looked up under the node's name.
    Parameter {
        /// Its value before training.
        init: Init,
        /// Whether the optimiser moves it. What it does not move is a buffer: running statistics, fixed tables.
        trained: bool,
    },
    /// A value known when the graph is built.
    Constant(Tensor),
    /// Cross-correlation of `x [B,C,H,W]` with `weight [O,C,kh,kw]`, plus `bias [O]` where there is a third input.
    Conv2d {
        /// Step between windows, along both axes.
        stride: usize,
        /// Zeros added at the top, left, bottom and right.
        padding: [usize; 4],
    },
    /// `x [.., I] * weight[O,I]^T`, plus `bias [O]` where there is a third input.
    Linear,
    /// Rows of `table [N, ..]` at `index` (i64, `[B]`): `[B, ..]`.
    Gather,
    /// Normalisation over groups of channels of `x [B,C,H,W]`, then `weight [C]` and `bias [C]` where there are three
    /// inputs.
    GroupNorm {
        /// Number of groups.
        groups: usize,
        /// Added to the variance.
        eps: f64,
    },
    /// Normalisation of each channel of `x [B,C,H,W]`, then `weight [C]` and `bias [C]`. In evaluation by the running
    /// mean and variance, the buffers `running_mean [C]` and `running_var [C]` that are the fourth and fifth input; in
    /// training by those of the batch, towards which the running ones are moved (the variance unbiased).
    BatchNorm {
        /// Added to the variance.
        eps: f64,
        /// The part of the way that the running statistics move in a step.
        momentum: f64,
    },
    /// Normalisation over the last axis, without scale and shift.
    LayerNorm {
        /// Added to the variance.
        eps: f64,
    },
    /// Division by the root of the mean square along an axis.
    RmsNorm {
        /// The axis.
        axis: usize,
        /// Added to the mean square.
        eps: f64,
    },
    /// The parameter that is its input, with each row `w` (all axes but the first) scaled to about the root mean square
    /// `rms`: `rms w / (eps + rms(w))`. In training, the stored parameter is first overwritten by its rows scaled to 1,
    /// outside the gradient (forced weight normalisation, arXiv 2312.02696, eq. 66).
    WeightNorm {
        /// Added to a row's root mean square.
        eps: f64,
        /// The root mean square of the result's rows.
        rms: f64,
    },
    /// `max(x, 0)`.
    Relu,
    /// `x * sigmoid(x)`.
    Silu,
    /// `x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))`.
    GeluTanh,
    /// Square root.
    Sqrt,
    /// Exponential.
    Exp,
    /// Logarithm of the softmax over the last axis: `x - ln sum exp x`.
    LogSoftmax,
    /// Softmax attention on packed projections `[B, N, 3*C]`: `[B, N, C]`. Scores are scaled by `d^(-1/2)`.
    Attention {
        /// Number of heads.
        heads: usize,
        /// Order within the packed axis.
        layout: QkvLayout,
    },
    /// The same elements in the node's shape.
    Reshape,
    /// Axes in another order.
    Transpose {
        /// `output axis i = input axis axes[i]`.
        axes: Vec<usize>,
    },
    /// Joined along an axis.
    Concat {
        /// The axis.
        axis: usize,
    },
    /// A range along an axis.
    Slice {
        /// The axis.
        axis: usize,
        /// First index.
        start: usize,
        /// Number of indices.
        length: usize,
    },
    /// `a + b`, broadcast.
    Add,
    /// `a - b`, broadcast.
    Sub,
    /// `a * b`, broadcast.
    Mul,
    /// `a / b`, broadcast.
    Div,
    /// `factor * x + shift`.
    Affine {
        /// Multiplies.
        factor: f64,
        /// Is added.
        shift: f64,
    },
    /// Limits each element.
    Clamp {
        /// Lower limit.
        min: f64,
        /// Upper limit.
        max: f64,
    },
    /// Sine.
    Sin,
    /// Cosine.
    Cos,
    /// Each pixel of `[B,C,H,W]` repeated along both axes.
    UpsampleNearest {
        /// Number of repetitions.
        factor: usize,
    },
    /// Each image of `[B,C,H,W]` in another size: between the four nearest pixels, by distance. Pixels are squares
    /// whose centres lie at half numbers, and nothing is smoothed before the image becomes smaller.
    ResizeBilinear {
        /// New height.
        height: usize,
        /// New width.
        width: usize,
    },
    /// The largest pixel of each window of `[B,C,H,W]`; those of the padding do not count.
    MaxPool(Window),
    /// The mean of each window of `[B,C,H,W]`.
    AvgPool {
        /// The windows.
        window: Window,
        /// Whether the padding counts, as zeros.
        count_include_pad: bool,
    },
    /// Zeros before and after the elements, along an axis.
    Pad {
        /// The axis.
        axis: usize,
        /// Number of zeros before.
        before: usize,
        /// Number of zeros after.
        after: usize,
    },
    /// Mean over axes, which are removed.
    Mean {
        /// The axes, ascending.
        axes: Vec<usize>,
    },
    /// In training, zeroes elements with this probability and scales the others by `1/(1-p)`; else nothing.
    Dropout {
        /// The probability.
        p: f64,
    },
    /// Another element type.
    Cast(DType),
}

impl Op {
    /// The operation's name, without its attributes.
    pub fn name(&self) -> &'static str {
        match self {
            Op::Input => "Input",
            Op::Parameter { trained: true, .. } => "Parameter",
            Op::Parameter { trained: false, .. } => "Buffer",
            Op::Constant(_) => "Constant",
            Op::Conv2d { .. } => "Conv2d",
            Op::Linear => "Linear",
            Op::Gather => "Gather",
            Op::GroupNorm { .. } => "GroupNorm",
            Op::BatchNorm { .. } => "BatchNorm",
            Op::LayerNorm { .. } => "LayerNorm",
            Op::RmsNorm { .. } => "RmsNorm",
            Op::WeightNorm { .. } => "WeightNorm",
            Op::Relu => "Relu",
            Op::Silu => "Silu",
            Op::GeluTanh => "GeluTanh",
            Op::Sqrt => "Sqrt",
            Op::Exp => "Exp",
            Op::LogSoftmax => "LogSoftmax",
            Op::Attention { .. } => "Attention",
            Op::Reshape => "Reshape",
            Op::Transpose { .. } => "Transpose",
            Op::Concat { .. } => "Concat",
            Op::Slice { .. } => "Slice",
            Op::Add => "Add",
            Op::Sub => "Sub",
            Op::Mul => "Mul",
            Op::Div => "Div",
            Op::Affine { .. } => "Affine",
            Op::Clamp { .. } => "Clamp",
            Op::Sin => "Sin",
            Op::Cos => "Cos",
            Op::UpsampleNearest { .. } => "UpsampleNearest",
            Op::ResizeBilinear { .. } => "ResizeBilinear",
            Op::MaxPool(_) => "MaxPool",
            Op::AvgPool { .. } => "AvgPool",
            Op::Pad { .. } => "Pad",
            Op::Mean { .. } => "Mean",
            Op::Dropout { .. } => "Dropout",
            Op::Cast(_) => "Cast",
        }
    }
}
