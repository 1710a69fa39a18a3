//! Each operation of a graph as the operations of libtorch.

use ddae_model::graph::{Op, QkvLayout, Shape, Window};
use ddae_model::tensor::DType;
use tch::{Device, Kind, TchError, Tensor};

use super::convert;
use super::network::{Mode, Precision, Share};
use super::plan::{Kernel, Norm, Step};
use super::shim::{self, GroupNormSilu, RowScale};

type Lowered = Result<Tensor, TchError>;

/// What is the same for all steps of one run.
pub(super) struct Context<'a> {
    pub batch: usize,
    /// Element type of the graph's f32.
    pub kind: Kind,
    pub cuda: bool,
    /// Whether norms are computed by the project's kernels for CUDA.
    pub kernels: bool,
    /// Decides there which elements are dropped.
    pub seed: Option<Tensor>,
    pub mode: Mode,
    /// The part of a batch that this is.
    pub share: Option<&'a Share>,
}

impl Context<'_> {
    fn sizes(&self, shape: &Shape) -> Vec<i64> {
        convert::sizes(&shape.resolve(self.batch))
    }

    /// The type of `x`, or where it has 16 bits that of the graph.
    fn widened(&self, x: &Tensor) -> Kind {
        if matches!(x.kind(), Kind::BFloat16 | Kind::Half) { self.kind } else { x.kind() }
    }

    /// `x` as the matrix units take it.
    fn multiplied(&self, x: &Tensor) -> Lowered {
        match self.mode.precision {
            Precision::Full => Ok(x.shallow_clone()),
            Precision::Bf16 => x.f_to_kind(Kind::BFloat16),
            Precision::Fp16 => x.f_to_kind(Kind::Half),
        }
    }
}

/// Computes one step.
pub(super) fn run(step: &Step, operands: &[&Tensor], context: &Context<'_>) -> Lowered {
    match &step.kernel {
        Kernel::Op(op) => node(op, &step.shape, operands, context),
        Kernel::Norm(settings) => norm(settings, operands, context),
        Kernel::UpsampleConv => upsample_conv(operands, context),
        Kernel::BiasSum => with_bias(operands[0].shallow_clone(), Some(operands[1]), operands[2]),
    }
}

fn node(op: &Op, shape: &Shape, operands: &[&Tensor], context: &Context<'_>) -> Lowered {
    let x = operands[0];
    match op {
        Op::Conv2d { stride, padding } => {
            conv2d(operands, *stride as i64, padding.map(|n| n as i64), context)
        }
        Op::Linear => {
            let x = context.multiplied(x)?;
            let weight = context.multiplied(operands[1])?;
            let bias = operands.get(2).map(|bias| context.multiplied(bias)).transpose()?;
            x.f_linear(&weight, bias)
        }
        Op::Gather => x.f_index_select(0, operands[1]),
        Op::BatchNorm { eps, momentum } => batch_norm(operands, *eps, *momentum, context),
        Op::LayerNorm { eps } => {
            let features = x.size().last().copied().unwrap_or(1);
            x.f_layer_norm([features], None::<&Tensor>, None::<&Tensor>, *eps, true)
        }
        Op::RmsNorm { axis, eps } => scaled_rows(x, &[*axis as i64], RowScale::Unit { eps: *eps }),
        Op::WeightNorm { eps, rms } => weight_norm(x, *eps, *rms, context),
        Op::Relu => x.f_relu(),
        Op::Silu => x.f_silu(),
        Op::GeluTanh => x.f_gelu("tanh"),
        Op::Sqrt => x.f_sqrt(),
        // As in PyTorch's autocast: 16 bits would be coarse.
        Op::Exp => x.f_to_kind(context.widened(x))?.f_exp(),
        Op::LogSoftmax => x.f_log_softmax(-1, context.widened(x)),
        Op::Attention { heads, layout } => attention(x, *heads as i64, *layout),
        Op::Reshape => x.f_reshape(context.sizes(shape)),
        Op::Transpose { axes } => x.f_permute(convert::sizes(axes)),
        Op::Concat { axis } => Tensor::f_cat(operands, *axis as i64),
        Op::Slice { axis, start, length } => x.f_narrow(*axis as i64, *start as i64, *length as i64),
        Op::Add => x.f_add(operands[1]),
        Op::Sub => x.f_sub(operands[1]),
        Op::Mul => x.f_mul(operands[1]),
        Op::Div => x.f_div(operands[1]),
        Op::Affine { factor, shift } => match (*factor, *shift) {
            (factor, 0.0) => x.f_mul_scalar(factor),
            (1.0, shift) => x.f_add_scalar(shift),
            (factor, shift) => x.f_mul_scalar(factor)?.f_add_scalar(shift),
        },
        Op::Clamp { min, max } => x.f_clamp(*min, *max),
        Op::Sin => x.f_sin(),
        Op::Cos => x.f_cos(),
        Op::UpsampleNearest { .. } => x.f_upsample_nearest2d(&context.sizes(shape)[2..], None, None),
        Op::ResizeBilinear { height, width } => {
            x.f_upsample_bilinear2d([*height as i64, *width as i64], false, None, None)
        }
        Op::MaxPool(window) => {
            let [kernel, stride, padding] = sides(*window);
            x.f_max_pool2d(kernel, stride, padding, [1, 1], false)
        }
        Op::AvgPool { window, count_include_pad } => {
            let [kernel, stride, padding] = sides(*window);
            x.f_avg_pool2d(kernel, stride, padding, false, *count_include_pad, None)
        }
        Op::Pad { axis, before, after } => {
            // From the last axis on, zeros before and after each.
            let mut zeros = vec![0; 2 * (shape.rank() - axis)];
            let place = zeros.len() - 2;
            (zeros[place], zeros[place + 1]) = (*before as i64, *after as i64);
            x.f_constant_pad_nd(zeros)
        }
        Op::Mean { axes } => x.f_mean_dim(convert::sizes(axes), false, context.widened(x)),
        Op::Dropout { p } => dropout(x, *p, context),
        Op::Cast(dtype) => {
            x.f_to_kind(if *dtype == DType::F32 { context.kind } else { convert::kind(*dtype) })
        }
        Op::GroupNorm { groups, eps } => norm(&Norm::new(*groups, *eps, operands.len()), operands, context),
        Op::Input | Op::Parameter { .. } | Op::Constant(_) => Ok(x.shallow_clone()),
    }
}

