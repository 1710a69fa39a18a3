//! A plain interpreter of graphs: the yardstick that libtorch and ONNX Runtime are measured against.
//!
//! [`run`] evaluates a graph in evaluation mode (dropout does nothing, batch norm takes the
//! running statistics, weights stay as they are stored), one node after the other, with ndarray. It
//! is written to be checked by reading; speed comes second.
//!
//! # Precision
//! The type parameter `F` is the arithmetic in which the graph's f32 values are computed:
//!
//! | graph type | `F = f32` | `F = f64` |
//! | --- | --- | --- |
//! | f32: images, parameters, constants | f32 | widened to f64 once, never rounded back |
//! | f64: the sampler's state | f64 | f64 |
//! | i64, u8 | exact | exact |
//!
//! So `F = f64` gives what the network would compute without rounding, and a cast from f64 to f32 then changes
//! nothing. Results of the graph's f32 type come back as `F`'s type, others as their own. Means and variances are
//! accumulated in f64 either way. A cast to an integer drops the fraction and stops at the limits of the type; a
//! NaN becomes 0.

mod arithmetic;
mod attention;
mod convolution;
mod error;
mod inputs;
mod linear;
mod normalisation;
mod pooling;
mod shaping;
mod values;

pub use error::RunError;
pub use values::Real;

use inputs::Inputs;
use ndarray::{Array, ArrayD, ArrayView, Dimension};
use values::AnyArray;

use crate::graph::{Graph, Node, Op};
use crate::tensor::Tensor;
use crate::weights::Weights;

/// Computes the outputs of `graph`, in their order, from its parameters and its inputs by name.
///
/// The batch size is that of the inputs (1 where no input has a batch). Only what the outputs need is computed, and
/// each value is freed after its last use. With `F = f64`, inputs and parameters of the graph's f32 type may be
/// given as f64 too, which finite differences need.
///
/// # Errors
/// [`RunError`], which names the input, parameter or node: an input that is missing, unknown, given twice or of
/// another shape, type or batch size; a parameter that is missing or of another shape; an index outside its table;
/// an operation that does not exist for its operands' types.
pub fn run<F: Real>(
    graph: &Graph,
    weights: &Weights,
    inputs: &[(&str, Tensor)],
) -> Result<Vec<(String, Tensor)>, RunError> {
    let inputs = Inputs::check::<F>(graph, inputs)?;
    let last_use = last_uses(graph);
    let mut values: Vec<Option<AnyArray<F>>> = vec![None; graph.nodes().len()];
    for (i, node) in graph.nodes().iter().enumerate().filter(|(i, _)| last_use[*i].is_some()) {
        let shape = node.shape.resolve(inputs.batch());
        let value = match &node.op {
            Op::Input => AnyArray::from_tensor(inputs.get(node)?, node.dtype),
            Op::Parameter { .. } => AnyArray::from_tensor(inputs::parameter::<F>(weights, node)?, node.dtype),
            Op::Constant(tensor) => AnyArray::from_tensor(tensor, node.dtype),
            _ => {
                let operands = node.inputs.iter().filter_map(|v| values[v.index()].as_ref());
                compute(graph, node, &operands.collect::<Vec<_>>(), &shape)?
            }
        };
        debug_assert_eq!(value.shape(), shape, "{}", node.name);
        values[i] = Some(value);
        for input in node.inputs.iter().filter(|v| last_use[v.index()] == Some(i)) {
            values[input.index()] = None;
        }
    }
    let results = graph.outputs().iter();
    Ok(results
        .filter_map(|(name, v)| Some((name.clone(), values[v.index()].as_ref()?.to_tensor())))
        .collect())
}

/// For each node, the position of the last node that uses it; past the end for outputs, `None` where no output
/// needs it.
fn last_uses(graph: &Graph) -> Vec<Option<usize>> {
    let mut last = vec![None; graph.nodes().len()];
    for (_, value) in graph.outputs() {
        last[value.index()] = Some(graph.nodes().len());
    }
    for (i, node) in graph.nodes().iter().enumerate().rev() {
        if last[i].is_some() {
            for input in &node.inputs {
                last[input.index()].get_or_insert(i);
            }
        }
    }
    last
}

