//! Element types of stored tensors, and their conversion to those of [`Tensor`].

use std::fmt;

use half::{bf16, f16};

use ddae_model::tensor::Data;

/// The element type of a tensor in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // Named as the formats name them.
pub enum ElementType {
    F16,
    BF16,
    F32,
    F64,
    /// Four bits of exponent, three of mantissa, NaN but no infinities.
    F8E4M3,
    /// Five bits of exponent, two of mantissa.
    F8E5M2,
    /// As [`ElementType::F8E4M3`], with one zero and one NaN.
    F8E4M3FNUZ,
    /// As [`ElementType::F8E5M2`], with one zero, one NaN and no infinities.
    F8E5M2FNUZ,
    I8,
    I16,
    I32,
    I64,
    U8,
    /// A byte each.
    Bool,
    /// A type that is listed but not read, by its name in the file's format.
    Other(&'static str),
}

impl ElementType {
    /// Bytes of an element; none for types that are not read.
    pub fn size(self) -> Option<usize> {
        self.name_and_size().1
    }

    fn name_and_size(self) -> (&'static str, Option<usize>) {
        match self {
            ElementType::F16 => ("f16", Some(2)),
            ElementType::BF16 => ("bf16", Some(2)),
            ElementType::F32 => ("f32", Some(4)),
            ElementType::F64 => ("f64", Some(8)),
            ElementType::F8E4M3 => ("f8_e4m3", Some(1)),
            ElementType::F8E5M2 => ("f8_e5m2", Some(1)),
            ElementType::F8E4M3FNUZ => ("f8_e4m3fnuz", Some(1)),
            ElementType::F8E5M2FNUZ => ("f8_e5m2fnuz", Some(1)),
            ElementType::I8 => ("i8", Some(1)),
            ElementType::I16 => ("i16", Some(2)),
            ElementType::I32 => ("i32", Some(4)),
            ElementType::I64 => ("i64", Some(8)),
            ElementType::U8 => ("u8", Some(1)),
            ElementType::Bool => ("bool", Some(1)),
            ElementType::Other(name) => (name, None),
        }
    }
}

impl fmt::Display for ElementType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name_and_size().0)
    }
}

/// Which elements of a storage a tensor consists of, in row-major order.
#[derive(Clone, Copy, Debug)]
pub(super) enum Order<'a> {
    /// The first ones, as many as given.
    Dense(usize),
    /// Those at steps of `strides` (in elements) along the axes of `shape`.
    Strided { shape: &'a [usize], strides: &'a [usize] },
}

/// The elements of a tensor whose storage begins with `bytes` (little-endian); floats of 8 and 16 bits become float32, small
/// integers int64, booleans bytes. `None` for types that are not read.
pub(super) fn decode(element: ElementType, bytes: &[u8], order: Order<'_>) -> Option<Data> {
    Some(match element {
        ElementType::F32 => Data::F32(collect(bytes, order, f32::from_le_bytes)),
        ElementType::F16 => Data::F32(collect(bytes, order, |b| f16::from_le_bytes(b).to_f32())),
        ElementType::BF16 => Data::F32(collect(bytes, order, |b| bf16::from_le_bytes(b).to_f32())),
        ElementType::F64 => Data::F64(collect(bytes, order, f64::from_le_bytes)),
        ElementType::F8E4M3 => Data::F32(collect(bytes, order, |[b]| float8(b, 3, 7, false))),
        ElementType::F8E5M2 => Data::F32(collect(bytes, order, |[b]| f16::from_le_bytes([0, b]).to_f32())),
        ElementType::F8E4M3FNUZ => Data::F32(collect(bytes, order, |[b]| float8(b, 3, 8, true))),
        ElementType::F8E5M2FNUZ => Data::F32(collect(bytes, order, |[b]| float8(b, 2, 16, true))),
        ElementType::I64 => Data::I64(collect(bytes, order, i64::from_le_bytes)),
        ElementType::I32 => Data::I64(collect(bytes, order, |b| i32::from_le_bytes(b).into())),
        ElementType::I16 => Data::I64(collect(bytes, order, |b| i16::from_le_bytes(b).into())),
        ElementType::I8 => Data::I64(collect(bytes, order, |b| i8::from_le_bytes(b).into())),
        ElementType::U8 => Data::U8(collect(bytes, order, |[b]| b)),
        ElementType::Bool => Data::U8(collect(bytes, order, |[b]| u8::from(b != 0))),
        ElementType::Other(_) => return None,
    })
}

/// A float of 8 bits without infinities: `mantissa` bits of it, and the bias of the exponent. NaN is what minus zero would be,
/// or (`fnuz` false) all ones. Source: arXiv 2209.05433 and, for `fnuz`, arXiv 2206.02915.
fn float8(byte: u8, mantissa: u32, bias: i32, fnuz: bool) -> f32 {
    let is_nan = if fnuz { byte == 0x80 } else { byte & 0x7f == 0x7f };
    if is_nan {
        return f32::NAN;
    }
    let (exponent, fraction) =
        (i32::from((byte & 0x7f) >> mantissa), u32::from(byte) & ((1 << mantissa) - 1));
    let (significand, power) = match exponent {
        0 => (fraction, 1 - bias),
        _ => (fraction | 1 << mantissa, exponent - bias),
    };
    let magnitude = significand as f32 * f32::powi(2.0, power - mantissa as i32);
    if byte & 0x80 == 0 { magnitude } else { -magnitude }
}

