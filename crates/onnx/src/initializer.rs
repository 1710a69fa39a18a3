//! Constants of an ONNX graph, and how their elements are stored.
//!
//! What stands in the file may differ from what is in memory: a matrix may be turned, a float rounded to 16 bits or to
//! an integer. That happens piece by piece while the file is written, so it never takes a second copy of the weights.

use std::borrow::Cow;
use std::io::{self, Write};

use ddae_model::tensor::{Data, Tensor};
use half::{bf16, f16};

use super::messages::{Dimension, ValueInfoProto, data_type, element_type};

/// Elements that are converted at a time.
const PIECE: usize = 4096;

/// How the elements of a float32 tensor are stored.
#[derive(Clone, Debug, PartialEq)]
pub enum Encoding {
    /// As they are.
    Plain,
    /// Rounded to 16-bit floats with 5 bits of exponent: beyond 65504 they become infinite.
    F16,
    /// Rounded to 16-bit floats with 8 bits of exponent.
    Bf16,
    /// `round(x / scale)`, to even where halfway.
    Integers {
        /// The type of integer.
        width: Width,
        /// A scale for each index along [`Encoding::Integers::axis`].
        scales: Vec<f32>,
        /// The axis of the scales, in the shape that is stored.
        axis: usize,
    },
}

/// Types of integers that stand for floats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// -127 to 127.
    I8,
    /// -(2^31 - 1) to 2^31 - 1.
    I32,
}

/// A constant of a graph, borrowed from the weights where it lies there.
#[derive(Clone, Debug, PartialEq)]
pub struct Initializer<'w> {
    /// Its name.
    pub name: String,
    tensor: Cow<'w, Tensor>,
    order: Order,
    encoding: Encoding,
}

/// The order of the elements in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// As in memory.
    Same,
    /// Of a matrix `[R, C]`: `[C, R]`.
    Turned,
    /// Of kernels `[O, I, h, w]`: `[O, h, w, I]`.
    ChannelsLast,
}

