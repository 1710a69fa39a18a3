//! Softmax attention between the pixels of an image, from the norm before it to the linear layer after it.
//!
//! Pixels stay where the image has them, along the last axis: the linear layers become 1x1 convolutions, and nothing
//! is transposed in memory, since the runtime's product takes transposed operands.
//!
//! The weights are folded in float64. With the normalised pixels `x_i`, queries `Q x_i + a`, keys `K x_j + b` and
//! values `V x_j + c`, each after the norm's scale and shift have gone into it:
//!
//! - `b` adds the same to all scores of a query, which the softmax undoes; it is dropped.
//! - Weights of the softmax add up to 1, so `c` comes out as it went in and joins the bias of the output layer `O`.
//! - With one head as wide as the image, a score is `(K' Q x_i + K' a) . x_j` and the result `O V (sum_j p_ij x_j)`:
//!   two matrices `K' Q` and `O V` rather than four.
//!
//! Where queries, keys and values are divided by their root mean squares after the product, it stays as it is, and the
//! scores' `d^(-1/2)` is part of the queries' divisor.

use std::borrow::Cow;

use ddae_model::graph::{Op, QkvLayout, Shape, Value};
use ddae_model::tensor::Tensor;
use ndarray::{Array1, Array2, ArrayView1, ArrayView2};

use super::fusion::PixelAttention;
use super::normalisation::Root;
use super::{LowerError, Lowered, Lowering};
use ddae_onnx::messages::AttributeProto;

/// The linear layers before and after attention, folded: `[heads * d, C]` before, `[O, heads * d]` after.
pub(super) struct Layers {
    pub query: Array2<f64>,
    pub query_bias: Array1<f64>,
    pub key: Array2<f64>,
    pub value: Array2<f64>,
    pub output: Array2<f64>,
    pub output_bias: Array1<f64>,
}

impl Lowering<'_, '_> {
    pub(super) fn pixel_attention(&mut self, value: Value, fused: &PixelAttention) -> Lowered<()> {
        let graph = self.graph;
        let image = graph.shape(fused.input);
        let layers = self.folded_layers(fused)?;
        let (width, channels) = layers.query.dim();
        let mut x = self.operand(fused.input)?;
        if let Some(norm) = fused.norm {
            x = self.normalised(norm, &x)?;
        }
        let is_square = fused.heads == 1 && width == channels && fused.unit.is_none();
        let (mixed, output) = if is_square {
            let matrix = layers.key.t().dot(&layers.query);
            let bias = layers.key.t().dot(&layers.query_bias);
            let q = self.pixel_linear(fused, "q", &x, &matrix, Some(&bias))?;
            (self.mixed_pixels(fused, image, width, [&q, &x, &x])?, layers.output.dot(&layers.value))
        } else {
            let query_bias = fused.unit.is_none().then_some(&layers.query_bias);
            let q = self.pixel_linear(fused, "q", &x, &layers.query, query_bias)?;
            let k = self.pixel_linear(fused, "k", &x, &layers.key, None)?;
            let v = self.pixel_linear(fused, "v", &x, &layers.value, None)?;
            (self.mixed_pixels(fused, image, width, [&q, &k, &v])?, layers.output)
        };
        let name = &graph.node(fused.output).name;
        let weight = self.initializer(&format!("{name}/weight"), Cow::Owned(kernel(&output)))?;
        let bias = self.initializer(&format!("{name}/bias"), Cow::Owned(vector(&layers.output_bias)))?;
        let attributes = vec![AttributeProto::ints("kernel_shape", [1, 1])];
        self.result(value, "Conv", &[&mixed, &weight, &bias], attributes)
    }

    /// A linear layer on every pixel, as the part `part` of the projection.
    fn pixel_linear(
        &mut self,
        fused: &PixelAttention,
        part: &str,
        x: &str,
        weight: &Array2<f64>,
        bias: Option<&Array1<f64>>,
    ) -> Lowered<String> {
        let name = &self.graph.node(fused.projection).name;
        let weight_name = self.initializer(&format!("{name}/{part}/weight"), Cow::Owned(kernel(weight)))?;
        let bias =
            bias.map(|bias| self.initializer(&format!("{name}/{part}/bias"), Cow::Owned(vector(bias))));
        let bias = bias.transpose()?;
        let inputs: Vec<&str> = [x, &weight_name].into_iter().chain(bias.as_deref()).collect();
        let shape = self.graph.shape(fused.input).with(1, weight.nrows());
        let attributes = vec![AttributeProto::ints("kernel_shape", [1, 1])];
        self.part(fused.projection, part, "Conv", &inputs, attributes, &shape)
    }

