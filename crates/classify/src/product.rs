//! Matrix products in parts, for those that are large enough.

use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, ArrayView2, Axis};
use rayon::prelude::*;

/// Multiplications below which a product is one part.
const LARGE: usize = 4 << 20;

/// Rows or columns of the result in one part. Their number is fixed, and no sum is divided among parts, so that results do
/// not depend on the number of threads.
const PART: usize = 64;

/// The product of `[M, K]` and `[K, N]`.
pub(crate) fn product(left: ArrayView2<f32>, right: ArrayView2<f32>) -> Array2<f32> {
    let (rows, columns) = (left.nrows(), right.ncols());
    if rows * columns * left.ncols() < LARGE {
        return left.dot(&right);
    }
    let mut result = Array2::zeros((rows, columns));
    let axis = Axis(usize::from(columns > rows));
    let parts: Vec<_> = result.axis_chunks_iter_mut(axis, PART).collect();
    parts.into_par_iter().enumerate().for_each(|(i, mut part)| {
        let place = i * PART..i * PART + part.len_of(axis);
        let (left, right) = match axis {
            Axis(0) => (left.slice_axis(axis, place.into()), right),
            _ => (left, right.slice_axis(axis, place.into())),
        };
        general_mat_mul(1.0, &left, &right, 0.0, &mut part);
    });
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_make_the_whole() {
        for [rows, inner, columns] in [[130, 300, 200], [200, 300, 130], [3, 4, 5]] {
            let left = Array2::from_shape_fn((inner, rows), |(i, j)| ((i * 7 + j * 3) % 11) as f32 - 5.0);
            let right = Array2::from_shape_fn((inner, columns), |(i, j)| ((i * 5 + j) % 13) as f32 - 6.0);
            assert_eq!(product(left.t(), right.view()), left.t().dot(&right));
        }
    }
}
