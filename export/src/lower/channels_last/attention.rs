//! Attention between the pixels of a channels-last image, whose pixels are tokens `[B, H * W, C]` as they lie.

use std::borrow::Cow;

use ddae_model::graph::{Op, Shape, Value};
use ddae_model::tensor::Tensor;
use ddae_onnx::messages::AttributeProto;
use ddae_onnx::operators::{MULTI_HEAD_ATTENTION, RUNTIME_DOMAIN};
use ndarray::{Array1, Array2};

use crate::lower::fusion::PixelAttention;
use crate::lower::normalisation::Root;
use crate::lower::{Lowered, Lowering};

impl Lowering<'_, '_> {
    pub(super) fn pixel_attention_last(&mut self, value: Value, fused: &PixelAttention) -> Lowered<()> {
        let graph = self.graph;
        // The norm is written as all others are, with its scale and shift.
        let plain = PixelAttention { norm: None, input: fused.norm.unwrap_or(fused.input), ..fused.clone() };
        let layers = self.folded_layers(&plain)?;
        let (width, channels) = layers.query.dim();
        let from = graph.shape(plain.input);
        let size = |axis| from.size(axis).unwrap_or(0);
        let tokens = |width: usize| Shape::of(vec![from.dims()[0], (size(2) * size(3)).into(), width.into()]);
        let image = self.settled(plain.input)?;
        let target = self.shape(&tokens(channels))?;
        let x =
            self.part(plain.projection, "tokens", "Reshape", &[&image, &target], vec![], &tokens(channels))?;
        let is_square = plain.heads == 1 && width == channels && plain.unit.is_none();
        let (mixed, output) = if is_square {
            let matrix = layers.key.t().dot(&layers.query);
            let bias = layers.key.t().dot(&layers.query_bias);
            let q = self.token_linear(plain.projection, "q", &x, &matrix, Some(&bias), &tokens(width))?;
            let mixed = self.mixed_tokens(&plain, [&q, &x, &x], &tokens(width))?;
            (mixed, layers.output.dot(&layers.value))
        } else {
            let query_bias = plain.unit.is_none().then_some(&layers.query_bias);
            let mut operands = Vec::new();
            for (part, matrix, bias) in
                [("q", &layers.query, query_bias), ("k", &layers.key, None), ("v", &layers.value, None)]
            {
                let x = self.token_linear(plain.projection, part, &x, matrix, bias, &tokens(width))?;
                operands.push(self.unit_tokens(&plain, part, x, &tokens(width))?);
            }
            let mixed =
                self.mixed_tokens(&plain, [&operands[0], &operands[1], &operands[2]], &tokens(width))?;
            (mixed, layers.output)
        };
        let outputs = output.nrows();
        let y = self.token_linear(plain.output, "tokens", &mixed, &output, None, &tokens(outputs))?;
        let target = self.shape(&super::last(graph.shape(value)))?;
        let bias = layers.output_bias.to_vec();
        self.image_result(value, "Reshape", &[&y, &target], vec![], Some(bias))
    }

    /// A linear layer `[O, I]` on tokens `[B, N, I]`.
    fn token_linear(
        &mut self,
        layer: Value,
        part: &str,
        x: &str,
        weight: &Array2<f64>,
        bias: Option<&Array1<f64>>,
        shape: &Shape,
    ) -> Lowered<String> {
        let name = self.graph.node(layer).name.clone();
        let turned = weight.t();
        let matrix =
            Tensor::f32(&[turned.nrows(), turned.ncols()], turned.iter().map(|&x| x as f32).collect());
        let matrix = self.initializer(&format!("{name}/{part}/weight"), Cow::Owned(matrix))?;
        let Some(bias) = bias else {
            return self.part(layer, part, "MatMul", &[x, &matrix], vec![], shape);
        };
        let product = self.part(layer, &format!("{part}/product"), "MatMul", &[x, &matrix], vec![], shape)?;
        let bias = Tensor::f32(&[bias.len()], bias.iter().map(|&x| x as f32).collect());
        let bias = self.initializer(&format!("{name}/{part}/bias"), Cow::Owned(bias))?;
        self.part(layer, part, "Add", &[&product, &bias], vec![], shape)
    }

    /// The values of all tokens, mixed for each by the softmax of its scores, in which the scale is already.
    fn mixed_tokens(&mut self, fused: &PixelAttention, qkv: [&str; 3], shape: &Shape) -> Lowered<String> {
        let attributes =
            vec![AttributeProto::int("num_heads", fused.heads as i64), AttributeProto::float("scale", 1.0)];
        let mixed = self.part(fused.attention, "mixed", MULTI_HEAD_ATTENTION, &qkv, attributes, shape)?;
        self.of_domain(RUNTIME_DOMAIN);
        Ok(mixed)
    }

    /// Where queries, keys and values are divided by their root mean squares, that.
    fn unit_tokens(
        &mut self,
        fused: &PixelAttention,
        part: &str,
        x: String,
        tokens: &Shape,
    ) -> Lowered<String> {
        let Some(unit) = fused.unit else { return Ok(x) };
        let Op::RmsNorm { eps, .. } = self.graph.node(unit).op else { return Ok(x) };
        let d = tokens.size(2).unwrap_or(0) / fused.heads;
        let dims = tokens.dims();
        let heads = Shape::of(vec![dims[0], dims[1], fused.heads.into(), d.into()]);
        let target = self.shape(&heads)?;
        let x = self.part(unit, &format!("{part}/heads"), "Reshape", &[&x, &target], vec![], &heads)?;
        // The root of the sum is that of the mean times `d^(1/2)`, by which queries are divided besides.
        let mean = Root { reduce: "ReduceMean", axis: 3, eps };
        let root = if part == "q" { Root { reduce: "ReduceSum", eps: d as f64 * eps, ..mean } } else { mean };
        let divisor = self.root(unit, &format!("{part}/"), &x, &heads, root)?;
        let x = self.part(unit, &format!("{part}/unit"), "Div", &[&x, &divisor], vec![], &heads)?;
        let target = self.shape(tokens)?;
        self.part(unit, &format!("{part}/joined"), "Reshape", &[&x, &target], vec![], tokens)
    }
}
