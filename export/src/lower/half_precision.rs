//! Weights and arithmetic in 16-bit floats.
//!
//! Both passes rewrite a finished ONNX graph of float32 values; inputs and outputs stay float32.
//!
//! - [`compute_f16`]: between the first and the last product (convolution, matrix product) values and weights are
//!   float16. Norms, softmaxes, means over an image, everything that depends on no image (timestep embeddings,
//!   tables, coefficients) and what follows the last product (a sampler's step) stay float32, with casts around them.
//! - [`store_bf16`]: weights are stored as bfloat16 and cast to float32 before use, which a runtime does once, when it
//!   loads the file; all arithmetic is float32. Standard operators do not convolve in bfloat16 before opset 22, and
//!   ONNX Runtime has no such kernels for CPUs.

use std::collections::HashSet;

use ddae_onnx::initializer::{Encoding, Initializer};
use ddae_onnx::messages::{AttributeProto, NodeProto, ValueInfoProto, data_type};
use ddae_onnx::operators::{
    AVERAGE_POOL, GROUP_NORM_SILU, MULTI_HEAD_ATTENTION, NHWC_CONV, UPSAMPLE_NEAREST, group_norm_input,
};
use ddae_onnx::write::Model;

use super::LowerError;
use crate::rewriting::Rewriting;

/// Inputs of no more numbers than this for each sample are not images or features but what conditions a network:
/// timesteps, labels, augmentation labels, coefficients.
const LARGEST_CONDITION: u64 = 16;

/// How an operator takes part in a computation in float16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Nearly all of the work: in float16.
    Product,
    /// In float16 between products.
    Elementwise,
    /// Moves elements, in the type they have.
    Move,
    /// In float32: norms, sums, functions that lose too much.
    Exact,
}

fn kind(operator: &str) -> Kind {
    match operator {
        "Conv" | "ConvTranspose" | "Gemm" | "MatMul" | NHWC_CONV | MULTI_HEAD_ATTENTION => Kind::Product,
        "Add" | "AveragePool" | "Clip" | "Div" | "Gelu" | "MaxPool" | "Mul" | "Neg" | "Relu" | "Resize"
        | "Sigmoid" | "Sub" | "Tanh" => Kind::Elementwise,
        "Concat" | "DepthToSpace" | "Flatten" | "Identity" | "Pad" | "Reshape" | "Slice" | "Split"
        | "Squeeze" | "Transpose" | "Unsqueeze" | UPSAMPLE_NEAREST => Kind::Move,
        // In float32 inside, whatever images are in.
        GROUP_NORM_SILU | AVERAGE_POOL => Kind::Move,
        _ => Kind::Exact,
    }
}

/// Stores matrices and kernels as bfloat16, cast to float32 where they are used.
///
/// # Errors
/// When a name that is needed for a cast is taken.
pub fn store_bf16(model: &mut Model<'_>) -> Result<(), LowerError> {
    for initializer in &mut model.initializers {
        if initializer.floats().is_some() && is_matrix(initializer) {
            initializer.encode(Encoding::Bf16);
        }
    }
    let (mut rewriting, old) = Rewriting::begin(model);
    for mut node in old {
        for input in &mut node.input {
            if rewriting.element_type(input) == data_type::BFLOAT16 {
                *input = cast(&mut rewriting, input, data_type::FLOAT)?;
            }
        }
        rewriting.nodes.push(node);
    }
    rewriting.finish();
    Ok(())
}

/// Computes in float16 between the first product and the last.
///
/// # Errors
/// When a name that is needed for a cast is taken.
pub fn compute_f16(model: &mut Model<'_>) -> Result<(), LowerError> {
    let halves = halves(model);
    encode_weights(model, &halves);
    let outputs: HashSet<String> = model.outputs.iter().map(|output| output.name.clone()).collect();
    let (mut rewriting, old) = Rewriting::begin(model);
    for (mut node, is_half) in old.into_iter().zip(halves) {
        let all = float_operands(&node);
        for position in 0..node.input.len() {
            let is_float16 = is_half && all.contains(&position);
            let wanted = if is_float16 { data_type::FLOAT16 } else { data_type::FLOAT };
            if !is_float16 && !all.contains(&position) && node.op_type != GROUP_NORM_SILU {
                continue;
            }
            let input = &mut node.input[position];
            let found = rewriting.element_type(input);
            if found != wanted && [data_type::FLOAT, data_type::FLOAT16].contains(&found) {
                *input = cast(&mut rewriting, input, wanted)?;
            }
        }
        let mut back = Vec::new();
        for output in node.output.iter_mut().filter(|_| is_half) {
            if outputs.contains(output) {
                let (half, _) = rewriting.once(output, "f16", data_type::FLOAT16)?;
                back.push(cast_node(&half, output, data_type::FLOAT));
                *output = half;
            } else {
                rewriting.set_element_type(output, data_type::FLOAT16);
            }
        }
        rewriting.nodes.push(node);
        rewriting.nodes.extend(back);
    }
    rewriting.finish();
    Ok(())
}

/// The name of a value in another type; it is cast where it is first used.
fn cast(rewriting: &mut Rewriting<'_, '_>, name: &str, to: i32) -> Result<String, LowerError> {
    let part = data_type::describe(to).map_or("other", |(text, _)| text);
    let (new, is_first) = rewriting.once(name, part, to)?;
    if is_first {
        rewriting.nodes.push(cast_node(name, &new, to));
    }
    Ok(new)
}

