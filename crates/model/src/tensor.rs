//! A dense, row-major array of one of a few element types: what files hold and interpreters exchange.

use std::fmt;

/// Element type of a [`Tensor`] or of a graph value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DType {
    /// 32-bit float, the type of parameters and images.
    F32,
    /// 64-bit float, the type of EDM's sampler state.
    F64,
    /// 64-bit integer, the type of timesteps and labels.
    I64,
    /// 8-bit unsigned integer, the type of undecoded images.
    U8,
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DType::F32 => "f32",
            DType::F64 => "f64",
            DType::I64 => "i64",
            DType::U8 => "u8",
        })
    }
}

/// The elements of a [`Tensor`].
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// 32-bit floats.
    F32(Vec<f32>),
    /// 64-bit floats.
    F64(Vec<f64>),
    /// 64-bit integers.
    I64(Vec<i64>),
    /// Bytes.
    U8(Vec<u8>),
}

impl Data {
    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            Data::F32(v) => v.len(),
            Data::F64(v) => v.len(),
            Data::I64(v) => v.len(),
            Data::U8(v) => v.len(),
        }
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A dense row-major array.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    data: Data,
}

impl Tensor {
    /// A tensor of `shape` over `data`, or `None` when their sizes disagree.
    pub fn new(shape: &[usize], data: Data) -> Option<Tensor> {
        let count = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d))?;
        (count == data.len()).then(|| Tensor { shape: shape.to_vec(), data })
    }

    /// A float32 tensor.
    ///
    /// # Panics
    /// When the number of values is not the product of `shape`.
    pub fn f32(shape: &[usize], values: Vec<f32>) -> Tensor {
        Tensor::of(shape, Data::F32(values))
    }

    /// A float64 tensor. Panics like [`Tensor::f32`].
    pub fn f64(shape: &[usize], values: Vec<f64>) -> Tensor {
        Tensor::of(shape, Data::F64(values))
    }

    /// An int64 tensor. Panics like [`Tensor::f32`].
    pub fn i64(shape: &[usize], values: Vec<i64>) -> Tensor {
        Tensor::of(shape, Data::I64(values))
    }

    fn of(shape: &[usize], data: Data) -> Tensor {
        let count = data.len();
        Tensor::new(shape, data).unwrap_or_else(|| panic!("{count} values do not fill the shape {shape:?}"))
    }

    /// The size along each axis.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The elements.
    pub fn data(&self) -> &Data {
        &self.data
    }

    /// The elements, by value.
    pub fn into_data(self) -> Data {
        self.data
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        match self.data {
            Data::F32(_) => DType::F32,
            Data::F64(_) => DType::F64,
            Data::I64(_) => DType::I64,
            Data::U8(_) => DType::U8,
        }
    }

    /// The elements of a float32 tensor, `None` for other types.
    pub fn as_f32(&self) -> Option<&[f32]> {
        match &self.data {
            Data::F32(v) => Some(v),
            _ => None,
        }
    }

    /// The elements of a float64 tensor, `None` for other types.
    pub fn as_f64(&self) -> Option<&[f64]> {
        match &self.data {
            Data::F64(v) => Some(v),
            _ => None,
        }
    }

    /// The elements of an int64 tensor, `None` for other types.
    pub fn as_i64(&self) -> Option<&[i64]> {
        match &self.data {
            Data::I64(v) => Some(v),
            _ => None,
        }
    }

    /// Every element as float64, whatever the type.
    pub fn to_f64_vec(&self) -> Vec<f64> {
        match &self.data {
            Data::F32(v) => v.iter().map(|&x| f64::from(x)).collect(),
            Data::F64(v) => v.clone(),
            Data::I64(v) => v.iter().map(|&x| x as f64).collect(),
            Data::U8(v) => v.iter().map(|&x| f64::from(x)).collect(),
        }
    }
}
