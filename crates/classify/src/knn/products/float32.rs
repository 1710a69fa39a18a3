//! Products on vector units.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};

use crate::registers::clear_upper_halves;

/// Rounds a row and returns the sum of the squares of the differences.
pub(super) fn set(row: &mut [f32], values: &[f64]) -> f64 {
    let mut lost = 0.0;
    for (target, &value) in row.iter_mut().zip(values) {
        *target = value as f32;
        let difference = value - f64::from(*target);
        lost += difference * difference;
    }
    lost
}

/// `products[row][query]`, in the calling thread.
pub(super) fn multiply(base: &[f32], queries: &[f32], dim: usize, products: &mut [f32]) {
    let (rows, count) = (base.len() / dim, queries.len() / dim);
    let base = MatRef::from_row_major_slice(base, rows, dim);
    let queries = MatRef::from_row_major_slice(queries, count, dim);
    let products = MatMut::from_row_major_slice_mut(products, rows, count);
    matmul(products, Accum::Replace, base, queries.transpose(), 1.0, Par::Seq);
    clear_upper_halves();
}
