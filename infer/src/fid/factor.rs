//! Triangular factors of covariances that may be singular.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use ndarray::{Array2, ArrayView2};

use super::error::FidError;

/// Columns of the factor after which they are taken from the covariance, as one product of matrices.
const PANEL: usize = 64;

/// The largest difference of two entries that should be the same, relative to the largest entry.
const SYMMETRY: f64 = 1e-6;

/// A factor L `[D, R]` of a covariance `[D, D]` of rank R up to rounding: L Lᵀ is the covariance.
///
/// Cholesky's factorisation with diagonal pivoting (Higham, *Accuracy and Stability of Numerical Algorithms*, 10.3),
/// which ends at the first pivot below D times the rounding of the largest: the covariance of N images has rank N - 1
/// at most. The rows of L are in the order of the features. Columns are computed by panels, as LAPACK's `dpstrf` does
/// (Hammarling, Higham and Lucas 2007).
///
/// # Errors
/// When the matrix is not square, symmetric and finite, a variance is negative, or a covariance far beyond its variances.
pub fn factor(covariance: ArrayView2<f64>) -> Result<Array2<f64>, FidError> {
    check(covariance)?;
    let dim = covariance.nrows();
    // What is left of each variance; none where the row was the pivot already.
    let mut left: Vec<Option<f64>> = covariance.diag().iter().copied().map(Some).collect();
    let largest = left.iter().flatten().fold(0.0, |largest: f64, &value| largest.max(value));
    let smallest = dim as f64 * f64::EPSILON * largest;
    // The covariance less the panels so far, and the factor; row after row.
    let mut rest: Vec<f64> = covariance.iter().copied().collect();
    let mut factor = vec![0.0; dim * dim];
    for rank in 0..dim {
        let start = rank / PANEL * PANEL;
        if rank == start && rank > 0 {
            subtract_panel(&mut rest, &factor, dim, start - PANEL);
        }
        let known = left.iter().enumerate().filter_map(|(row, value)| Some((row, (*value)?)));
        // The first of the largest.
        let pivot = known.reduce(|best, next| if next.1 > best.1 { next } else { best });
        let Some((pivot, variance)) = pivot.filter(|(_, variance)| *variance > smallest) else {
            if left.iter().flatten().any(|variance| !variance.is_finite()) {
                let what = "is none: that of two features is far beyond their variances; compute it again";
                return Err(FidError::Covariance { what: what.to_string() });
            }
            let columns = factor.chunks_exact(dim).flat_map(|row| &row[..rank]).copied().collect();
            return Ok(Array2::from_shape_vec((dim, rank), columns).expect("whole rows"));
        };
        let of_pivot = factor[pivot * dim + start..pivot * dim + rank].to_vec();
        let column = &rest[pivot * dim..(pivot + 1) * dim];
        let root = variance.sqrt();
        for (row, (values, left)) in factor.chunks_exact_mut(dim).zip(&mut left).enumerate() {
            if let Some(variance) = left {
                let known = values[start..rank].iter().zip(&of_pivot);
                let explained: f64 = known.map(|(a, b)| a * b).sum();
                let value = (column[row] - explained) / root;
                values[rank] = value;
                *variance -= value * value;
            }
        }
        factor[pivot * dim + rank] = root;
        left[pivot] = None;
    }
    Ok(Array2::from_shape_vec((dim, dim), factor).expect("whole rows"))
}

/// Takes what the panel of columns from `start` on explains from the covariance.
fn subtract_panel(rest: &mut [f64], factor: &[f64], dim: usize, start: usize) {
    let panel = MatRef::from_row_major_slice(factor, dim, dim).subcols(start, PANEL);
    let rest = MatMut::from_row_major_slice_mut(rest, dim, dim);
    matmul(rest, Accum::Add, panel, panel.transpose(), -1.0, Par::rayon(0));
}

fn check(covariance: ArrayView2<f64>) -> Result<(), FidError> {
    let wrong = |what: String| Err(FidError::Covariance { what });
    let (rows, columns) = covariance.dim();
    if rows != columns || rows == 0 {
        return wrong(format!("is a matrix of {rows}x{columns} and not a square one"));
    }
    if let Some(value) = covariance.iter().find(|value| !value.is_finite()) {
        return wrong(format!("holds {value}; compute it again"));
    }
    let largest = covariance.iter().fold(0.0_f64, |largest, value| largest.max(value.abs()));
    for row in 0..rows {
        let variance = covariance[[row, row]];
        if variance < 0.0 {
            return wrong(format!("has the negative variance {variance} of feature {row}; compute it again"));
        }
        for column in 0..row {
            let (a, b) = (covariance[[row, column]], covariance[[column, row]]);
            if (a - b).abs() > SYMMETRY * largest {
                return wrong(format!(
                    "is not symmetric: {a} at row {row}, column {column}, and {b} at row {column}, column {row}"
                ));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    fn rows(count: usize, dim: usize) -> Array2<f64> {
        Array2::from_shape_fn((count, dim), |(i, j)| (((i + 1) * (j + 3) * 7919) % 211) as f64 / 100.0 - 1.0)
    }

    #[test]
    fn the_factor_times_itself_is_the_covariance() {
        for (count, dim, rank) in [(400, 90, 90), (40, 90, 40), (1, 5, 1)] {
            let rows = rows(count, dim);
            let covariance = rows.t().dot(&rows);
            let factor = factor(covariance.view()).expect("a factor");
            assert_eq!(factor.dim(), (dim, rank));
            let error = &factor.dot(&factor.t()) - &covariance;
            let error = error.iter().fold(0.0_f64, |error, value| error.max(value.abs()));
            assert!(error < 1e-10, "{count}x{dim}: {error:e}");
        }
    }

    #[test]
    fn nothing_varies() {
        assert_eq!(factor(Array2::zeros((4, 4)).view()).expect("a factor").dim(), (4, 0));
    }

    #[test]
    fn what_is_no_covariance_is_refused() {
        for (matrix, message) in [
            (array![[1.0, 0.0]], "is a matrix of 1x2"),
            (array![[1.0, f64::NAN], [0.0, 1.0]], "holds NaN"),
            (array![[1.0, 0.0], [0.0, -1.0]], "has the negative variance -1 of feature 1"),
            (array![[1.0, 1.5e308], [1.5e308, 1.0]], "is none: that of two features is far beyond"),
            (array![[1.0, 0.5], [0.2, 1.0]], "is not symmetric: 0.2 at row 1, column 0, and 0.5"),
        ] {
            let error = factor(matrix.view()).expect_err(message).to_string();
            assert!(error.starts_with("the covariance ") && error.contains(message), "{error}");
        }
    }
}