/// Kernel, stride and padding along both axes.
fn sides(window: Window) -> [[i64; 2]; 3] {
    [window.kernel, window.stride, window.padding].map(|n| [n as i64; 2])
}

/// Operands `x`, `weight`, `bias`, `running_mean` and `running_var`; in training the last two are moved.
fn batch_norm(operands: &[&Tensor], eps: f64, momentum: f64, context: &Context<'_>) -> Lowered {
    let x = operands[0];
    if let (true, Some(group)) = (context.mode.train, context.share.and_then(|share| share.group.as_ref())) {
        let of_channels = [1, 2, 3, 4].map(|i| operands[i]);
        let y = group.batch_norm(x, of_channels, eps, momentum);
        return y.map_err(|error| TchError::Torch(error.to_string()));
    }
    let per_channel = x.numel() / operands[1].numel().max(1);
    if context.mode.train && per_channel < 2 {
        let message = "one value per channel has no variance to train with: take more samples at a time";
        return Err(TchError::Torch(message.to_string()));
    }
    let [weight, bias, mean, variance] = [1, 2, 3, 4].map(|i| Some(operands[i]));
    x.f_batch_norm(weight, bias, mean, variance, context.mode.train, momentum, eps, true)
}

/// `dropout(silu(group_norm(x + before + shift) * weight + bias))`.
fn norm(norm: &Norm, operands: &[&Tensor], context: &Context<'_>) -> Lowered {
    let x = operands[0];
    let [weight, bias, shift, before] =
        [norm.weight, norm.bias, norm.shift, norm.before].map(|at| at.map(|at| operands[at]));
    let before = before.map(|before| before.f_reshape([1, -1, 1, 1])).transpose()?;
    let moved = shift.zip(before.as_ref()).map(|(shift, before)| shift.f_add(before)).transpose()?;
    let shift = moved.as_ref().or(shift);
    let dropout = if context.mode.train { norm.dropout } else { 0.0 };
    let types: &[Kind] = match context.cuda {
        true => &[Kind::Float, Kind::Half, Kind::BFloat16],
        false => &[Kind::Float, Kind::Double, Kind::BFloat16],
    };
    let kernel = types.contains(&x.kind())
        && (!context.cuda || (context.kernels && shim::cuda::fits_kernel(x, norm.groups)));
    if kernel && shim::is_channels_last(x).is_ok_and(|yes| yes) {
        let per_channel = |x: Option<&Tensor>| {
            let rows = |x: &Tensor| if x.dim() == 4 { x.f_flatten(1, -1) } else { Ok(x.shallow_clone()) };
            x.map(rows).transpose()
        };
        let (weight, shift) = (per_channel(weight)?, per_channel(shift)?);
        let (weight, shift) = (weight.as_ref(), shift.as_ref());
        let options =
            |seed| GroupNormSilu { groups: norm.groups, eps: norm.eps, silu: norm.silu, dropout, seed };
        let result = if context.cuda {
            let offset = seed_offset(x, context);
            let moved = context.seed.as_ref().filter(|_| offset != 0);
            let moved = moved.map(|seed| seed.f_add_scalar(offset)).transpose()?;
            let seed = moved.as_ref().or(context.seed.as_ref());
            shim::cuda::group_norm_silu(x, shift, weight, bias, seed, options(norm.layer as i64))
        } else {
            // From libtorch's generator, so that a seeded run repeats itself.
            let seed = match dropout > 0.0 {
                true => i64::try_from(&Tensor::f_randint(i64::MAX, [1], (Kind::Int64, Device::Cpu))?)?,
                false => 0,
            };
            let seed = seed.wrapping_add(seed_offset(x, context));
            shim::group_norm_silu(x, shift, weight, bias, options(seed))
        };
        return result.map_err(|error| TchError::Torch(error.to_string()));
    }
    let shifted = shift.map(|shift| x.f_add(shift)).transpose()?;
    let x = shifted.as_ref().unwrap_or(x);
    // CUDA's kernel wants one type for all; statistics in 16 bits would lose too much.
    let x = if context.cuda { x.f_to_kind(context.kind)? } else { x.shallow_clone() };
    let (weight, scale) = if weight.is_some_and(|w| w.dim() == 4) { (None, weight) } else { (weight, None) };
    let mut result = x.f_group_norm(norm.groups as i64, weight, bias, norm.eps, true)?;
    if let Some(scale) = scale {
        result = result.f_mul(scale)?;
    }
    if norm.silu {
        result = result.f_silu()?;
    }
    if norm.dropout > 0.0 { self::dropout(&result, norm.dropout, context) } else { Ok(result) }
}

