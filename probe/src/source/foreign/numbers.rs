//! Numbers as files store them, and what becomes of them in float32.

use half::{bf16, f16};

use super::labels::RawLabels;

/// How a number is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Element {
    Bool,
    F16,
    Bf16,
    F32,
    F64,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
}

impl Element {
    /// The name in reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::F32 => "f32",
            Self::F64 => "f64",
            Self::I8 => "i8",
            Self::I16 => "i16",
            Self::I32 => "i32",
            Self::I64 => "i64",
            Self::U8 => "u8",
            Self::U16 => "u16",
            Self::U32 => "u32",
            Self::U64 => "u64",
        }
    }

    /// The one of that name.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        use Element::*;
        let all = [Bool, F16, Bf16, F32, F64, I8, I16, I32, I64, U8, U16, U32, U64];
        all.into_iter().find(|element| element.name() == name)
    }

    /// Bytes of a number.
    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::Bool | Self::I8 | Self::U8 => 1,
            Self::F16 | Self::Bf16 | Self::I16 | Self::U16 => 2,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F64 | Self::I64 | Self::U64 => 8,
        }
    }

    /// What becomes of a number that is read, in words.
    pub(crate) fn reading(self) -> &'static str {
        match self {
            Self::F64 => "f32, each number rounded to the nearest",
            Self::I32 | Self::I64 | Self::U32 | Self::U64 => {
                "f32, exact up to 16777216 and rounded to the nearest beyond"
            }
            _ => "f32, exact",
        }
    }

    /// Adds the numbers that `bytes` holds, whole ones, to `out`.
    ///
    /// # Errors
    /// The position and value of a finite number that float32 cannot hold.
    pub(crate) fn read(self, bytes: &[u8], big_endian: bool, out: &mut Vec<f32>) -> Result<(), (usize, f64)> {
        macro_rules! each {
            ($type:ty, $convert:expr) => {
                out.extend(numbers::<$type, _, { size_of::<$type>() }>(
                    bytes,
                    if big_endian { <$type>::from_be_bytes } else { <$type>::from_le_bytes },
                    $convert,
                ))
            };
        }
        match self {
            Self::Bool => out.extend(bytes.iter().map(|&byte| f32::from(u8::from(byte != 0)))),
            Self::F16 => each!(f16, f16::to_f32),
            Self::Bf16 => each!(bf16, bf16::to_f32),
            Self::F32 => each!(f32, |value| value),
            Self::I8 => each!(i8, f32::from),
            Self::U8 => each!(u8, f32::from),
            Self::I16 => each!(i16, f32::from),
            Self::U16 => each!(u16, f32::from),
            Self::I32 => each!(i32, |value| value as f32),
            Self::U32 => each!(u32, |value| value as f32),
            Self::I64 => each!(i64, |value| value as f32),
            Self::U64 => each!(u64, |value| value as f32),
            Self::F64 => {
                let from = if big_endian { f64::from_be_bytes } else { f64::from_le_bytes };
                for (position, value) in numbers::<f64, _, 8>(bytes, from, |value| value).enumerate() {
                    out.push(narrowed(value).ok_or((position, value))?);
                }
            }
        }
        Ok(())
    }

    /// Labels from the numbers that `bytes` holds.
    ///
    /// # Errors
    /// The row and what stands there in place of a whole number.
    pub(crate) fn labels(self, bytes: &[u8], big_endian: bool) -> Result<RawLabels, String> {
        macro_rules! whole {
            ($type:ty) => {
                numbers::<$type, _, { size_of::<$type>() }>(
                    bytes,
                    if big_endian { <$type>::from_be_bytes } else { <$type>::from_le_bytes },
                    i64::from,
                )
                .collect()
            };
        }
        macro_rules! floats {
            ($type:ty, $convert:expr) => {
                RawLabels::of_floats(numbers::<$type, _, { size_of::<$type>() }>(
                    bytes,
                    if big_endian { <$type>::from_be_bytes } else { <$type>::from_le_bytes },
                    $convert,
                ))?
            };
        }
        Ok(match self {
            Self::Bool => RawLabels::Integers(bytes.iter().map(|&byte| i64::from(byte != 0)).collect()),
            Self::I8 => RawLabels::Integers(whole!(i8)),
            Self::U8 => RawLabels::Integers(whole!(u8)),
            Self::I16 => RawLabels::Integers(whole!(i16)),
            Self::U16 => RawLabels::Integers(whole!(u16)),
            Self::I32 => RawLabels::Integers(whole!(i32)),
            Self::U32 => RawLabels::Integers(whole!(u32)),
            Self::I64 => RawLabels::Integers(whole!(i64)),
            Self::U64 => {
                let from = if big_endian { u64::from_be_bytes } else { u64::from_le_bytes };
                let values =
                    numbers::<u64, _, 8>(bytes, from, |value| value).enumerate().map(|(row, value)| {
                        i64::try_from(value)
                            .map_err(|_| format!("row {row} has the label {value}, which is too large"))
                    });
                RawLabels::Integers(values.collect::<Result<_, _>>()?)
            }
            Self::F16 => floats!(f16, f16::to_f64),
            Self::Bf16 => floats!(bf16, bf16::to_f64),
            Self::F32 => floats!(f32, f64::from),
            Self::F64 => floats!(f64, |value| value),
        })
    }
}

/// The nearest float32; none where a finite number is beyond all of them.
pub(crate) fn narrowed(value: f64) -> Option<f32> {
    let narrow = value as f32;
    (narrow.is_finite() || !value.is_finite()).then_some(narrow)
}

/// What is said of a number that float32 cannot hold.
pub(crate) fn too_large(row: usize, column: usize, value: f64) -> String {
    format!(
        "row {row}, column {column} holds {value:e}, which float32 cannot hold (3.4e38 at most); scale the features"
    )
}

/// The numbers of a byte string, each converted.
fn numbers<T, U, const SIZE: usize>(
    bytes: &[u8],
    from: fn([u8; SIZE]) -> T,
    convert: impl Fn(T) -> U,
) -> impl Iterator<Item = U> {
    bytes.as_chunks::<SIZE>().0.iter().map(move |&chunk| convert(from(chunk)))
}
