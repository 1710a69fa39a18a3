//! Messages of `onnx.proto3`, with the field numbers of the ONNX specification (IR version 10).
//!
//! Fields that no graph of ours needs are left out; protobuf readers skip fields they do not know.
//! [`TensorHeader`] leaves out the tensor's data on purpose: the writer appends it from where it lies, and the
//! reader skips it, so neither holds the weights in a message.
#![allow(missing_docs)] // Names are the specification's, which says what they mean.

use ddae_model::graph::{Dim, Shape};
use ddae_model::tensor::DType;
use prost::{Message, Oneof};

use super::BATCH;

/// `TensorProto.DataType`
pub mod data_type {
    pub const FLOAT: i32 = 1;
    pub const UINT8: i32 = 2;
    pub const INT8: i32 = 3;
    pub const INT32: i32 = 6;
    pub const INT64: i32 = 7;
    /// 16-bit float with 5 bits of exponent.
    pub const FLOAT16: i32 = 10;
    pub const DOUBLE: i32 = 11;
    /// 16-bit float with the 8 bits of exponent of a 32-bit one.
    pub const BFLOAT16: i32 = 16;

    /// Name and bytes per element of any type of the specification; none for text and unknown types.
    pub fn describe(data_type: i32) -> Option<(&'static str, u64)> {
        Some(match data_type {
            1 => ("f32", 4),
            2 => ("u8", 1),
            3 => ("i8", 1),
            4 => ("u16", 2),
            5 => ("i16", 2),
            6 => ("i32", 4),
            7 => ("i64", 8),
            9 => ("bool", 1),
            10 => ("f16", 2),
            11 => ("f64", 8),
            12 => ("u32", 4),
            13 => ("u64", 8),
            16 => ("bf16", 2),
            _ => return None,
        })
    }
}

/// `AttributeProto.AttributeType`
pub mod attribute_type {
    pub const FLOAT: i32 = 1;
    pub const INT: i32 = 2;
    pub const STRING: i32 = 3;
    pub const INTS: i32 = 7;
}

/// `ModelProto`: the whole file.
#[derive(Clone, PartialEq, Message)]
pub struct ModelProto {
    #[prost(int64, tag = "1")]
    pub ir_version: i64,
    #[prost(string, tag = "2")]
    pub producer_name: String,
    #[prost(string, tag = "3")]
    pub producer_version: String,
    #[prost(message, optional, tag = "7")]
    pub graph: Option<GraphProto>,
    #[prost(message, repeated, tag = "8")]
    pub opset_import: Vec<OperatorSetIdProto>,
    #[prost(message, repeated, tag = "14")]
    pub metadata_props: Vec<StringStringEntryProto>,
}

/// `GraphProto`: nodes in order of computation, constants, inputs and outputs.
#[derive(Clone, PartialEq, Message)]
pub struct GraphProto {
    #[prost(message, repeated, tag = "1")]
    pub node: Vec<NodeProto>,
    #[prost(string, tag = "2")]
    pub name: String,
    /// Constants, without their data.
    #[prost(message, repeated, tag = "5")]
    pub initializer: Vec<TensorHeader>,
    #[prost(message, repeated, tag = "11")]
    pub input: Vec<ValueInfoProto>,
    #[prost(message, repeated, tag = "12")]
    pub output: Vec<ValueInfoProto>,
    #[prost(message, repeated, tag = "13")]
    pub value_info: Vec<ValueInfoProto>,
}

/// `NodeProto`: one operation.
#[derive(Clone, PartialEq, Message)]
pub struct NodeProto {
    /// Names of the operands; an empty one is left out.
    #[prost(string, repeated, tag = "1")]
    pub input: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    pub output: Vec<String>,
    #[prost(string, tag = "3")]
    pub name: String,
    #[prost(string, tag = "4")]
    pub op_type: String,
    #[prost(message, repeated, tag = "5")]
    pub attribute: Vec<AttributeProto>,
    /// The operator set it is from; empty for the standard one.
    #[prost(string, tag = "7")]
    pub domain: String,
}

