//! The two precisions in which the objective is computed.

use std::ops::{AddAssign, Mul, Sub, SubAssign};

use faer::linalg::matmul::matmul;
use faer::traits::RealField;
use faer::{Accum, MatMut, MatRef, Par};

use crate::registers::clear_upper_halves;

/// float32 or float64.
pub(crate) trait Precision:
    RealField + Copy + Send + Sync + Sub<Output = Self> + Mul<Output = Self> + AddAssign + SubAssign
{
    const ZERO: Self;
    const ONE: Self;
    /// Minus infinity.
    const SMALLEST: Self;

    fn from_f64(value: f64) -> Self;
    fn to_f64(self) -> f64;
    fn exp(self) -> Self;
    fn max(self, other: Self) -> Self;
}

macro_rules! precision {
    ($float:ident) => {
        impl Precision for $float {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const SMALLEST: Self = $float::NEG_INFINITY;

            fn from_f64(value: f64) -> Self {
                value as $float
            }

            fn to_f64(self) -> f64 {
                f64::from(self)
            }

            fn exp(self) -> Self {
                $float::exp(self)
            }

            fn max(self, other: Self) -> Self {
                $float::max(self, other)
            }
        }
    };
}

precision!(f32);
precision!(f64);

/// `result = a b`, or `a^T b` where `transposed`, in the calling thread. A matrix is its values row after row and the
/// length of a row.
pub(crate) fn product<T: Precision>(
    result: &mut [T],
    (a, a_columns): (&[T], usize),
    (b, b_columns): (&[T], usize),
    transposed: bool,
) {
    if result.is_empty() {
        return;
    }
    let a = MatRef::from_row_major_slice(a, a.len() / a_columns.max(1), a_columns);
    let b = MatRef::from_row_major_slice(b, b.len() / b_columns.max(1), b_columns);
    let rows = result.len() / b_columns;
    let result = MatMut::from_row_major_slice_mut(result, rows, b_columns);
    match transposed {
        false => matmul(result, Accum::Replace, a, b, T::ONE, Par::Seq),
        true => matmul(result, Accum::Replace, a.transpose(), b, T::ONE, Par::Seq),
    }
    clear_upper_halves();
}
