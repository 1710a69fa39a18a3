//! The operations a graph is made of.

use crate::tensor::{DType, Tensor};

/// How a parameter is initialised before training.
#[derive(Clone, Copy, Debug, PartialEq)]
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
}

/// The order of queries, keys and values in the last axis of a packed projection of `heads * 3 * d` channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QkvLayout {
    /// `[heads, 3, d]`: each head's q, k, v side by side (the DDAE UNet).
    HeadMajor,
    /// `[3, heads, d]`: all queries, then all keys, then all values (timm, diffusers).
    QkvMajor,
}

/// What a node computes from its inputs.
///
/// Shapes below are written `[batch, channels, height, width]`; inputs are in the order given.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// A value given when the graph runs.
    Input,
    /// A trained value, looked up under the node's name.
    Parameter {
        /// Its value before training.
        init: Init,
    },
    /// A value known when the graph is built.
    Constant(Tensor),
    /// Cross-correlation of `x [B,C,H,W]` with `weight [O,C,k,k]`, plus `bias [O]` where there is a third input.
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
    /// Normalisation over groups of channels of `x [B,C,H,W]`, then `weight [C]` and `bias [C]`.
    GroupNorm {
        /// Number of groups.
        groups: usize,
        /// Added to the variance.
        eps: f64,
    },
    /// `x * sigmoid(x)`.
    Silu,
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
    /// Mean of non-overlapping squares of `[B,C,H,W]`.
    AvgPool {
        /// Side of a square, and step.
        kernel: usize,
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
            Op::Parameter { .. } => "Parameter",
            Op::Constant(_) => "Constant",
            Op::Conv2d { .. } => "Conv2d",
            Op::Linear => "Linear",
            Op::Gather => "Gather",
            Op::GroupNorm { .. } => "GroupNorm",
            Op::Silu => "Silu",
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
            Op::AvgPool { .. } => "AvgPool",
            Op::Mean { .. } => "Mean",
            Op::Dropout { .. } => "Dropout",
            Op::Cast(_) => "Cast",
        }
    }
}