impl<'w> Initializer<'w> {
    /// A tensor as it is.
    pub fn new(name: impl Into<String>, tensor: Cow<'w, Tensor>) -> Initializer<'w> {
        Initializer { name: name.into(), tensor, order: Order::Same, encoding: Encoding::Plain }
    }

    /// A float32 matrix `[R, C]`, stored as `[C, R]`. Other tensors are stored as they are.
    pub fn turned(name: impl Into<String>, tensor: Cow<'w, Tensor>) -> Initializer<'w> {
        let is_matrix = tensor.as_f32().is_some() && tensor.shape().len() == 2;
        let order = if is_matrix { Order::Turned } else { Order::Same };
        Initializer { order, ..Initializer::new(name, tensor) }
    }

    /// The float32 kernels `[O, I, h, w]` of a convolution, stored as `[O, h, w, I]`. Other tensors are stored as they are.
    pub fn channels_last(name: impl Into<String>, tensor: Cow<'w, Tensor>) -> Initializer<'w> {
        let are_kernels = tensor.as_f32().is_some() && tensor.shape().len() == 4;
        let order = if are_kernels { Order::ChannelsLast } else { Order::Same };
        Initializer { order, ..Initializer::new(name, tensor) }
    }

    /// Stores the elements in another way. Only floats of 32 bits have one; others stay as they are.
    pub fn encode(&mut self, encoding: Encoding) {
        if self.tensor.as_f32().is_some() {
            self.encoding = encoding;
        }
    }

    /// The float32 elements in memory, none of other types.
    pub fn floats(&self) -> Option<&[f32]> {
        self.tensor.as_f32()
    }

    /// The shape in the file.
    pub fn shape(&self) -> Vec<usize> {
        let mut shape = self.tensor.shape().to_vec();
        match self.order {
            Order::Same => {}
            Order::Turned => shape.reverse(),
            Order::ChannelsLast => shape[1..].rotate_left(1),
        }
        shape
    }

    /// The number of the element type in the file.
    pub fn element_type(&self) -> i32 {
        match &self.encoding {
            Encoding::Plain => element_type(self.tensor.dtype()),
            Encoding::F16 => data_type::FLOAT16,
            Encoding::Bf16 => data_type::BFLOAT16,
            Encoding::Integers { width: Width::I8, .. } => data_type::INT8,
            Encoding::Integers { width: Width::I32, .. } => data_type::INT32,
        }
    }

    /// Bytes of the elements in the file.
    pub fn bytes(&self) -> u64 {
        let width = data_type::describe(self.element_type()).map_or(1, |(_, width)| width);
        width * self.tensor.data().len() as u64
    }

    /// Its name, type and shape as those of a value.
    pub fn value_info(&self) -> ValueInfoProto {
        let dims = self.shape().into_iter().map(|size| Dimension::Size(size as i64));
        ValueInfoProto::of(&self.name, self.element_type(), dims)
    }

    /// The largest magnitude of the float32 elements at each index along `axis` of the shape in the file.
    pub fn largest_along(&self, axis: usize) -> Vec<f32> {
        let shape = self.tensor.shape();
        let source = match (self.order, axis) {
            (Order::Turned, axis) => 1 - axis.min(1),
            (Order::ChannelsLast, 3) => 1,
            (Order::ChannelsLast, 1 | 2) => axis + 1,
            (_, axis) => axis,
        };
        let mut largest = vec![0.0f32; shape.get(source).copied().unwrap_or(0)];
        let inner: usize = shape.iter().skip(source + 1).product();
        for (i, run) in self.floats().unwrap_or_default().chunks(inner.max(1)).enumerate() {
            let count = largest.len();
            let entry = &mut largest[i % count];
            *entry = run.iter().fold(*entry, |largest, x| largest.max(x.abs()));
        }
        largest
    }

    /// Writes the elements as the file has them: little-endian, in row-major order.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        match self.tensor.data() {
            Data::F32(values) if self.order == Order::Turned => {
                let shape = self.tensor.shape();
                self.write_turned(out, 0, values, [shape[0], shape[1]])
            }
            Data::F32(values) if self.order == Order::ChannelsLast => {
                let shape = self.tensor.shape();
                let size = [shape[1], shape[2] * shape[3]];
                let length = size[0] * size[1];
                let mut kernels = values.chunks_exact(length.max(1)).enumerate();
                kernels.try_for_each(|(i, kernel)| self.write_turned(out, i * length, kernel, size))
            }
            Data::F32(values) => {
                let mut bytes = Vec::with_capacity(4 * PIECE);
                for (i, piece) in values.chunks(PIECE).enumerate() {
                    self.encode_piece(i * PIECE, piece, &mut bytes);
                    out.write_all(&bytes)?;
                }
                Ok(())
            }
            // Those of other types are few: tables, shapes, axes.
            Data::F64(values) => values.iter().try_for_each(|x| out.write_all(&x.to_le_bytes())),
            Data::I64(values) => values.iter().try_for_each(|x| out.write_all(&x.to_le_bytes())),
            Data::U8(values) => out.write_all(values),
        }
    }

    /// A matrix that stands at `start` and after in the file. Some columns at a time, so that memory is read in order.
    fn write_turned(
        &self,
        out: &mut impl Write,
        start: usize,
        values: &[f32],
        [rows, columns]: [usize; 2],
    ) -> io::Result<()> {
        const COLUMNS: usize = 32;
        let (mut block, mut bytes) = (vec![0.0; COLUMNS * rows], Vec::new());
        for first in (0..columns).step_by(COLUMNS) {
            let count = COLUMNS.min(columns - first);
            for (row, line) in values.chunks_exact(columns).enumerate() {
                for (column, &x) in line[first..first + count].iter().enumerate() {
                    block[column * rows + row] = x;
                }
            }
            self.encode_piece(start + first * rows, &block[..count * rows], &mut bytes);
            out.write_all(&bytes)?;
        }
        Ok(())
    }

    /// The bytes of `values`, which stand at `start` and after in the file.
    fn encode_piece(&self, start: usize, values: &[f32], bytes: &mut Vec<u8>) {
        bytes.clear();
        match &self.encoding {
            Encoding::Plain => bytes.extend(values.iter().flat_map(|x| x.to_le_bytes())),
            Encoding::F16 => bytes.extend(values.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes())),
            Encoding::Bf16 => bytes.extend(values.iter().flat_map(|&x| bf16::from_f32(x).to_le_bytes())),
            Encoding::Integers { width, scales, axis } => {
                let inner: usize = self.shape().iter().skip(axis + 1).product();
                let scale = |i: usize| scales[(start + i) / inner.max(1) % scales.len()];
                let whole = |(i, x): (usize, &f32)| (f64::from(*x) / f64::from(scale(i))).round_ties_even();
                let wholes = values.iter().enumerate().map(whole);
                // Conversions to integers stop at the limits of the type.
                match width {
                    Width::I8 => bytes.extend(wholes.flat_map(|x| (x.max(-127.0) as i8).to_le_bytes())),
                    Width::I32 => {
                        bytes.extend(wholes.flat_map(|x| (x as i32).max(-i32::MAX).to_le_bytes()));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(initializer: &Initializer) -> Vec<u8> {
        let mut bytes = Vec::new();
        initializer.write(&mut bytes).expect("memory takes all");
        assert_eq!(bytes.len() as u64, initializer.bytes());
        bytes
    }

    #[test]
    fn matrices_are_turned() {
        let (rows, columns) = (5, 70);
        let values: Vec<f32> = (0..rows * columns).map(|i| i as f32).collect();
        let tensor = Tensor::f32(&[rows, columns], values);
        let initializer = Initializer::turned("w", Cow::Borrowed(&tensor));
        assert_eq!(initializer.shape(), [columns, rows]);
        let bytes = written(&initializer);
        let found: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        let expected: Vec<f32> =
            (0..columns).flat_map(|c| (0..rows).map(move |r| (r * columns + c) as f32)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn the_channels_of_kernels_come_last() {
        let [outputs, inputs, height, width] = [2, 5, 3, 2];
        let values: Vec<f32> = (0..outputs * inputs * height * width).map(|i| i as f32).collect();
        let tensor = Tensor::f32(&[outputs, inputs, height, width], values);
        let mut initializer = Initializer::channels_last("w", Cow::Borrowed(&tensor));
        assert_eq!(initializer.shape(), [outputs, height, width, inputs]);
        assert_eq!(initializer.largest_along(3), [35.0, 41.0, 47.0, 53.0, 59.0]);
        initializer.encode(Encoding::F16);
        let bytes = written(&initializer);
        let found: Vec<f32> =
            bytes.as_chunks::<2>().0.iter().map(|b| f16::from_le_bytes(*b).to_f32()).collect();
        let mut expected = Vec::new();
        for (o, y, x) in
            (0..outputs).flat_map(|o| (0..height).flat_map(move |y| (0..width).map(move |x| (o, y, x))))
        {
            expected.extend((0..inputs).map(|i| (((o * inputs + i) * height + y) * width + x) as f32));
        }
        assert_eq!(found, expected);
    }

    #[test]
    fn floats_are_rounded_to_16_bits() {
        let tensor = Tensor::f32(&[3], vec![1.0, 1.0 + 2f32.powi(-9), 1e6]);
        let mut initializer = Initializer::new("w", Cow::Borrowed(&tensor));
        initializer.encode(Encoding::F16);
        let bytes = written(&initializer);
        let found = bytes.as_chunks::<2>().0.iter().map(|b| f16::from_le_bytes(*b).to_f32());
        assert!(found.eq([1.0, 1.0 + 2f32.powi(-9), f32::INFINITY]));
        initializer.encode(Encoding::Bf16);
        let bytes = written(&initializer);
        let found = bytes.as_chunks::<2>().0.iter().map(|b| bf16::from_le_bytes(*b).to_f32());
        assert!(found.eq([1.0, 1.0, 999_424.0]));
    }

    #[test]
    fn integers_take_the_scale_of_their_channel() {
        // Columns of the turned matrix are rows of the one in memory.
        let tensor = Tensor::f32(&[2, 3], vec![0.5, -1.0, 1.5, 20.0, -2000.0, 25.0]);
        let mut initializer = Initializer::turned("w", Cow::Borrowed(&tensor));
        assert_eq!(initializer.largest_along(1), [1.5, 2000.0]);
        assert_eq!(initializer.largest_along(0), [20.0, 2000.0, 25.0]);
        let scales = vec![0.5, 10.0];
        initializer.encode(Encoding::Integers { width: Width::I8, scales: scales.clone(), axis: 1 });
        let found: Vec<i8> = written(&initializer).into_iter().map(|b| b as i8).collect();
        assert_eq!(found, [1, 2, -2, -127, 3, 2], "25 / 10 is halfway and goes to the even 2");

        let bias = Tensor::f32(&[2], vec![1e9, -4.0]);
        let mut initializer = Initializer::new("b", Cow::Borrowed(&bias));
        initializer.encode(Encoding::Integers { width: Width::I32, scales, axis: 0 });
        let found: Vec<i32> =
            written(&initializer).as_chunks::<4>().0.iter().map(|b| i32::from_le_bytes(*b)).collect();
        assert_eq!(found, [2_000_000_000, 0]);
    }
}
