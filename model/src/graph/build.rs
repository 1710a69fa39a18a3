//! Building: one method per operation, shapes checked at once, parameters named by their path.

use std::fmt;

use super::{Dim, Graph, GraphError, Init, Op, QkvLayout, Shape, Value};
use crate::tensor::{DType, Tensor};

type Built = Result<Value, GraphError>;

/// Where a layer sits in the network: the prefix of its parameters' names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Path(String);

impl Path {
    /// The network itself.
    pub fn root() -> Path {
        Path::default()
    }

    /// A part of this layer.
    pub fn at(&self, part: impl fmt::Display) -> Path {
        Path(if self.0.is_empty() { part.to_string() } else { format!("{}.{part}", self.0) })
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The attributes of a convolution layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv {
    /// Channels of the result.
    pub channels: usize,
    /// Side of the square kernel.
    pub kernel: usize,
    /// Step between windows.
    pub stride: usize,
    /// Zeros added at the top, left, bottom and right.
    pub padding: [usize; 4],
    /// Whether a bias is added.
    pub bias: bool,
}

impl Conv {
    /// A `kernel` x `kernel` convolution that keeps the size of the picture, with bias.
    pub fn same(channels: usize, kernel: usize) -> Conv {
        Conv { channels, kernel, stride: 1, padding: [kernel / 2; 4], bias: true }
    }

    /// The same convolution at every second pixel.
    pub fn stride(self, stride: usize) -> Conv {
        Conv { stride, ..self }
    }
}

impl Graph {
    fn fail<T>(&self, path: impl fmt::Display, message: String) -> Result<T, GraphError> {
        Err(GraphError::Shape { path: path.to_string(), message })
    }

    /// A name for a layer without parameters.
    fn generated(&self, op: &Op) -> String {
        format!("{}_{}", op.name(), self.nodes.len())
    }

    fn add_node(&mut self, op: Op, inputs: &[Value], shape: Shape) -> Built {
        let dtype = inputs.first().map_or(DType::F32, |v| self.node(*v).dtype);
        let name = self.generated(&op);
        self.push(name, op, inputs.to_vec(), shape, dtype)
    }

    /// Refuses operands that are not float32: what layers with parameters compute with.
    fn want_f32(&self, path: impl fmt::Display, x: Value) -> Result<(), GraphError> {
        match self.node(x).dtype {
            DType::F32 => Ok(()),
            other => self.fail(path, format!("wants f32, got {other}")),
        }
    }

    /// The fixed sizes `[C, H, W]` of a picture value.
    fn picture(&self, path: impl fmt::Display, x: Value) -> Result<[usize; 3], GraphError> {
        let shape = self.shape(x);
        match (shape.rank(), shape.size(1), shape.size(2), shape.size(3)) {
            (4, Some(c), Some(h), Some(w)) => Ok([c, h, w]),
            _ => self.fail(path, format!("wants [B, C, H, W], got {shape}")),
        }
    }

    /// A value given when the graph runs.
    pub fn input(&mut self, name: &str, dtype: DType, shape: Shape) -> Built {
        self.push(name.to_string(), Op::Input, vec![], shape, dtype)
    }

    /// A trained float32 value of the given name.
    pub fn parameter(&mut self, path: &Path, shape: &[usize], init: Init) -> Built {
        self.push(path.to_string(), Op::Parameter { init }, vec![], Shape::fixed(shape), DType::F32)
    }

    /// A value known now.
    pub fn constant(&mut self, value: Tensor) -> Built {
        let (shape, dtype) = (Shape::fixed(value.shape()), value.dtype());
        let op = Op::Constant(value);
        let name = self.generated(&op);
        self.push(name, op, vec![], shape, dtype)
    }

    /// A convolution layer `{path}.weight`, `{path}.bias` on `x [B,C,H,W]`.
    pub fn conv2d(&mut self, path: &Path, x: Value, conv: Conv) -> Built {
        self.want_f32(path, x)?;
        let [channels, height, width] = self.picture(path, x)?;
        let Conv { channels: out, kernel, stride, padding, bias } = conv;
        let fan_in = channels * kernel * kernel;
        let init = Init::Uniform { bound: 1.0 / (fan_in as f64).sqrt() };
        let mut inputs = vec![x, self.parameter(&path.at("weight"), &[out, channels, kernel, kernel], init)?];
        if bias {
            inputs.push(self.parameter(&path.at("bias"), &[out], init)?);
        }
        let [top, left, bottom, right] = padding;
        let (padded_height, padded_width) = (height + top + bottom, width + left + right);
        if stride == 0 || kernel == 0 || padded_height < kernel || padded_width < kernel {
            return self.fail(
                path,
                format!("a {kernel}x{kernel} kernel with stride {stride} does not fit {height}x{width}"),
            );
        }
        let shape = self.shape(x).with(1, out);
        let shape = shape
            .with(2, (padded_height - kernel) / stride + 1)
            .with(3, (padded_width - kernel) / stride + 1);
        self.push(path.to_string(), Op::Conv2d { stride, padding }, inputs, shape, DType::F32)
    }

    /// A linear layer `{path}.weight`, `{path}.bias` on the last axis of `x`.
    pub fn linear(&mut self, path: &Path, x: Value, features: usize, bias: bool) -> Built {
        self.want_f32(path, x)?;
        let last = self.shape(x).rank().saturating_sub(1);
        let Some(fan_in) = self.shape(x).size(last) else {
            return self.fail(path, format!("wants [.., features], got {}", self.shape(x)));
        };
        let init = Init::Uniform { bound: 1.0 / (fan_in as f64).sqrt() };
        let mut inputs = vec![x, self.parameter(&path.at("weight"), &[features, fan_in], init)?];
        if bias {
            inputs.push(self.parameter(&path.at("bias"), &[features], init)?);
        }
        let shape = self.shape(x).with(last, features);
        self.push(path.to_string(), Op::Linear, inputs, shape, DType::F32)
    }

    /// Group normalisation with scale `{path}.weight` and shift `{path}.bias`.
    pub fn group_norm(&mut self, path: &Path, x: Value, groups: usize, eps: f64) -> Built {
        self.want_f32(path, x)?;
        let [channels, ..] = self.picture(path, x)?;
        if groups == 0 || channels % groups != 0 {
            return self.fail(path, format!("{channels} channels do not split into {groups} groups"));
        }
        let weight = self.parameter(&path.at("weight"), &[channels], Init::Ones)?;
        let bias = self.parameter(&path.at("bias"), &[channels], Init::Zeros)?;
        let shape = self.shape(x).clone();
        self.push(path.to_string(), Op::GroupNorm { groups, eps }, vec![x, weight, bias], shape, DType::F32)
    }

    /// The rows of `table [N, ..]` at `index` (i64, `[B]`).
    pub fn gather(&mut self, table: Value, index: Value) -> Built {
        let (rows, at) = (self.shape(table).clone(), self.shape(index).clone());
        if rows.rank() == 0 || at.rank() != 1 || self.node(index).dtype != DType::I64 {
            return self.fail("Gather", format!("wants a table and an i64 [B], got {rows} and {at}"));
        }
        let shape = rows.with(0, at.dims()[0]);
        self.add_node(Op::Gather, &[table, index], shape)
    }

    /// Attention on packed projections `[B, N, 3*C]`.
    pub fn attention(&mut self, path: &Path, qkv: Value, heads: usize, layout: QkvLayout) -> Built {
        self.want_f32(path, qkv)?;
        let shape = self.shape(qkv).clone();
        match (shape.rank(), shape.size(2)) {
            (3, Some(packed)) if heads > 0 && packed % (3 * heads) == 0 => {
                let shape = shape.with(2, packed / 3);
                let path = path.at("attention").to_string();
                self.push(path, Op::Attention { heads, layout }, vec![qkv], shape, DType::F32)
            }
            _ => self.fail(path, format!("wants [B, N, 3 x {heads} heads x d], got {shape}")),
        }
    }

    /// `x * sigmoid(x)`.
    pub fn silu(&mut self, x: Value) -> Built {
        self.elementwise(Op::Silu, x)
    }

    /// `factor * x + shift`.
    pub fn affine(&mut self, x: Value, factor: f64, shift: f64) -> Built {
        self.elementwise(Op::Affine { factor, shift }, x)
    }

    /// `x` limited to `[min, max]`.
    pub fn clamp(&mut self, x: Value, min: f64, max: f64) -> Built {
        self.elementwise(Op::Clamp { min, max }, x)
    }

    /// Sine.
    pub fn sin(&mut self, x: Value) -> Built {
        self.elementwise(Op::Sin, x)
    }

    /// Cosine.
    pub fn cos(&mut self, x: Value) -> Built {
        self.elementwise(Op::Cos, x)
    }

    /// Dropout in training.
    pub fn dropout(&mut self, x: Value, p: f64) -> Built {
        if !(0.0..1.0).contains(&p) {
            return self.fail("Dropout", format!("the probability {p} is not in [0, 1)"));
        }
        self.elementwise(Op::Dropout { p }, x)
    }

    /// `x` as another element type.
    pub fn cast(&mut self, x: Value, dtype: DType) -> Built {
        let op = Op::Cast(dtype);
        let (name, shape) = (self.generated(&op), self.shape(x).clone());
        self.push(name, op, vec![x], shape, dtype)
    }

    fn elementwise(&mut self, op: Op, x: Value) -> Built {
        let dtype = self.node(x).dtype;
        if !matches!(dtype, DType::F32 | DType::F64) {
            return self.fail(op.name(), format!("wants f32 or f64, got {dtype}"));
        }
        let shape = self.shape(x).clone();
        self.add_node(op, &[x], shape)
    }

    /// `a + b`, broadcast.
    #[allow(clippy::should_implement_trait)]
    pub fn add(&mut self, a: Value, b: Value) -> Built {
        self.binary(Op::Add, a, b)
    }

    /// `a - b`, broadcast.
    #[allow(clippy::should_implement_trait)]
    pub fn sub(&mut self, a: Value, b: Value) -> Built {
        self.binary(Op::Sub, a, b)
    }

    /// `a * b`, broadcast.
    #[allow(clippy::should_implement_trait)]
    pub fn mul(&mut self, a: Value, b: Value) -> Built {
        self.binary(Op::Mul, a, b)
    }

    /// `a / b`, broadcast.
    #[allow(clippy::should_implement_trait)]
    pub fn div(&mut self, a: Value, b: Value) -> Built {
        self.binary(Op::Div, a, b)
    }

    fn binary(&mut self, op: Op, a: Value, b: Value) -> Built {
        let (left, right) = (self.node(a), self.node(b));
        match left.shape.broadcast(&right.shape) {
            Some(shape) if left.dtype == right.dtype => self.add_node(op, &[a, b], shape),
            _ => {
                let message = format!(
                    "{} {} and {} {} do not broadcast ({} and {})",
                    left.dtype, left.shape, right.dtype, right.shape, left.name, right.name
                );
                self.fail(op.name(), message)
            }
        }
    }

    /// The same elements in another shape.
    pub fn reshape(&mut self, x: Value, shape: Shape) -> Built {
        let from = self.shape(x);
        if from.per_sample() != shape.per_sample() || from.has_batch() != shape.has_batch() {
            return self.fail("Reshape", format!("{from} does not fill {shape}"));
        }
        self.add_node(Op::Reshape, &[x], shape)
    }

    /// `x [N]` or `[N, C]` with ones appended, so that it multiplies pictures: `[N, 1, 1, 1]` or `[N, C, 1, 1]`.
    pub fn per_picture(&mut self, x: Value) -> Built {
        let mut dims = self.shape(x).dims().to_vec();
        dims.resize(4, Dim::Size(1));
        self.reshape(x, Shape::of(dims))
    }

    /// Axes in another order: `output axis i = input axis axes[i]`.
    pub fn transpose(&mut self, x: Value, axes: &[usize]) -> Built {
        let from = self.shape(x).clone();
        let mut sorted = axes.to_vec();
        sorted.sort_unstable();
        if !sorted.iter().copied().eq(0..from.rank()) {
            return self.fail("Transpose", format!("{axes:?} is no order of the axes of {from}"));
        }
        let shape = Shape::of(axes.iter().map(|&a| from.dims()[a]).collect());
        self.add_node(Op::Transpose { axes: axes.to_vec() }, &[x], shape)
    }

    /// `parts` joined along `axis`.
    pub fn concat(&mut self, parts: &[Value], axis: usize) -> Built {
        let Some(first) = parts.first().map(|v| self.shape(*v).clone()) else {
            return self.fail("Concat", "nothing to join".to_string());
        };
        let mut total = 0;
        for part in parts {
            let shape = self.shape(*part);
            match shape.size(axis) {
                Some(size) if shape.rank() == first.rank() && shape.with(axis, 0) == first.with(axis, 0) => {
                    total += size;
                }
                _ => {
                    return self.fail("Concat", format!("{first} and {shape} do not join along axis {axis}"));
                }
            }
        }
        self.add_node(Op::Concat { axis }, parts, first.with(axis, total))
    }

    /// `length` indices from `start` along `axis`.
    pub fn slice(&mut self, x: Value, axis: usize, start: usize, length: usize) -> Built {
        let shape = self.shape(x).clone();
        match shape.size(axis) {
            Some(size) if start + length <= size && length > 0 => {
                self.add_node(Op::Slice { axis, start, length }, &[x], shape.with(axis, length))
            }
            _ => self.fail("Slice", format!("{start}..{} is outside axis {axis} of {shape}", start + length)),
        }
    }

    /// Each pixel repeated `factor` times along both axes.
    pub fn upsample_nearest(&mut self, x: Value, factor: usize) -> Built {
        let [_, height, width] = self.picture("UpsampleNearest", x)?;
        let shape = self.shape(x).with(2, height * factor).with(3, width * factor);
        self.add_node(Op::UpsampleNearest { factor }, &[x], shape)
    }

    /// Mean of non-overlapping `kernel` x `kernel` squares.
    pub fn avg_pool(&mut self, x: Value, kernel: usize) -> Built {
        let [_, height, width] = self.picture("AvgPool", x)?;
        if kernel == 0 || height % kernel != 0 || width % kernel != 0 {
            return self.fail("AvgPool", format!("{height}x{width} is no multiple of {kernel}x{kernel}"));
        }
        let shape = self.shape(x).with(2, height / kernel).with(3, width / kernel);
        self.add_node(Op::AvgPool { kernel }, &[x], shape)
    }

    /// Mean over `axes` (ascending), which are removed.
    pub fn mean(&mut self, x: Value, axes: &[usize]) -> Built {
        let from = self.shape(x).clone();
        let ascending = axes.windows(2).all(|w| w[0] < w[1]);
        if axes.is_empty() || !ascending || axes.iter().any(|&a| from.size(a).is_none()) {
            return self.fail("Mean", format!("the axes {axes:?} do not fit {from}"));
        }
        let dims =
            from.dims().iter().enumerate().filter(|(i, _)| !axes.contains(i)).map(|(_, d)| *d).collect();
        self.add_node(Op::Mean { axes: axes.to_vec() }, &[x], Shape::of(dims))
    }

    /// The spatial mean of a feature map: `[B,C,H,W]` to `[B,C]`.
    pub fn pool(&mut self, x: Value) -> Built {
        self.mean(x, &[2, 3])
    }
}