/// `AttributeProto`: an attribute of a node.
#[derive(Clone, PartialEq, Message)]
pub struct AttributeProto {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(float, tag = "2")]
    pub f: f32,
    #[prost(int64, tag = "3")]
    pub i: i64,
    #[prost(bytes = "vec", tag = "4")]
    pub s: Vec<u8>,
    #[prost(int64, repeated, packed = "false", tag = "8")]
    pub ints: Vec<i64>,
    #[prost(int32, tag = "20")]
    pub r#type: i32,
}

/// `TensorProto` without its data.
#[derive(Clone, PartialEq, Message)]
pub struct TensorHeader {
    #[prost(int64, repeated, packed = "false", tag = "1")]
    pub dims: Vec<i64>,
    #[prost(int32, tag = "2")]
    pub data_type: i32,
    #[prost(string, tag = "8")]
    pub name: String,
    /// Where the data lies when it is in another file: keys `location`, `offset`, `length`.
    #[prost(message, repeated, tag = "13")]
    pub external_data: Vec<StringStringEntryProto>,
    /// 1 when the data is in another file.
    #[prost(int32, tag = "14")]
    pub data_location: i32,
}

/// Field number of `TensorProto.raw_data`: little-endian elements in row-major order.
pub const RAW_DATA: u32 = 9;

/// `ValueInfoProto`: name and type of a value.
#[derive(Clone, PartialEq, Message)]
pub struct ValueInfoProto {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(message, optional, tag = "2")]
    pub r#type: Option<TypeProto>,
}

/// `TypeProto` of a tensor.
#[derive(Clone, PartialEq, Message)]
pub struct TypeProto {
    /// Element type and shape; none when the value is no tensor.
    #[prost(message, optional, tag = "1")]
    pub tensor_type: Option<TensorTypeProto>,
}

/// `TypeProto.Tensor`
#[derive(Clone, PartialEq, Message)]
pub struct TensorTypeProto {
    #[prost(int32, tag = "1")]
    pub elem_type: i32,
    #[prost(message, optional, tag = "2")]
    pub shape: Option<TensorShapeProto>,
}

/// `TensorShapeProto`
#[derive(Clone, PartialEq, Message)]
pub struct TensorShapeProto {
    #[prost(message, repeated, tag = "1")]
    pub dim: Vec<DimensionProto>,
}

/// `TensorShapeProto.Dimension`
#[derive(Clone, PartialEq, Message)]
pub struct DimensionProto {
    /// A number or a name; nothing when unknown.
    #[prost(oneof = "Dimension", tags = "1, 2")]
    pub value: Option<Dimension>,
}

/// The value of a [`DimensionProto`].
#[derive(Clone, PartialEq, Oneof)]
pub enum Dimension {
    #[prost(int64, tag = "1")]
    Size(i64),
    /// A size known when the graph runs.
    #[prost(string, tag = "2")]
    Name(String),
}

/// `OperatorSetIdProto`
#[derive(Clone, PartialEq, Message)]
pub struct OperatorSetIdProto {
    /// Empty for the standard operators.
    #[prost(string, tag = "1")]
    pub domain: String,
    #[prost(int64, tag = "2")]
    pub version: i64,
}

/// `StringStringEntryProto`
#[derive(Clone, PartialEq, Message)]
pub struct StringStringEntryProto {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(string, tag = "2")]
    pub value: String,
}

impl StringStringEntryProto {
    pub fn new(key: impl Into<String>, value: impl Into<String>) -> StringStringEntryProto {
        StringStringEntryProto { key: key.into(), value: value.into() }
    }
}

