//! Convolutions of channels-last images.

use std::borrow::Cow;

use ddae_model::graph::{Op, Shape, Value};
use ddae_model::tensor::Tensor;
use ddae_onnx::initializer::Initializer;
use ddae_onnx::operators::{DOMAIN, NHWC_CONV, RUNTIME_DOMAIN, UPSAMPLE_NEAREST};

use super::last;
use crate::lower::convolution::conv_attributes;
use crate::lower::fusion::FusedConv;
use crate::lower::{Lowered, Lowering};

/// Tensor cores take channels in groups of this many.
const ALIGNMENT: usize = 8;

/// The kernels `[O,I,h,w]` of a convolution and what is added to each channel of its result.
struct Kernels<'w> {
    weight: Cow<'w, Tensor>,
    bias: Vec<f64>,
}

impl<'w> Lowering<'_, 'w> {
    pub(super) fn convolution_last(&mut self, value: Value, fused: &FusedConv) -> Lowered<()> {
        let graph = self.graph;
        let node = graph.node(fused.conv);
        let Op::Conv2d { stride, padding } = node.op else { return Ok(()) };
        let Kernels { mut weight, mut bias } = self.kernels(fused)?;
        let [outputs, inputs, height, width] = shape4(weight.shape());

        let image = self.last(fused.input)?;
        let is_pointwise = (height, width, padding, fused.doubled) == (1, 1, [0; 4], false);
        let mut x = match &image.pending {
            // Each pixel sees the same constants, so that its results do.
            Some(pending) if is_pointwise => {
                let values = weight.as_f32().unwrap_or_default();
                for (bias, row) in bias.iter_mut().zip(values.chunks_exact(inputs)) {
                    *bias += row.iter().zip(pending).map(|(&w, x)| f64::from(w) * x).sum::<f64>();
                }
                image.name
            }
            _ => self.settled(fused.input)?,
        };
        let mut shape = last(graph.shape(fused.input));
        if fused.doubled {
            shape = last(&doubled(graph.shape(fused.input)));
            x = self.part(fused.conv, "doubled", UPSAMPLE_NEAREST, &[&x], vec![], &shape)?;
            self.of_domain(DOMAIN);
        }
        // Zeros on one side only, and channels that are no whole groups, are written out: the library's kernels want both
        // sides alike and groups of channels.
        let [top, left, bottom, right] = padding;
        let is_even = top == bottom && left == right;
        let around = if is_even { [0; 4] } else { padding };
        let (wide_in, wide_out) = (inputs.next_multiple_of(ALIGNMENT), outputs.next_multiple_of(ALIGNMENT));
        if !is_even || wide_in != inputs {
            let pads = [0, around[0], around[1], 0, 0, around[2], around[3], wide_in - inputs];
            let grown = |axis: usize, by: usize| shape.size(axis).map_or(0, |size| size + by);
            let (rows, columns) = (grown(1, around[0] + around[2]), grown(2, around[1] + around[3]));
            shape = shape.with(1, rows).with(2, columns).with(3, wide_in);
            let pads = self.integers(&pads.map(|n| n as i64))?;
            x = self.part(fused.conv, "padded", "Pad", &[&x, &pads], vec![], &shape)?;
        }
        if (wide_in, wide_out) != (inputs, outputs) {
            weight = Cow::Owned(widened(&weight, wide_out, wide_in));
        }
        let name = match &weight {
            Cow::Borrowed(_) => graph.node(node.inputs[1]).name.clone(),
            Cow::Owned(_) => format!("{}/weight", node.name),
        };
        let weight = self.stored(Initializer::channels_last(name, weight))?;
        let padding = if is_even { padding } else { [0; 4] };
        let attributes = conv_attributes([height, width], stride, padding);
        let operands = [x.as_str(), &weight];
        if wide_out == outputs {
            self.image_result(value, NHWC_CONV, &operands, attributes, Some(bias))?;
            self.of_domain(RUNTIME_DOMAIN);
            return Ok(());
        }
        let wide = last(graph.shape(value)).with(3, wide_out);
        let x = self.part(fused.conv, "wide", NHWC_CONV, &operands, attributes, &wide)?;
        self.of_domain(RUNTIME_DOMAIN);
        let [start, end, axis] = [0, outputs as i64, 3].map(|n| self.integers(&[n]));
        let (start, end, axis) = (start?, end?, axis?);
        self.image_result(value, "Slice", &[&x, &start, &end, &axis], vec![], Some(bias))
    }

    /// The kernels with all that is folded into them.
    fn kernels(&mut self, fused: &FusedConv) -> Lowered<Kernels<'w>> {
        let node = self.graph.node(fused.conv);
        let weight = self.known(node.inputs[1])?.clone();
        let [outputs, ..] = shape4(weight.shape());
        let mut bias = vec![0.0; outputs];
        for term in node.inputs.get(2).copied().into_iter().chain(fused.added) {
            bias.iter_mut().zip(self.known_f32(term)?).for_each(|(bias, &x)| *bias += f64::from(x));
        }
        let Some(norm) = fused.norm else { return Ok(Kernels { weight, bias }) };
        let batch_norm = self.graph.node(norm);
        let Op::BatchNorm { eps, .. } = batch_norm.op else { return Ok(Kernels { weight, bias }) };
        let [scale, shift, mean, variance] = [1, 2, 3, 4].map(|i| self.known_f32(batch_norm.inputs[i]));
        let (scale, shift, mean, variance) = (scale?, shift?, mean?, variance?);
        let factor = |c: usize| f64::from(scale[c]) / (f64::from(variance[c]) + eps).sqrt();
        let values = weight.as_f32().unwrap_or_default();
        let per_channel = (values.len() / outputs.max(1)).max(1);
        let folded = values.iter().enumerate().map(|(i, w)| (f64::from(*w) * factor(i / per_channel)) as f32);
        let folded = Tensor::f32(weight.shape(), folded.collect());
        for (c, bias) in bias.iter_mut().enumerate() {
            *bias = f64::from(shift[c]) + (*bias - f64::from(mean[c])) * factor(c);
        }
        Ok(Kernels { weight: Cow::Owned(folded), bias })
    }

    /// An image doubled in size by repeating its pixels.
    pub(super) fn doubled_last(&mut self, value: Value, x: Value) -> Lowered<()> {
        let image = self.last(x)?;
        self.image_result(value, UPSAMPLE_NEAREST, &[&image.name], vec![], image.pending)?;
        self.of_domain(DOMAIN);
        Ok(())
    }

    /// Zeros before and after an image, along its axes `[B,H,W,C]`.
    pub(super) fn padded_last(
        &mut self,
        value: Value,
        x: &str,
        before: [usize; 4],
        after: [usize; 4],
    ) -> Lowered<()> {
        let pads: Vec<i64> = before.into_iter().chain(after).map(|n| n as i64).collect();
        let pads = self.integers(&pads)?;
        self.image_result(value, "Pad", &[x, &pads], vec![], None)
    }
}

fn doubled(shape: &Shape) -> Shape {
    let twice = |axis| 2 * shape.size(axis).unwrap_or(0);
    shape.with(2, twice(2)).with(3, twice(3))
}

fn shape4(shape: &[usize]) -> [usize; 4] {
    shape.try_into().unwrap_or([0; 4])
}

/// Kernels with more channels, of zeros.
fn widened(weight: &Tensor, outputs: usize, inputs: usize) -> Tensor {
    let [_, from, height, width] = shape4(weight.shape());
    let area = height * width;
    let mut values = vec![0f32; outputs * inputs * area];
    let kernels = weight.as_f32().unwrap_or_default().chunks_exact((from * area).max(1));
    for (wide, kernel) in values.chunks_exact_mut((inputs * area).max(1)).zip(kernels) {
        wide[..kernel.len()].copy_from_slice(kernel);
    }
    Tensor::f32(&[outputs, inputs, height, width], values)
}