/// What is added to the seed of a norm's dropout for a part of a batch: the kernels count pixels from the first image on, each as
/// this much of a seed.
fn seed_offset(x: &Tensor, context: &Context<'_>) -> i64 {
    let Some(share) = context.share else { return 0 };
    let pixels: i64 = x.size().iter().skip(2).product();
    (share.first as i64).wrapping_mul(pixels).wrapping_mul(0x9E37_79B9_7F4A_7C15_u64 as i64)
}

/// Elements that are dropped, drawn for the whole batch where this is a part of one.
fn dropout(x: &Tensor, p: f64, context: &Context<'_>) -> Lowered {
    let share = context.share.filter(|_| context.mode.train && p > 0.0);
    let Some(share) = share else { return x.f_dropout(p, context.mode.train) };
    let (mut whole, rows) = (x.size(), x.size()[0]);
    // Of one sample there may be several rows.
    let of_sample = rows / context.batch.max(1) as i64;
    whole[0] = of_sample * share.total as i64;
    let drawn = Tensor::f_empty(whole, (x.kind(), x.device()))?;
    let last = shim::is_channels_last(x).is_ok_and(|yes| yes && x.dim() == 4);
    let mut drawn = match last {
        true => shim::channels_last(&drawn).map_err(|error| TchError::Torch(error.to_string()))?,
        false => drawn,
    };
    let kept = drawn.f_bernoulli_float_(1.0 - p)?.f_div_scalar_(1.0 - p)?;
    x.f_mul(&kept.f_narrow(0, of_sample * share.first as i64, rows)?)
}

/// Each row of a stored weight with the root mean square `rms`. In training, the weight itself becomes what it would be
/// with 1 first.
fn weight_norm(weight: &Tensor, eps: f64, rms: f64, context: &Context<'_>) -> Lowered {
    let others: Vec<i64> = (1..weight.dim() as i64).collect();
    if context.mode.train {
        tch::no_grad(|| {
            let per_row = (weight.numel() as f64 / weight.size()[0] as f64).sqrt();
            let length = weight.f_norm_scalaropt_dim(2.0, &others, true)?;
            let divisor = length.f_mul_scalar(1.0 / per_row)?.f_add_scalar(eps)?;
            weight.shallow_clone().f_mul_(&divisor.f_reciprocal()?).map(|_| ())
        })?;
    }
    scaled_rows(weight, &others, RowScale::To { rms, eps })
}

fn scaled_rows(x: &Tensor, axes: &[i64], scale: RowScale) -> Lowered {
    shim::scaled_rows(x, axes, scale).map_err(|error| TchError::Torch(error.to_string()))
}

