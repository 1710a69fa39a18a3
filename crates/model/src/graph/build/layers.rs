//! Layers: what has parameters, and what normalises or mixes.

use std::fmt;

use super::{Built, Path};
use crate::graph::{Graph, GraphError, Init, Op, QkvLayout, Shape, Value};
use crate::tensor::DType;

/// The part of the way that running statistics move in a training step: PyTorch's default.
const MOMENTUM: f64 = 0.1;

/// The attributes of a convolution layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv {
    /// Channels of the result.
    pub channels: usize,
    /// Height and width of the kernel.
    pub kernel: [usize; 2],
    /// Step between windows, along both axes.
    pub stride: usize,
    /// Zeros added at the top, left, bottom and right.
    pub padding: [usize; 4],
    /// Whether a bias is added.
    pub bias: bool,
}

impl Conv {
    /// A `kernel` x `kernel` convolution that keeps the size of the image (with an odd kernel), with bias.
    pub fn same(channels: usize, kernel: usize) -> Conv {
        Conv::rect(channels, [kernel; 2])
    }

    /// A convolution with a kernel of this height and width that keeps the size of the image (where both are odd),
    /// with bias.
    pub fn rect(channels: usize, kernel: [usize; 2]) -> Conv {
        let [height, width] = kernel.map(|side| side / 2);
        Conv { channels, kernel, stride: 1, padding: [height, width, height, width], bias: true }
    }

    /// The same convolution at every `stride`th pixel.
    pub fn stride(self, stride: usize) -> Conv {
        Conv { stride, ..self }
    }

    /// The same convolution with zeros added at the top, left, bottom and right as given.
    pub fn padding(self, padding: [usize; 4]) -> Conv {
        Conv { padding, ..self }
    }

    /// The same convolution with nothing added to its sums.
    pub fn without_bias(self) -> Conv {
        Conv { bias: false, ..self }
    }
}

/// How PyTorch's layers start: uniform within `1 / sqrt(fan_in)`, the product of these sizes.
fn default_init(sizes: &[usize]) -> Init {
    Init::Uniform { bound: 1.0 / (sizes.iter().product::<usize>() as f64).sqrt() }
}

impl Graph {
    /// A convolution layer `{path}.weight`, `{path}.bias` on `x [B,C,H,W]`.
    pub fn conv2d(&mut self, path: &Path, x: Value, conv: Conv) -> Built {
        self.want_f32(path, x)?;
        let [channels, ..] = self.image(path, x)?;
        let shape = [conv.channels, channels, conv.kernel[0], conv.kernel[1]];
        let weight = self.parameter(&path.at("weight"), &shape, default_init(&shape[1..]))?;
        self.conv2d_with(path, x, weight, conv)
    }

    /// The convolution layer with the given `weight [O,C,rows,columns]`, its bias, where it has one, `{path}.bias`.
    pub fn conv2d_with(&mut self, path: &Path, x: Value, weight: Value, conv: Conv) -> Built {
        self.want_f32(path, x)?;
        let [channels, height, width] = self.image(path, x)?;
        let Conv { channels: out, kernel: [rows, columns], stride, padding, bias } = conv;
        let mut inputs = vec![x, self.want_weight(path, weight, &[out, channels, rows, columns])?];
        if bias {
            let init = default_init(&[channels, rows, columns]);
            inputs.push(self.parameter(&path.at("bias"), &[out], init)?);
        }
        let [top, left, bottom, right] = padding;
        let (padded_height, padded_width) = (height + top + bottom, width + left + right);
        if stride == 0 || rows == 0 || columns == 0 || padded_height < rows || padded_width < columns {
            return self.fail(
                path,
                format!("a {rows}x{columns} kernel with stride {stride} does not fit {height}x{width}"),
            );
        }
        let shape = self.shape(x).with(1, out);
        let shape =
            shape.with(2, (padded_height - rows) / stride + 1).with(3, (padded_width - columns) / stride + 1);
        self.push(path.to_string(), Op::Conv2d { stride, padding }, inputs, shape, DType::F32)
    }

    /// A linear layer `{path}.weight`, `{path}.bias` on the last axis of `x`.
    pub fn linear(&mut self, path: &Path, x: Value, features: usize, bias: bool) -> Built {
        let fan_in = self.features(path, x)?;
        let init = default_init(&[fan_in]);
        let weight = self.parameter(&path.at("weight"), &[features, fan_in], init.clone())?;
        let bias = match bias {
            true => Some(self.parameter(&path.at("bias"), &[features], init)?),
            false => None,
        };
        self.push_linear(path, x, weight, bias, features)
    }

    /// The linear layer with the given `weight [features, fan_in]` and, where there is one, `bias [features]`.
    pub fn linear_with(
        &mut self,
        path: &Path,
        x: Value,
        weight: Value,
        bias: Option<Value>,
        features: usize,
    ) -> Built {
        let fan_in = self.features(path, x)?;
        let weight = self.want_weight(path, weight, &[features, fan_in])?;
        let bias = bias.map(|bias| self.want_weight(path, bias, &[features])).transpose()?;
        self.push_linear(path, x, weight, bias, features)
    }