    /// The values `[B, width, H, W]` of all pixels, mixed for each pixel by the softmax of its scores. Names given
    /// twice are one operand.
    fn mixed_pixels(
        &mut self,
        fused: &PixelAttention,
        image: &Shape,
        width: usize,
        qkv: [&str; 3],
    ) -> Lowered<String> {
        let at = fused.attention;
        let pixels = image.with(0, 1).with(1, 1).per_sample();
        let d = width / fused.heads;
        let heads = Shape::of(vec![image.dims()[0], fused.heads.into(), d.into(), pixels.into()]);
        let to_heads = self.shape(&heads)?;
        let mut operands: Vec<String> = Vec::new();
        for (i, part) in ["q", "k", "v"].into_iter().enumerate() {
            operands.push(match qkv[..i].iter().position(|name| *name == qkv[i]) {
                Some(same) => operands[same].clone(),
                None => self.part(at, part, "Reshape", &[qkv[i], &to_heads], vec![], &heads)?,
            });
        }
        if let Some(unit) = fused.unit
            && let Op::RmsNorm { eps, .. } = self.graph.node(unit).op
        {
            for (operand, part) in operands.iter_mut().zip(["q", "k", "v"]) {
                *operand = self.unit(unit, part, operand, &heads, eps)?;
            }
        }
        let swap = || vec![AttributeProto::ints("perm", [0, 1, 3, 2])];
        let turned = heads.with(2, pixels).with(3, d);
        let scores = heads.with(2, pixels);
        let q = self.part(at, "q/turned", "Transpose", &[&operands[0]], swap(), &turned)?;
        let x = self.part(at, "scores", "MatMul", &[&q, &operands[1]], vec![], &scores)?;
        let x = self.part(at, "softmax", "Softmax", &[&x], vec![AttributeProto::int("axis", -1)], &scores)?;
        let x = self.part(at, "softmax/turned", "Transpose", &[&x], swap(), &scores)?;
        let x = self.part(at, "mixed", "MatMul", &[&operands[2], &x], vec![], &heads)?;
        let shape = image.with(1, width);
        let to_image = self.shape(&shape)?;
        self.part(at, "image", "Reshape", &[&x, &to_image], vec![], &shape)
    }

    /// Each pixel's `x [B, heads, d, N]` divided by its root mean square, queries by `d^(1/2)` besides.
    fn unit(&mut self, unit: Value, part: &str, x: &str, heads: &Shape, eps: f64) -> Lowered<String> {
        let mean = Root { reduce: "ReduceMean", axis: 2, eps };
        // The root of the sum is that of the mean times `d^(1/2)`.
        let d = heads.size(2).unwrap_or(0) as f64;
        let root = if part == "q" { Root { reduce: "ReduceSum", eps: d * eps, ..mean } } else { mean };
        let divisor = self.root(unit, &format!("{part}/"), x, heads, root)?;
        self.part(unit, &format!("{part}/unit"), "Div", &[x, &divisor], vec![], heads)
    }

    /// The layers with the norm's scale and shift, the scores' `d^(-1/2)` and the values' bias in them.
    pub(super) fn folded_layers(&self, fused: &PixelAttention) -> Lowered<Layers> {
        let (weight, bias) = self.linear_layer(fused.projection)?;
        let (output, mut output_bias) = self.linear_layer(fused.output)?;
        let (rows, channels) = weight.dim();
        let (gain, shift) = match fused.norm {
            None => (Array1::ones(channels), Array1::zeros(channels)),
            Some(norm) => match self.graph.node(norm).inputs[1..] {
                [gain, shift] => (self.known_vector(gain)?, self.known_vector(shift)?),
                _ => (Array1::ones(channels), Array1::zeros(channels)),
            },
        };
        let width = rows / 3;
        let d = width / fused.heads;
        let part = |which: usize| {
            let source = |row: usize| match fused.layout {
                QkvLayout::HeadMajor => (row / d * 3 + which) * d + row % d,
                QkvLayout::QkvMajor => which * width + row,
                QkvLayout::ChannelMajor => 3 * row + which,
            };
            let raw = Array2::from_shape_fn((width, channels), |(row, c)| weight[[source(row), c]]);
            let bias = Array1::from_shape_fn(width, |row| bias[source(row)]) + raw.dot(&shift);
            (raw * &gain, bias)
        };
        let scale = if fused.unit.is_some() { 1.0 } else { 1.0 / (d as f64).sqrt() };
        let ((query, query_bias), (key, _), (value, value_bias)) = (part(0), part(1), part(2));
        output_bias += &output.dot(&value_bias);
        Ok(Layers { query: query * scale, query_bias: query_bias * scale, key, value, output, output_bias })
    }

    /// Weight and bias (zeros where it has none) of a linear layer.
    fn linear_layer(&self, layer: Value) -> Lowered<(Array2<f64>, Array1<f64>)> {
        let node = self.graph.node(layer);
        let shape = self.known(node.inputs[1])?.shape();
        let weight = ArrayView2::from_shape((shape[0], shape[1]), self.known_f32(node.inputs[1])?)
            .map_err(|error| LowerError::unsupported(&node.name, error))?
            .mapv(f64::from);
        let bias = match node.inputs.get(2) {
            Some(&bias) => self.known_vector(bias)?,
            None => Array1::zeros(shape[0]),
        };
        Ok((weight, bias))
    }

    fn known_vector(&self, value: Value) -> Lowered<Array1<f64>> {
        Ok(ArrayView1::from(self.known_f32(value)?).mapv(f64::from))
    }
}

/// A matrix as the kernel of a 1x1 convolution.
fn kernel(matrix: &Array2<f64>) -> Tensor {
    Tensor::f32(&[matrix.nrows(), matrix.ncols(), 1, 1], matrix.iter().map(|&x| x as f32).collect())
}

fn vector(values: &Array1<f64>) -> Tensor {
    Tensor::f32(&[values.len()], values.iter().map(|&x| x as f32).collect())
}
