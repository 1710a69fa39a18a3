//! Integer convolutions on the matrix units of AMX.
//!
//! ONNX Runtime 1.x has two ways to convolve integers. Where weights are symmetric and the zero of the images is a
//! constant it takes kernels of its own for that, which use vector units alone; else it makes a matrix product of the
//! convolution, which goes to AMX where a processor has it. With AMX the second is nearly twice as fast, and both
//! compute the same integers, so here the zeros stop being constants: a constant that is also listed as an input is one
//! that a caller may replace, and nobody does.
//!
//! Optimisation needs the constants, so it comes first: the runtime writes what it made of the file, the inputs are
//! added to that, and the result is loaded as it is.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use prost::Message;

use super::RuntimeError;
use crate::messages::{Dimension, GraphProto, ModelProto, TensorHeader, ValueInfoProto};
use crate::read;

/// The operator of integer convolutions, and the position of the images' zero among its inputs.
const CONVOLUTION: &str = "QLinearConv";
const ZERO: usize = 2;

/// Whether the processor has AMX for integers and the system lets programs use it.
pub(super) fn has_amx() -> bool {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let flags = cpuinfo.lines().find_map(|line| line.strip_prefix("flags")?.split_once(':'));
    flags.is_some_and(|(_, flags)| flags.split_whitespace().any(|flag| flag == "amx_int8"))
}

/// What the runtime makes of the file at `path` on this machine, with integer convolutions as matrix products: a model
/// to be loaded without optimising it again. None for a file without integers, and where that cannot be written or
/// read back: the file then runs as it is.
///
/// # Errors
/// When the library is missing or refuses the file.
pub fn as_products(path: &Path) -> Result<Option<Vec<u8>>, RuntimeError> {
    let has_integers = |model: ModelProto| {
        model.graph.is_some_and(|graph| graph.node.iter().any(|node| node.op_type == "DequantizeLinear"))
    };
    if !read::model(path).is_ok_and(has_integers) {
        return Ok(None);
    }
    let Ok(folder) = tempfile::tempdir() else { return Ok(None) };
    let copy = folder.path().join("optimized.onnx");
    super::optimized_copy(path, &copy)?;
    let Ok(mut bytes) = fs::read(&copy) else { return Ok(None) };
    let Some(graph) = read::parse(&bytes).ok().and_then(|model| model.graph) else { return Ok(None) };
    let zeros: HashSet<&str> = graph
        .node
        .iter()
        .filter(|node| node.op_type == CONVOLUTION)
        .filter_map(|node| node.input.get(ZERO).map(String::as_str))
        .collect();
    let zeros = graph.initializer.iter().filter(|constant| zeros.contains(constant.name.as_str()));
    let input: Vec<ValueInfoProto> = zeros.map(replaceable).collect();
    if input.is_empty() {
        return Ok(None);
    }
    // In Protocol Buffers, what is appended to a message is added to its lists.
    let graph = GraphProto { input, ..GraphProto::default() };
    bytes.extend(ModelProto { graph: Some(graph), ..ModelProto::default() }.encode_to_vec());
    Ok(Some(bytes))
}

/// The declaration that makes a constant an input with a usual value.
fn replaceable(constant: &TensorHeader) -> ValueInfoProto {
    let dims = constant.dims.iter().map(|&size| Dimension::Size(size));
    ValueInfoProto::of(&constant.name, constant.data_type, dims)
}
