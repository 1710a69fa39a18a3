//! Arrays of the graph's element types, and the float type that stands for its f32.

use ndarray::{ArrayD, IxDyn, NdFloat};

use super::from_elements;
use crate::tensor::{DType, Data, Tensor};

/// A float type in which the graph's f32 values can be computed: f32 or f64.
pub trait Real: NdFloat + Default {
    /// Its element type.
    const DTYPE: DType;
    /// The nearest value.
    fn rounded(x: f64) -> Self;
    /// The same value.
    fn widened(self) -> f64;
    /// As the elements of a tensor.
    fn data(values: Vec<Self>) -> Data;
}

impl Real for f32 {
    const DTYPE: DType = DType::F32;
    fn rounded(x: f64) -> f32 {
        x as f32
    }
    fn widened(self) -> f64 {
        f64::from(self)
    }
    fn data(values: Vec<f32>) -> Data {
        Data::F32(values)
    }
}

impl Real for f64 {
    const DTYPE: DType = DType::F64;
    fn rounded(x: f64) -> f64 {
        x
    }
    fn widened(self) -> f64 {
        self
    }
    fn data(values: Vec<f64>) -> Data {
        Data::F64(values)
    }
}

/// A value of the graph, in row-major order; `F` holds what the graph calls f32.
#[derive(Clone, Debug)]
pub enum AnyArray<F> {
    Real(ArrayD<F>),
    F64(ArrayD<f64>),
    I64(ArrayD<i64>),
    U8(ArrayD<u8>),
}

impl<F: Real> AnyArray<F> {
    /// The tensor as a graph value of type `dtype`.
    pub fn from_tensor(tensor: &Tensor, dtype: DType) -> AnyArray<F> {
        let shape = tensor.shape();
        match tensor.data() {
            // Not through f64: an i64 or a NaN's payload stays what it is.
            Data::I64(values) => AnyArray::I64(array(shape, values.clone())),
            Data::U8(values) => AnyArray::U8(array(shape, values.clone())),
            Data::F32(values) => {
                AnyArray::Real(array(shape, values.iter().map(|&x| F::rounded(x.into())).collect()))
            }
            Data::F64(values) if dtype == DType::F32 => {
                AnyArray::Real(array(shape, values.iter().map(|&x| F::rounded(x)).collect()))
            }
            Data::F64(values) => AnyArray::F64(array(shape, values.clone())),
        }
    }

    /// As a tensor: `F`'s type for the graph's f32.
    pub fn to_tensor(&self) -> Tensor {
        let data = match self {
            AnyArray::Real(x) => F::data(x.iter().copied().collect()),
            AnyArray::F64(x) => Data::F64(x.iter().copied().collect()),
            AnyArray::I64(x) => Data::I64(x.iter().copied().collect()),
            AnyArray::U8(x) => Data::U8(x.iter().copied().collect()),
        };
        Tensor::new(self.shape(), data).expect("an array has as many elements as its shape says")
    }

    /// As another element type; see the module documentation of [`super`] for the rules.
    pub fn cast(&self, dtype: DType) -> AnyArray<F> {
        match self {
            AnyArray::Real(x) => from_float(x, dtype),
            AnyArray::F64(x) => from_float(x, dtype),
            AnyArray::U8(x) => from_float::<f64, F>(&x.mapv(f64::from), dtype),
            AnyArray::I64(x) => match dtype {
                DType::I64 => self.clone(),
                DType::U8 => AnyArray::U8(x.mapv(|x| x.clamp(0, 255) as u8)),
                DType::F32 | DType::F64 => from_float(&x.mapv(|x| x as f64), dtype),
            },
        }
    }
}

/// Through f64, which holds every f32 and u8; the casts to integers saturate.
fn from_float<T: Real, F: Real>(x: &ArrayD<T>, dtype: DType) -> AnyArray<F> {
    match dtype {
        DType::F32 => AnyArray::Real(x.mapv(|x| F::rounded(x.widened()))),
        DType::F64 => AnyArray::F64(x.mapv(T::widened)),
        DType::I64 => AnyArray::I64(x.mapv(|x| x.widened() as i64)),
        DType::U8 => AnyArray::U8(x.mapv(|x| x.widened() as u8)),
    }
}

fn array<T>(shape: &[usize], values: Vec<T>) -> ArrayD<T> {
    from_elements(IxDyn(shape), values)
}

impl<F> AnyArray<F> {
    /// The size along each axis.
    pub fn shape(&self) -> &[usize] {
        match self {
            AnyArray::Real(x) => x.shape(),
            AnyArray::F64(x) => x.shape(),
            AnyArray::I64(x) => x.shape(),
            AnyArray::U8(x) => x.shape(),
        }
    }

    /// The array of a value of the graph's type f32, `None` for other types.
    pub fn as_real(&self) -> Option<&ArrayD<F>> {
        match self {
            AnyArray::Real(x) => Some(x),
            _ => None,
        }
    }

    /// The array of a value of the graph's type f64, `None` for other types.
    pub fn as_f64(&self) -> Option<&ArrayD<f64>> {
        match self {
            AnyArray::F64(x) => Some(x),
            _ => None,
        }
    }

    /// The array of an i64 value, `None` for other types.
    pub fn as_i64(&self) -> Option<&ArrayD<i64>> {
        match self {
            AnyArray::I64(x) => Some(x),
            _ => None,
        }
    }

    /// The array of a u8 value, `None` for other types.
    pub fn as_u8(&self) -> Option<&ArrayD<u8>> {
        match self {
            AnyArray::U8(x) => Some(x),
            _ => None,
        }
    }
}
