//! Graphs for GPUs: images channels-last from the first convolution on, norms with what surrounds them as one operator of
//! this project's own ([`ddae_onnx::operators`]).
//!
//! A value of the graph that is an image `[B,C,H,W]` is then held as `[B,H,W,C]`, and with it a constant of each channel
//! that has yet to be added: the bias of the convolution that it comes from. Sums, concatenations and 1x1 convolutions
//! pass such constants on, and a norm or a mean takes them in, so that no convolution needs a pass over its result to add
//! its bias. Where something else asks for the image, they are added there.
//!
//! | file | |
//! | --- | --- |
//! | `norms` | which norms there are, and what goes into them |
//! | `convolution` | convolutions and upsampling |
//! | `operations` | everything else that images go through |
//! | `attention` | attention between pixels |
//! | `twin` | the same file with operators that ONNX Runtime has for CPUs, to be checked |
//!
//! What is not written for channels-last images is lowered as in portable files, with a transposition before it.

mod attention;
mod convolution;
mod norms;
mod operations;
mod twin;

use std::borrow::Cow;

use ddae_model::graph::{Graph, Node, Op, Shape, Value};
use ddae_model::tensor::Tensor;
use ddae_model::weights::Weights;
use ddae_onnx::messages::AttributeProto;
use ddae_onnx::write::Model;

use super::fusion::Fusion;
use super::{LowerError, Lowered, Lowering};
pub use twin::portable_twin;

/// A graph as operators for GPUs.
#[derive(Debug)]
pub struct GpuModel<'w> {
    /// The operators.
    pub model: Model<'w>,
    /// The layers, with their operations, that images had to be transposed for: they are computed as in portable files.
    pub portable: Vec<String>,
}

/// Writes `graph` with `weights` as operators for the target `cuda`.
///
/// # Errors
/// [`LowerError`]: like [`super::lower`], and for a graph that convolves no images.
pub fn lower_for_gpu<'w>(graph: &Graph, weights: &'w Weights) -> Result<GpuModel<'w>, LowerError> {
    let convolves = graph.nodes().iter().any(|node| matches!(node.op, Op::Conv2d { .. }));
    if !convolves {
        let message = "--target cuda is for graphs that convolve images; this one has no convolution: export it without \
                       --target (--dtype f16 is for GPUs as well)";
        return Err(LowerError::unsupported("the graph", message));
    }
    let mut portable = Vec::new();
    let model = super::lower_with(graph, weights, true, |lowering, fusions| {
        let plans = norms::plan(lowering.graph, &lowering.constants, &fusions);
        lowering.images = Some(vec![None; lowering.graph.nodes().len()]);
        let graph = lowering.graph;
        for (value, node) in graph.values().filter(|(value, _)| !plans.is_absorbed(*value)) {
            if lowering.constants[value.index()].is_some() {
                continue;
            }
            if let Some(plan) = plans.at(value) {
                lowering.norm_last(plan)?;
                continue;
            }
            match &fusions[value.index()] {
                Fusion::Absorbed => {}
                Fusion::Conv(fused) => lowering.convolution_last(value, fused)?,
                Fusion::PixelAttention(fused) => lowering.pixel_attention_last(value, fused)?,
                Fusion::Alone => {
                    if !lowering.operation_last(value, node)? {
                        if node.inputs.iter().any(|&input| lowering.image(input).is_some()) {
                            portable.push(format!("{} ({})", node.name, node.op.name()));
                        }
                        lowering.node(value, node)?;
                    }
                }
            }
        }
        Ok(())
    })?;
    Ok(GpuModel { model, portable })
}

/// An image `[B,H,W,C]`.
#[derive(Clone, Debug)]
pub(super) struct Image {
    /// Its name in the file.
    name: String,
    /// What has yet to be added to each channel.
    pending: Option<Vec<f64>>,
}

/// `[B,C,H,W]` as `[B,H,W,C]`.
fn last(shape: &Shape) -> Shape {
    Shape::of([0, 2, 3, 1].map(|axis| shape.dims()[axis]).to_vec())
}

/// The axis of `[B,H,W,C]` that is `axis` in `[B,C,H,W]`.
fn last_axis(axis: usize) -> usize {
    [0, 3, 1, 2][axis]
}

/// The sum of what is pending on several images of one shape.
fn sum(images: &[&Image]) -> Option<Vec<f64>> {
    let mut all = images.iter().filter_map(|image| image.pending.as_ref());
    let first = all.next()?.clone();
    Some(all.fold(first, |sum, next| sum.iter().zip(next).map(|(a, b)| a + b).collect()))
}