fn conv2d(operands: &[&Tensor], stride: i64, padding: [i64; 4], context: &Context<'_>) -> Lowered {
    let [top, left, bottom, right] = padding;
    let size = operands[0].size();
    // oneDNN, in 16 bits, does not set the gradients of weights that only see padding where a strided convolution has a
    // single row or column to see. It has little to multiply there.
    let unset = !context.cuda && stride > 1 && size[2].min(size[3]) == 1;
    let multiplied = |x: &Tensor| if unset { x.f_to_kind(context.kind) } else { context.multiplied(x) };
    let (x, weight) = (multiplied(operands[0])?, multiplied(operands[1])?);
    let bias = operands.get(2).map(|bias| multiplied(bias)).transpose()?;
    // libtorch's convolution pads both sides alike.
    let (x, padding) = match top == bottom && left == right {
        true => (x, [top, left]),
        false => (x.f_constant_pad_nd([left, right, top, bottom])?, [0, 0]),
    };
    if let (true, Some(bias)) = (context.kernels, operands.get(2)) {
        let y = x.f_conv2d(&weight, None::<&Tensor>, [stride, stride], padding, [1, 1], 1)?;
        return with_bias(y, None, bias);
    }
    x.f_conv2d(&weight, bias, [stride, stride], padding, [1, 1], 1)
}

/// `x + residual + bias` by the project's kernel for CUDA where that can.
fn with_bias(x: Tensor, residual: Option<&Tensor>, bias: &Tensor) -> Lowered {
    let is_like_x = |other: &Tensor| {
        other.kind() == x.kind()
            && other.size() == x.size()
            && shim::is_channels_last(other).is_ok_and(|yes| yes)
    };
    let fits = x.device().is_cuda() && shim::cuda::fits_bias_sum(&x);
    if fits && is_like_x(&x) && residual.is_none_or(is_like_x) {
        let sum = shim::cuda::bias_sum(&x, residual, bias);
        return sum.map_err(|error| TchError::Torch(error.to_string()));
    }
    let sum = x.f_add(&bias.f_to_kind(x.kind())?.f_reshape([1, -1, 1, 1])?)?;
    residual.map_or_else(|| Ok(sum.shallow_clone()), |residual| sum.f_add(residual))
}

/// Nearest upsampling by 2, then a 3x3 convolution.
///
/// Every pixel of the result sees only 2x2 different ones, so this is a transposed convolution of stride 2 whose 4x4
/// weights are sums of the 3x3 ones: 4/9 of the work. Along one axis, with `w` the three weights, those of an input
/// pixel's four results are `w2, w1 + w2, w0 + w1, w0`. The matrix units' 16-bit kernels for it are so much slower
/// that it does not pay there.
fn upsample_conv(operands: &[&Tensor], context: &Context<'_>) -> Lowered {
    let (x, weight) = (operands[0], operands[1]);
    if context.cuda || context.mode.precision != Precision::Full {
        let size = x.size();
        let large = x.f_upsample_nearest2d([2 * size[2], 2 * size[3]], None, None)?;
        let conv: Vec<&Tensor> = std::iter::once(&large).chain(operands[1..].iter().copied()).collect();
        return conv2d(&conv, 1, [1; 4], context);
    }
    let flipped = weight.f_flip([2, 3])?.f_transpose(0, 1)?;
    let rows = flipped.f_constant_pad_nd([0, 0, 0, 1])?.f_add(&flipped.f_constant_pad_nd([0, 0, 1, 0])?)?;
    let sums = rows.f_constant_pad_nd([0, 1])?.f_add(&rows.f_constant_pad_nd([1, 0])?)?;
    let sums = if shim::is_channels_last(x).is_ok_and(|yes| yes) {
        shim::channels_last(&sums).map_err(|error| TchError::Torch(error.to_string()))?
    } else {
        sums.f_contiguous()?
    };
    x.f_conv_transpose2d(&sums, operands.get(2).copied(), [2, 2], [1, 1], [0, 0], 1, [1, 1])
}

/// Attention without a copy, unless each channel's query, key and value are side by side: queries, keys and values are
/// views of the packed projections `[B, N, 3*C]`.
fn attention(qkv: &Tensor, heads: i64, layout: QkvLayout) -> Lowered {
    let size = qkv.size();
    let (batch, tokens, width) = (size[0], size[1], size[2] / (3 * heads));
    let (packed, axis) = match layout {
        QkvLayout::HeadMajor => ([batch, tokens, heads, 3, width], 3),
        QkvLayout::QkvMajor => ([batch, tokens, 3, heads, width], 2),
        QkvLayout::ChannelMajor => ([batch, tokens, heads, width, 3], 4),
    };
    // Unbound rather than selected one by one: the gradient of each would be as large as that of all.
    let parts = qkv.f_reshape(packed)?.f_unbind(axis)?;
    let part = |i: usize| {
        // The fast kernels want a head's channels next to each other.
        let part = if layout == QkvLayout::ChannelMajor {
            parts[i].f_contiguous()?
        } else {
            parts[i].shallow_clone()
        };
        part.f_transpose(1, 2)
    };
    let (q, k, v) = (part(0)?, part(1)?, part(2)?);
    let mixed = Tensor::f_scaled_dot_product_attention(&q, &k, &v, None::<&Tensor>, 0.0, false, None, false)?;
    mixed.f_transpose(1, 2)?.f_reshape([batch, tokens, heads * width])
}