    fn push_linear(
        &mut self,
        path: &Path,
        x: Value,
        weight: Value,
        bias: Option<Value>,
        features: usize,
    ) -> Built {
        let shape = self.shape(x).with(self.shape(x).rank() - 1, features);
        let inputs = [x, weight].into_iter().chain(bias).collect();
        self.push(path.to_string(), Op::Linear, inputs, shape, DType::F32)
    }

    /// The size of the last axis of a float32 value.
    fn features(&self, path: &Path, x: Value) -> Result<usize, GraphError> {
        self.want_f32(path, x)?;
        let shape = self.shape(x);
        match shape.size(shape.rank().saturating_sub(1)) {
            Some(features) => Ok(features),
            None => self.fail(path, format!("wants [.., features], got {shape}")),
        }
    }

    /// Refuses a weight of another shape.
    fn want_weight(&self, path: &Path, weight: Value, wanted: &[usize]) -> Built {
        self.want_f32(path, weight)?;
        let found = self.shape(weight);
        match *found == Shape::fixed(wanted) {
            true => Ok(weight),
            false => self.fail(path, format!("wants a weight of {wanted:?}, got {found}")),
        }
    }

    /// The parameter `weight` of the layer `path` with each row scaled to the root mean square `rms`; see
    /// [`Op::WeightNorm`].
    pub fn weight_norm(&mut self, path: &Path, weight: Value, eps: f64, rms: f64) -> Built {
        let node = self.node(weight);
        if !matches!(node.op, Op::Parameter { trained: true, .. }) || node.shape.rank() < 2 {
            let (op, shape) = (node.op.name(), &node.shape);
            return self.fail(path, format!("wants a parameter of two axes or more, got {op} {shape}"));
        }
        let shape = node.shape.clone();
        self.push(format!("{path}/weight"), Op::WeightNorm { eps, rms }, vec![weight], shape, DType::F32)
    }

    /// Group normalisation with scale `{path}.weight` and shift `{path}.bias`.
    pub fn group_norm(&mut self, path: &Path, x: Value, groups: usize, eps: f64) -> Built {
        let [channels, ..] = self.grouped(path, x, groups)?;
        let weight = self.parameter(&path.at("weight"), &[channels], Init::Ones)?;
        let bias = self.parameter(&path.at("bias"), &[channels], Init::Zeros)?;
        let shape = self.shape(x).clone();
        self.push(path.to_string(), Op::GroupNorm { groups, eps }, vec![x, weight, bias], shape, DType::F32)
    }

    /// Group normalisation without scale and shift.
    pub fn plain_group_norm(&mut self, x: Value, groups: usize, eps: f64) -> Built {
        self.grouped("GroupNorm", x, groups)?;
        let shape = self.shape(x).clone();
        self.add_node(Op::GroupNorm { groups, eps }, &[x], shape)
    }

    /// The sizes `[C, H, W]` of images whose channels split into groups.
    fn grouped(&self, path: impl fmt::Display, x: Value, groups: usize) -> Result<[usize; 3], GraphError> {
        self.want_f32(&path, x)?;
        let sizes = self.image(&path, x)?;
        if groups == 0 || sizes[0] % groups != 0 {
            return self.fail(path, format!("{} channels do not split into {groups} groups", sizes[0]));
        }
        Ok(sizes)
    }

    /// Division by the root of the mean square along `axis`, `eps` added inside the root.
    pub fn rms_norm(&mut self, x: Value, axis: usize, eps: f64) -> Built {
        self.want_f32("RmsNorm", x)?;
        let shape = self.shape(x).clone();
        match shape.size(axis) {
            Some(size) if size > 0 => self.add_node(Op::RmsNorm { axis, eps }, &[x], shape),
            _ => self.fail("RmsNorm", format!("axis {axis} of {shape} has no fixed size")),
        }
    }

    /// Batch normalisation of `x [B,C,H,W]` with scale `{path}.weight`, shift `{path}.bias` and the buffers
    /// `{path}.running_mean`, `{path}.running_var`.
    pub fn batch_norm(&mut self, path: &Path, x: Value, eps: f64) -> Built {
        self.want_f32(path, x)?;
        let [channels, ..] = self.image(path, x)?;
        let inputs = vec![
            x,
            self.parameter(&path.at("weight"), &[channels], Init::Ones)?,
            self.parameter(&path.at("bias"), &[channels], Init::Zeros)?,
            self.buffer(&path.at("running_mean"), &[channels], Init::Zeros)?,
            self.buffer(&path.at("running_var"), &[channels], Init::Ones)?,
        ];
        let (op, shape) = (Op::BatchNorm { eps, momentum: MOMENTUM }, self.shape(x).clone());
        self.push(path.to_string(), op, inputs, shape, DType::F32)
    }

    /// Normalisation over the last axis of `x`, without scale and shift.
    pub fn layer_norm(&mut self, x: Value, eps: f64) -> Built {
        self.want_f32("LayerNorm", x)?;
        let shape = self.shape(x).clone();
        if shape.rank() < 2 || shape.size(shape.rank() - 1).is_none() {
            return self.fail("LayerNorm", format!("wants [.., features], got {shape}"));
        }
        self.add_node(Op::LayerNorm { eps }, &[x], shape)
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
}