fn vector(values: &[f64]) -> Tensor {
    Tensor::f32(&[values.len()], values.iter().map(|&x| x as f32).collect())
}

impl<'w> Lowering<'_, 'w> {
    /// The channels-last image of a value, where there is one.
    fn image(&self, value: Value) -> Option<&Image> {
        self.images.as_ref()?.get(value.index())?.as_ref()
    }

    fn keep_image(&mut self, value: Value, name: String, pending: Option<Vec<f64>>) {
        if let Some(images) = &mut self.images {
            let pending = pending.filter(|values| values.iter().any(|&x| x != 0.0));
            images[value.index()] = Some(Image { name, pending });
        }
    }

    /// A value `[B,C,H,W]` channels-last; it is transposed where it is not held so yet.
    fn last(&mut self, value: Value) -> Lowered<Image> {
        if let Some(image) = self.image(value) {
            return Ok(image.clone());
        }
        let shape = self.graph.shape(value).clone();
        let x = self.operand(value)?;
        let is_known = self.constants[value.index()].is_some();
        let name = if is_known {
            let tensor = self.known(value)?.clone();
            self.transposed_constant(value, &tensor)?
        } else if shape.size(2) == Some(1) && shape.size(3) == Some(1) {
            let target = self.shape(&last(&shape))?;
            self.part(value, "last", "Reshape", &[&x, &target], vec![], &last(&shape))?
        } else {
            let perm = vec![AttributeProto::ints("perm", [0, 2, 3, 1])];
            self.part(value, "last", "Transpose", &[&x], perm, &last(&shape))?
        };
        self.keep_image(value, name, None);
        self.image(value).cloned().ok_or_else(|| LowerError::unsupported("an image", "is not kept"))
    }

    /// A constant `[B,C,H,W]` in the other order.
    fn transposed_constant(&mut self, value: Value, tensor: &Tensor) -> Lowered<String> {
        let name = format!("{}/last", self.graph.node(value).name);
        let (shape, Some(values)) = (tensor.shape(), tensor.as_f32()) else {
            return Err(LowerError::unsupported(&name, "is not of float32"));
        };
        let [n, c, h, w] = [shape[0], shape[1], shape[2], shape[3]];
        let at = |i: usize| {
            let (channel, column, row, image) = (i % c, i / c % w, i / (c * w) % h, i / (c * w * h));
            values[((image * c + channel) * h + row) * w + column]
        };
        let tensor = Tensor::f32(&[n, h, w, c], (0..values.len()).map(at).collect());
        self.initializer(&name, Cow::Owned(tensor))
    }

    /// The name of an image with nothing pending.
    fn settled(&mut self, value: Value) -> Lowered<String> {
        let image = self.last(value)?;
        let Some(pending) = &image.pending else { return Ok(image.name) };
        let shape = last(self.graph.shape(value));
        let layer = self.graph.node(value).name.clone();
        let bias = self.initializer(&format!("{layer}/pending"), Cow::Owned(vector(pending)))?;
        let name = self.part(value, "biased", "Add", &[&image.name, &bias], vec![], &shape)?;
        self.keep_image(value, name.clone(), None);
        Ok(name)
    }

    /// Writes the operation whose result is a layer's image.
    fn image_result(
        &mut self,
        value: Value,
        op: &str,
        inputs: &[&str],
        attributes: Vec<AttributeProto>,
        pending: Option<Vec<f64>>,
    ) -> Lowered<()> {
        let shape = last(self.graph.shape(value));
        let name = self.part(value, "last", op, inputs, attributes, &shape)?;
        self.keep_image(value, name, pending);
        Ok(())
    }

    /// The operation written last is of another set than the standard one.
    fn of_domain(&mut self, domain: &str) {
        if let Some(node) = self.model.nodes.last_mut() {
            node.domain = domain.to_string();
        }
    }

    /// A value that is held channels-last, as portable operations take it. None where it is not held so.
    pub(super) fn from_image(&mut self, value: Value) -> Lowered<Option<String>> {
        if self.image(value).is_none() {
            return Ok(None);
        }
        let node: &Node = self.graph.node(value);
        let x = self.settled(value)?;
        self.result(value, "Transpose", &[&x], vec![AttributeProto::ints("perm", [0, 3, 1, 2])])?;
        Ok(self.names[value.index()].clone().or_else(|| Some(node.name.clone())))
    }
}