/// One node. `shape` is the result's.
fn compute<F: Real>(
    graph: &Graph,
    node: &Node,
    operands: &[&AnyArray<F>],
    shape: &[usize],
) -> Result<AnyArray<F>, RunError> {
    let unsupported = || {
        let types =
            node.inputs.iter().map(|v| graph.node(*v).dtype.to_string()).collect::<Vec<_>>().join(", ");
        RunError::Type { node: node.name.clone(), op: node.op.name(), types }
    };
    let computed = match (&node.op, operands) {
        (Op::Cast(dtype), [x]) => Some(x.cast(*dtype)),
        (Op::Gather, [table, AnyArray::I64(index)]) => {
            let rows = shaping::rows(index, table.shape()[0]).map_err(|(index, rows)| RunError::Index {
                table: graph.node(node.inputs[0]).name.clone(),
                name: graph.node(node.inputs[1]).name.clone(),
                index,
                rows,
            })?;
            Some(match table {
                AnyArray::Real(table) => AnyArray::Real(shaping::gather(table, &rows)),
                AnyArray::F64(table) => AnyArray::F64(shaping::gather(table, &rows)),
                AnyArray::I64(table) => AnyArray::I64(shaping::gather(table, &rows)),
                AnyArray::U8(table) => AnyArray::U8(shaping::gather(table, &rows)),
            })
        }
        (_, [AnyArray::Real(_), ..]) => same_type(operands, AnyArray::as_real)
            .and_then(|x| on_floats(&node.op, &x, shape))
            .map(AnyArray::Real),
        (_, [AnyArray::F64(_), ..]) => same_type(operands, AnyArray::as_f64)
            .and_then(|x| on_floats(&node.op, &x, shape))
            .map(AnyArray::F64),
        (_, [AnyArray::I64(_), ..]) => same_type(operands, AnyArray::as_i64)
            .and_then(|x| shaping::apply(&node.op, &x, shape))
            .map(AnyArray::I64),
        (_, [AnyArray::U8(_), ..]) => same_type(operands, AnyArray::as_u8)
            .and_then(|x| shaping::apply(&node.op, &x, shape))
            .map(AnyArray::U8),
        (_, []) => None,
    };
    computed.ok_or_else(unsupported)
}

/// The operands as arrays of one type, or `None` when they are of several.
fn same_type<'a, F, T>(
    operands: &[&'a AnyArray<F>],
    pick: impl Fn(&'a AnyArray<F>) -> Option<&'a ArrayD<T>>,
) -> Option<Vec<&'a ArrayD<T>>> {
    operands.iter().map(|x| pick(x)).collect()
}

/// An operation on floats, or `None` where it is none. The graph has checked number and shapes of the operands.
fn on_floats<F: Real>(op: &Op, operands: &[&ArrayD<F>], shape: &[usize]) -> Option<ArrayD<F>> {
    let x = operands[0];
    Some(match op {
        Op::Conv2d { stride, padding } => {
            let bias = operands.get(2).map(|b| fixed_rank(b));
            convolution::conv2d(fixed_rank(x), fixed_rank(operands[1]), bias, *stride, *padding).into_dyn()
        }
        Op::Linear => {
            let bias = operands.get(2).map(|b| fixed_rank(b));
            linear::linear(x, fixed_rank(operands[1]), bias)
        }
        Op::GroupNorm { groups, eps } => {
            let affine = operands.get(2).map(|bias| (fixed_rank(operands[1]), fixed_rank(bias)));
            normalisation::group_norm(fixed_rank(x), affine, *groups, *eps).into_dyn()
        }
        Op::RmsNorm { axis, eps } => normalisation::rms_norm(x, *axis, *eps),
        Op::WeightNorm { eps, rms } => normalisation::weight_norm(x, *eps, *rms),
        Op::Attention { heads, layout } => attention::attention(fixed_rank(x), *heads, *layout).into_dyn(),
        Op::BatchNorm { eps, .. } => {
            let of_channels = |i: usize| fixed_rank(operands[i]);
            let (weight, bias, mean, variance) =
                (of_channels(1), of_channels(2), of_channels(3), of_channels(4));
            normalisation::batch_norm(fixed_rank(x), weight, bias, mean, variance, *eps).into_dyn()
        }
        Op::LayerNorm { eps } => normalisation::layer_norm(x, *eps),
        Op::LogSoftmax => normalisation::log_softmax(x),
        Op::AvgPool { window, count_include_pad } => {
            pooling::avg_pool(fixed_rank(x), *window, *count_include_pad).into_dyn()
        }
        Op::MaxPool(window) => pooling::max_pool(fixed_rank(x), *window).into_dyn(),
        Op::ResizeBilinear { height, width } => {
            pooling::resize_bilinear(fixed_rank(x), *height, *width).into_dyn()
        }
        Op::Mean { axes } => normalisation::mean(x, axes),
        Op::Add => x + operands[1],
        Op::Sub => x - operands[1],
        Op::Mul => x * operands[1],
        Op::Div => x / operands[1],
        Op::Relu => x.mapv(arithmetic::relu),
        Op::Silu => x.mapv(arithmetic::silu),
        Op::GeluTanh => x.mapv(arithmetic::gelu_tanh),
        Op::Sqrt => x.mapv(F::sqrt),
        Op::Exp => x.mapv(F::exp),
        Op::Sin => x.mapv(F::sin),
        Op::Cos => x.mapv(F::cos),
        Op::Affine { factor, shift } => arithmetic::affine(x, *factor, *shift),
        Op::Clamp { min, max } => arithmetic::clamp(x, *min, *max),
        Op::Dropout { .. } => x.clone(),
        _ => return shaping::apply(op, operands, shape),
    })
}

/// The array with its number of axes known to the compiler.
fn fixed_rank<T, D: Dimension>(x: &ArrayD<T>) -> ArrayView<'_, T, D> {
    x.view().into_dimensionality().expect("the graph checked the number of axes")
}

/// An array of a loop's results in row-major order.
fn from_elements<T, D: Dimension>(dim: D, elements: Vec<T>) -> Array<T, D> {
    Array::from_shape_vec(dim, elements).expect("as many elements as the shape holds")
}