impl AttributeProto {
    pub fn int(name: &str, i: i64) -> AttributeProto {
        AttributeProto { name: name.to_string(), i, r#type: attribute_type::INT, ..Default::default() }
    }

    pub fn ints(name: &str, ints: impl IntoIterator<Item = usize>) -> AttributeProto {
        let ints = ints.into_iter().map(|i| i as i64).collect();
        AttributeProto { name: name.to_string(), ints, r#type: attribute_type::INTS, ..Default::default() }
    }

    pub fn float(name: &str, f: f64) -> AttributeProto {
        let (name, f) = (name.to_string(), f as f32);
        AttributeProto { name, f, r#type: attribute_type::FLOAT, ..Default::default() }
    }

    pub fn text(name: &str, s: &str) -> AttributeProto {
        let s = s.as_bytes().to_vec();
        AttributeProto { name: name.to_string(), s, r#type: attribute_type::STRING, ..Default::default() }
    }
}

impl NodeProto {
    /// An operation of the standard set.
    pub fn new(
        op_type: &str,
        name: &str,
        inputs: &[&str],
        attribute: Vec<AttributeProto>,
        outputs: &[&str],
    ) -> NodeProto {
        let owned = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        NodeProto {
            input: owned(inputs),
            output: owned(outputs),
            name: name.to_string(),
            op_type: op_type.to_string(),
            attribute,
            domain: String::new(),
        }
    }

    /// The same of another operator set.
    pub fn in_domain(self, domain: &str) -> NodeProto {
        NodeProto { domain: domain.to_string(), ..self }
    }
}

/// The number of an element type.
pub fn element_type(dtype: DType) -> i32 {
    match dtype {
        DType::F32 => data_type::FLOAT,
        DType::F64 => data_type::DOUBLE,
        DType::I64 => data_type::INT64,
        DType::U8 => data_type::UINT8,
    }
}

impl ValueInfoProto {
    /// A tensor whose batch dimension is called [`BATCH`].
    pub fn tensor(name: &str, dtype: DType, shape: &Shape) -> ValueInfoProto {
        let dim = |dim: &Dim| match dim {
            Dim::Size(n) => Dimension::Size(*n as i64),
            Dim::Batch(1) => Dimension::Name(BATCH.to_string()),
            Dim::Batch(n) => Dimension::Name(format!("{n}*{BATCH}")),
        };
        ValueInfoProto::of(name, element_type(dtype), shape.dims().iter().map(dim))
    }

    /// A tensor.
    pub fn of(name: &str, elem_type: i32, dims: impl IntoIterator<Item = Dimension>) -> ValueInfoProto {
        let dim = dims.into_iter().map(|dim| DimensionProto { value: Some(dim) }).collect();
        let tensor_type = Some(TensorTypeProto { elem_type, shape: Some(TensorShapeProto { dim }) });
        ValueInfoProto { name: name.to_string(), r#type: Some(TypeProto { tensor_type }) }
    }

    /// The sizes along the axes, `free` for those known when the graph runs; none where one is not declared.
    pub fn sizes(&self, free: u64) -> Option<Vec<u64>> {
        let size = |dim: &DimensionProto| match &dim.value {
            Some(Dimension::Size(size)) => u64::try_from(*size).ok(),
            Some(Dimension::Name(_)) => Some(free),
            None => None,
        };
        self.dims()?.iter().map(size).collect()
    }

    /// The number of the element type; 0 where it is unknown.
    pub fn element_type(&self) -> i32 {
        let tensor = self.r#type.as_ref().and_then(|kind| kind.tensor_type.as_ref());
        tensor.map_or(0, |tensor| tensor.elem_type)
    }

    /// Declares another element type.
    pub fn set_element_type(&mut self, element_type: i32) {
        if let Some(tensor) = self.r#type.as_mut().and_then(|kind| kind.tensor_type.as_mut()) {
            tensor.elem_type = element_type;
        }
    }

    /// The sizes along the axes, where the shape is known.
    pub fn dims(&self) -> Option<&[DimensionProto]> {
        let tensor = self.r#type.as_ref()?.tensor_type.as_ref()?;
        tensor.shape.as_ref().map(|shape| shape.dim.as_slice())
    }
}