fn collect<const N: usize, T>(bytes: &[u8], order: Order<'_>, value: impl Fn([u8; N]) -> T) -> Vec<T> {
    let (elements, _) = bytes.as_chunks::<N>();
    match order {
        Order::Dense(count) => elements[..count].iter().map(|&bytes| value(bytes)).collect(),
        Order::Strided { shape, strides } => {
            let count = shape.iter().product();
            let mut values = Vec::with_capacity(count);
            let (mut index, mut at) = (vec![0; shape.len()], 0);
            for _ in 0..count {
                values.push(value(elements[at]));
                for axis in (0..shape.len()).rev() {
                    index[axis] += 1;
                    at += strides[axis];
                    if index[axis] < shape[axis] {
                        break;
                    }
                    at -= strides[axis] * shape[axis];
                    index[axis] = 0;
                }
            }
            values
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transposed_tensor_is_gathered() {
        let bytes: Vec<u8> = (0..6i16).flat_map(i16::to_le_bytes).collect();
        let order = Order::Strided { shape: &[3, 2], strides: &[1, 3] };
        assert_eq!(decode(ElementType::I16, &bytes, order), Some(Data::I64(vec![0, 3, 1, 4, 2, 5])));
        // Along an axis that was expanded, the same element repeats.
        let order = Order::Strided { shape: &[2, 2], strides: &[0, 2] };
        assert_eq!(decode(ElementType::I16, &bytes, order), Some(Data::I64(vec![0, 2, 0, 2])));
        let order = Order::Strided { shape: &[], strides: &[] };
        assert_eq!(decode(ElementType::I16, &bytes, order), Some(Data::I64(vec![0])));
    }

    #[test]
    fn every_type_is_converted() {
        let one =
            |element, bytes: &[u8]| decode(element, bytes, Order::Dense(1)).expect("a type that is read");
        assert_eq!(one(ElementType::F16, &0xc100u16.to_le_bytes()), Data::F32(vec![-2.5]));
        assert_eq!(one(ElementType::BF16, &0x3fc0u16.to_le_bytes()), Data::F32(vec![1.5]));
        assert_eq!(one(ElementType::F32, &1.1f32.to_le_bytes()), Data::F32(vec![1.1]));
        assert_eq!(one(ElementType::F64, &1.1f64.to_le_bytes()), Data::F64(vec![1.1]));
        assert_eq!(one(ElementType::I8, &[0xfe]), Data::I64(vec![-2]));
        assert_eq!(one(ElementType::I32, &(-3i32).to_le_bytes()), Data::I64(vec![-3]));
        assert_eq!(one(ElementType::I64, &i64::MIN.to_le_bytes()), Data::I64(vec![i64::MIN]));
        assert_eq!(one(ElementType::U8, &[200]), Data::U8(vec![200]));
        assert_eq!(one(ElementType::Bool, &[7]), Data::U8(vec![1]));
        assert_eq!(decode(ElementType::Other("u16"), &[1], Order::Dense(1)), None);
    }

    /// Values of the papers' tables: the largest, the smallest normal and subnormal ones, one, and minus three quarters.
    #[test]
    fn floats_of_8_bits() {
        let values = |element, bytes: &[u8]| match decode(element, bytes, Order::Dense(bytes.len())) {
            Some(Data::F32(values)) => values,
            other => panic!("{other:?}"),
        };
        let power = |n| f32::powi(2.0, n);
        for (element, bytes, expected) in [
            (ElementType::F8E4M3, [0x7e, 0x08, 0x01, 0x38, 0xb4], [448.0, power(-6), power(-9), 1.0, -0.75]),
            (
                ElementType::F8E5M2,
                [0x7b, 0x04, 0x01, 0x3c, 0xba],
                [57_344.0, power(-14), power(-16), 1.0, -0.75],
            ),
            (
                ElementType::F8E4M3FNUZ,
                [0x7f, 0x08, 0x01, 0x40, 0xbc],
                [240.0, power(-7), power(-10), 1.0, -0.75],
            ),
            (
                ElementType::F8E5M2FNUZ,
                [0x7f, 0x04, 0x01, 0x40, 0xbe],
                [57_344.0, power(-15), power(-17), 1.0, -0.75],
            ),
        ] {
            assert_eq!(values(element, &bytes), expected, "{element}");
        }
        for (element, byte) in [
            (ElementType::F8E4M3, 0x7f),
            (ElementType::F8E4M3, 0xff),
            (ElementType::F8E5M2, 0x7e),
            (ElementType::F8E4M3FNUZ, 0x80),
            (ElementType::F8E5M2FNUZ, 0x80),
        ] {
            assert!(values(element, &[byte])[0].is_nan(), "{element} {byte:x}");
        }
        assert_eq!(values(ElementType::F8E5M2, &[0x7c, 0xfc]), [f32::INFINITY, f32::NEG_INFINITY]);
    }
}
