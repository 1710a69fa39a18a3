//! Convolutions of images `[B,C,H,W]`.

use std::borrow::Cow;

use ddae_model::graph::{Node, Op, Value};
use ddae_model::tensor::Tensor;

use super::fusion::FusedConv;
use super::{Lowered, Lowering};
use ddae_onnx::messages::AttributeProto;

impl Lowering<'_, '_> {
    pub(super) fn convolution(&mut self, value: Value, fused: &FusedConv) -> Lowered<()> {
        let node = self.graph.node(fused.conv);
        let x = self.operand(fused.input)?;
        if let Some(norm) = fused.norm {
            return self.normed_convolution(value, fused, norm, &x);
        }
        let bias = self.conv_bias(node, fused.added)?;
        if fused.doubled {
            return self.doubled_convolution(value, fused, &x, bias.as_deref());
        }
        let Op::Conv2d { stride, padding } = node.op else { return Ok(()) };
        let shape = self.known(node.inputs[1])?.shape();
        let kernel = [shape[2], shape[3]];
        let weight = self.operand(node.inputs[1])?;
        let inputs: Vec<&str> = [x.as_str(), &weight].into_iter().chain(bias.as_deref()).collect();
        self.result(value, "Conv", &inputs, conv_attributes(kernel, stride, padding))
    }

    /// A convolution whose results are normalised by known statistics: another with other weights.
    fn normed_convolution(&mut self, value: Value, fused: &FusedConv, norm: Value, x: &str) -> Lowered<()> {
        let node = self.graph.node(fused.conv);
        let batch_norm = self.graph.node(norm);
        let (Op::Conv2d { stride, padding }, Op::BatchNorm { eps, .. }) = (&node.op, &batch_norm.op) else {
            return Ok(());
        };
        let [scale, shift, mean, variance] = [1, 2, 3, 4].map(|i| batch_norm.inputs[i]);
        let [scale, shift] = [self.known_f32(scale)?, self.known_f32(shift)?];
        let [mean, variance] = [self.known_f32(mean)?, self.known_f32(variance)?];
        let own = node.inputs.get(2).map(|&bias| self.known_f32(bias)).transpose()?;
        let weight = self.known(node.inputs[1])?;
        let (shape, values) = (weight.shape().to_vec(), self.known_f32(node.inputs[1])?);
        let per_channel = values.len() / shape[0].max(1);
        let factor = |c: usize| f64::from(scale[c]) / (f64::from(variance[c]) + eps).sqrt();
        let folded = values.iter().enumerate().map(|(i, w)| (f64::from(*w) * factor(i / per_channel)) as f32);
        let folded = Tensor::f32(&shape, folded.collect());
        let bias = (0..shape[0]).map(|c| {
            let own = own.map_or(0.0, |bias| f64::from(bias[c]));
            (f64::from(shift[c]) + (own - f64::from(mean[c])) * factor(c)) as f32
        });
        let bias = Tensor::f32(&[shape[0]], bias.collect());
        let weight = self.initializer(&format!("{}/weight", node.name), Cow::Owned(folded))?;
        let bias = self.initializer(&format!("{}/bias", node.name), Cow::Owned(bias))?;
        let attributes = conv_attributes([shape[2], shape[3]], *stride, *padding);
        self.result(value, "Conv", &[x, &weight, &bias], attributes)
    }

    /// The bias of a convolution, with the constant that is added to its result.
    fn conv_bias(&mut self, conv: &Node, added: Option<Value>) -> Lowered<Option<String>> {
        let own = conv.inputs.get(2).copied();
        let Some(added) = added else { return own.map(|bias| self.operand(bias)).transpose() };
        let mut sum = self.known_f32(added)?.to_vec();
        if let Some(bias) = own {
            for (sum, bias) in sum.iter_mut().zip(self.known_f32(bias)?) {
                *sum += bias;
            }
        }
        let tensor = Tensor::f32(&[sum.len()], sum);
        self.initializer(&format!("{}/bias", conv.name), Cow::Owned(tensor)).map(Some)
    }

    /// A 3x3 convolution of an image doubled in size: four 2x2 convolutions of the image itself, one for each
    /// pixel of the 2x2 squares that a pixel becomes. The same sums with 4/9 of the products.
    fn doubled_convolution(
        &mut self,
        value: Value,
        fused: &FusedConv,
        x: &str,
        bias: Option<&str>,
    ) -> Lowered<()> {
        let node = self.graph.node(fused.conv);
        let small = self.graph.shape(fused.input).with(1, node.shape.dims()[1]);
        let mut phases = Vec::new();
        for (row, column) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let weight = self.known(node.inputs[1])?;
            let weight = phase_weight(weight.shape(), self.known_f32(node.inputs[1])?, row, column);
            let name = format!("{}/weight{row}{column}", node.name);
            let weight = self.initializer(&name, Cow::Owned(weight))?;
            let inputs: Vec<&str> = [x, &weight].into_iter().chain(bias).collect();
            let attributes = conv_attributes([2, 2], 1, [1 - row, 1 - column, row, column]);
            let part = format!("phase{row}{column}");
            phases.push(self.part(fused.conv, &part, "Conv", &inputs, attributes, &small)?);
        }
        let phases: Vec<&str> = phases.iter().map(String::as_str).collect();
        let joined = small.with(1, 4 * small.size(1).unwrap_or(0));
        let axis = vec![AttributeProto::int("axis", 1)];
        let joined = self.part(fused.conv, "phases", "Concat", &phases, axis, &joined)?;
        self.result(value, "DepthToSpace", &[&joined], vec![AttributeProto::int("blocksize", 2)])
    }
}

pub(super) fn conv_attributes(kernel: [usize; 2], stride: usize, padding: [usize; 4]) -> Vec<AttributeProto> {
    vec![
        AttributeProto::ints("kernel_shape", kernel),
        AttributeProto::ints("pads", padding),
        AttributeProto::ints("strides", [stride; 2]),
    ]
}

/// The 2x2 kernels `[O, I, 2, 2]` that give pixel (`row`, `column`) of each square of the doubled image.
///
/// Along one axis the doubled pixels under a kernel `[a, b, c]` are `[x-1, x, x]` for the first pixel of a square,
/// so `[a, b+c]` on `[x-1, x]`, and `[x, x, x+1]` for the second, so `[a+b, c]` on `[x, x+1]`.
fn phase_weight(shape: &[usize], weight: &[f32], row: usize, column: usize) -> Tensor {
    let merge = |[a, b, c]: [f32; 3], phase: usize| if phase == 0 { [a, b + c] } else { [a + b, c] };
    let values = weight
        .as_chunks::<9>()
        .0
        .iter()
        .flat_map(|kernel| {
            let rows = [0, 3, 6].map(|i| merge([kernel[i], kernel[i + 1], kernel[i + 2]], column));
            let columns = [0, 1].map(|j| merge([rows[0][j], rows[1][j], rows[2][j]], row));
            [columns[0][0], columns[1][0], columns[0][1], columns[1][1]]
        })
        .collect();
    Tensor::f32(&[shape[0], shape[1], 2, 2], values)
}
