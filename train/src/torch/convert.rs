//! Between the project's dense arrays and libtorch's.

use ddae_model::tensor::{DType, Data, Tensor as Array};
use tch::{Device, Kind, Tensor};

use super::TorchError;

/// libtorch's name of an element type.
pub fn kind(dtype: DType) -> Kind {
    match dtype {
        DType::F32 => Kind::Float,
        DType::F64 => Kind::Double,
        DType::I64 => Kind::Int64,
        DType::U8 => Kind::Uint8,
    }
}

/// A shape as libtorch takes it.
pub(super) fn sizes(shape: &[usize]) -> Vec<i64> {
    shape.iter().map(|&n| n as i64).collect()
}

/// A copy in libtorch, of the same element type, on the CPU.
///
/// # Errors
/// libtorch's, as for lack of memory.
pub fn to_torch(array: &Array) -> Result<Tensor, TorchError> {
    let flat = match array.data() {
        Data::F32(values) => Tensor::f_from_slice(values),
        Data::F64(values) => Tensor::f_from_slice(values),
        Data::I64(values) => Tensor::f_from_slice(values),
        Data::U8(values) => Tensor::f_from_slice(values),
    };
    flat.and_then(|flat| flat.f_reshape(sizes(array.shape()))).map_err(|e| TorchError::at("to_torch", e))
}

/// A copy out of libtorch, row-major whatever the memory layout. 16-bit floats become float32.
///
/// # Errors
/// For element types other than floats, int64 and uint8.
pub fn from_torch(tensor: &Tensor) -> Result<Array, TorchError> {
    let shape: Vec<usize> = tensor.size().iter().map(|&n| n as usize).collect();
    let count = tensor.numel();
    let read = |kind: Kind| tensor.detach().f_to_device(Device::Cpu)?.f_to_kind(kind)?.f_contiguous();
    macro_rules! values {
        ($kind:expr, $variant:path, $zero:expr) => {{
            let mut values = vec![$zero; count];
            read($kind).and_then(|t| t.f_copy_data(&mut values, count)).map(|()| $variant(values))
        }};
    }
    let data = match tensor.kind() {
        Kind::Float | Kind::BFloat16 | Kind::Half => values!(Kind::Float, Data::F32, 0f32),
        Kind::Double => values!(Kind::Double, Data::F64, 0f64),
        Kind::Int64 => values!(Kind::Int64, Data::I64, 0i64),
        Kind::Uint8 => values!(Kind::Uint8, Data::U8, 0u8),
        other => {
            let message = format!("a tensor of type {other:?} has no counterpart");
            return Err(TorchError::Operation { context: "from_torch".to_string(), message });
        }
    };
    let data = data.map_err(|e| TorchError::at("from_torch", e))?;
    Array::new(&shape, data).ok_or_else(|| TorchError::Operation {
        context: "from_torch".to_string(),
        message: format!("{count} values do not fill {shape:?}"),
    })
}
