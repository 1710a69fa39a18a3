//! Distances in float64, on which answers rest.

use multiversion::multiversion;

use super::Metric;

impl Metric {
    /// The distance of two rows whose sums of squares are given.
    pub(super) fn distance(self, query: &[f32], query_square: f64, row: &[f32], row_square: f64) -> f64 {
        match self {
            Metric::Euclidean => squared_difference(query, row).sqrt(),
            Metric::Cosine => {
                let lengths = (query_square * row_square).sqrt();
                if lengths == 0.0 {
                    return 1.0;
                }
                let distance = 1.0 - dot(query, row) / lengths;
                // Parallel rows are at distance zero; what is left is rounding.
                if distance < 8.0 * f64::EPSILON { 0.0 } else { distance }
            }
        }
    }
}

/// The square of a row's length.
pub(super) fn square(row: &[f32]) -> f64 {
    dot(row, row)
}

/// Sixteen sums side by side, which the compiler turns into vector instructions: the same sums with all of them.
#[inline(always)]
fn sum_of(a: &[f32], b: &[f32], term: impl Fn(f64, f64) -> f64) -> f64 {
    let mut sums = [0.0; 16];
    let (a_chunks, a_rest) = a.as_chunks::<16>();
    let (b_chunks, b_rest) = b.as_chunks::<16>();
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for i in 0..16 {
            sums[i] += term(f64::from(a[i]), f64::from(b[i]));
        }
    }
    for (&a, &b) in a_rest.iter().zip(b_rest) {
        sums[0] += term(f64::from(a), f64::from(b));
    }
    sums.iter().sum()
}

#[multiversion(targets("x86_64+avx2+avx512f+avx512vl", "x86_64+avx2"))]
fn dot(a: &[f32], b: &[f32]) -> f64 {
    sum_of(a, b, |a, b| a * b)
}

#[multiversion(targets("x86_64+avx2+avx512f+avx512vl", "x86_64+avx2"))]
fn squared_difference(a: &[f32], b: &[f32]) -> f64 {
    sum_of(a, b, |a, b| (a - b) * (a - b))
}