/// Which nodes compute in float16.
fn halves(model: &Model<'_>) -> Vec<bool> {
    let images = image_values(model);
    let is_product =
        |node: &NodeProto| kind(&node.op_type) == Kind::Product && images.contains(first(&node.output));
    let leads = leading_values(model, is_product);
    let is_float = floats(model);
    let sums = exact_values(model);
    // What is float16, and what is float32 only for a norm's or softmax's sake.
    let (mut half, mut body) = (HashSet::new(), HashSet::new());
    let mut choices = Vec::with_capacity(model.nodes.len());
    for node in &model.nodes {
        let operands: Vec<&str> =
            float_operands(node).into_iter().map(|position| node.input[position].as_str()).collect();
        let in_body = operands.iter().any(|name| body.contains(name));
        let has_half = operands.iter().any(|name| half.contains(name));
        let computes_floats = node.output.iter().all(|name| is_float.contains(name.as_str()));
        let is_half = computes_floats
            && match kind(&node.op_type) {
                Kind::Product => is_product(node),
                Kind::Elementwise => {
                    let within_norm = !has_half && sums.contains(first(&node.output));
                    in_body && !within_norm && node.output.iter().any(|name| leads.contains(name.as_str()))
                }
                Kind::Move => has_half,
                Kind::Exact => false,
            };
        for name in node.output.iter().map(String::as_str).filter(|_| computes_floats) {
            if is_half {
                half.insert(name);
            }
            if is_half || in_body {
                body.insert(name);
            }
        }
        choices.push(is_half);
    }
    choices
}

/// The values that depend on an input that is no mere condition.
pub(crate) fn image_values<'m>(model: &'m Model<'_>) -> HashSet<&'m str> {
    let is_image = |input: &&ValueInfoProto| {
        input.sizes(1).unwrap_or_default().iter().product::<u64>() > LARGEST_CONDITION
    };
    let mut found: HashSet<&str> =
        model.inputs.iter().filter(is_image).map(|input| input.name.as_str()).collect();
    for node in &model.nodes {
        if node.input.iter().any(|name| found.contains(name.as_str())) {
            found.extend(node.output.iter().map(String::as_str));
        }
    }
    found
}

/// The values that a product depends on.
fn leading_values<'m>(model: &'m Model<'_>, is_product: impl Fn(&NodeProto) -> bool) -> HashSet<&'m str> {
    let mut found: HashSet<&str> = HashSet::new();
    for node in model.nodes.iter().rev() {
        if is_product(node) || node.output.iter().any(|name| found.contains(name.as_str())) {
            found.extend(node.input.iter().map(String::as_str));
        }
    }
    found
}

/// The values that float32 operations alone use, directly or after elementwise ones: what is added to the sums of a norm.
fn exact_values<'m>(model: &'m Model<'_>) -> HashSet<&'m str> {
    let mut others: HashSet<&str> = model.outputs.iter().map(|output| output.name.as_str()).collect();
    let mut exact = HashSet::new();
    for node in model.nodes.iter().rev() {
        let output = first(&node.output);
        let is_exact = match kind(&node.op_type) {
            Kind::Exact => true,
            Kind::Elementwise => exact.contains(output) && !others.contains(output),
            Kind::Product | Kind::Move => false,
        };
        let set = if is_exact { &mut exact } else { &mut others };
        set.extend(node.input.iter().map(String::as_str));
    }
    &exact - &others
}

fn floats<'m>(model: &'m Model<'_>) -> HashSet<&'m str> {
    model
        .declared()
        .filter(|value| value.element_type() == data_type::FLOAT)
        .map(|value| value.name.as_str())
        .collect()
}

/// Weights that only float16 nodes use become float16. So do matrices and kernels that others use, which a cast then
/// makes float32 again: files are to be small.
fn encode_weights(model: &mut Model<'_>, halves: &[bool]) {
    let (mut by_half, mut by_float) = (HashSet::new(), HashSet::new());
    for (node, &is_half) in model.nodes.iter().zip(halves) {
        let all = float_operands(node);
        for (position, name) in node.input.iter().enumerate() {
            let set = if is_half && all.contains(&position) { &mut by_half } else { &mut by_float };
            set.insert(name.clone());
        }
    }
    let outputs: HashSet<&str> = model.outputs.iter().map(|output| output.name.as_str()).collect();
    for initializer in &mut model.initializers {
        let (half, float) = (by_half.contains(&initializer.name), by_float.contains(&initializer.name));
        if ((half && !float) || is_matrix(initializer)) && !outputs.contains(initializer.name.as_str()) {
            initializer.encode(Encoding::F16);
        }
    }
}

/// Whether it is a matrix or a kernel; vectors are small, and so are numbers that are shaped to multiply images.
fn is_matrix(initializer: &Initializer) -> bool {
    initializer.shape().iter().filter(|&&size| size > 1).count() > 1
}

/// Positions of the operands whose type may change. The others of a Resize (region, scales, sizes) and of a norm of this
/// project's own (what is added to channels and multiplies them) may not.
fn float_operands(node: &NodeProto) -> Vec<usize> {
    match node.op_type.as_str() {
        "Resize" => vec![0],
        GROUP_NORM_SILU => {
            let images = [group_norm_input::X, group_norm_input::RESIDUAL];
            images.into_iter().filter(|&position| position < node.input.len()).collect()
        }
        _ => (0..node.input.len()).collect(),
    }
}

fn first(names: &[String]) -> &str {
    names.first().map_or("", String::as_str)
}

fn cast_node(from: &str, to: &str, element_type: i32) -> NodeProto {
    NodeProto::new("Cast", to, &[from], vec![AttributeProto::int("to", element_type.into())], &[to])
}
