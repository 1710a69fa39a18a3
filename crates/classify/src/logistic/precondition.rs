//! The preconditioner of the solver: the objective's curvature at the start.

use std::borrow::Cow;

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, ArrayViewMut2, Axis, s};
use rayon::prelude::*;

use crate::registers::clear_upper_halves;

use super::objective::Objective;

/// Columns of the matrix that are formed and eliminated together.
const PANEL: usize = 64;

/// Beyond this many features the matrix costs more than it saves (8 bytes * D^2), and its diagonal is used.
const LARGEST_DIM: usize = 4096;

/// Rows for each feature that the matrix is formed of: it only has to be near, and many rows add nothing but time.
const ROWS_PER_FEATURE: usize = 16;

/// An approximate inverse Hessian.
///
/// At `W = 0` every class has probability `1 / K` and the Hessian of the objective is `X^T X / K + alpha I` for every
/// class, up to a shift common to all classes. Standardised features are strongly correlated (neighbouring pixels,
/// channels of one layer): without the preconditioner a quasi-Newton method needs many hundred steps for raw pixels,
/// with it about fifty.
pub(crate) struct Preconditioner {
    /// Lower Cholesky factor `[D, D]`, or none when only the diagonal is used.
    factor: Option<Array2<f64>>,
    /// The diagonal's value for `W` where there is no factor.
    diagonal: f64,
    /// The curvature of the intercept.
    intercept: f64,
}

impl Preconditioner {
    /// Forms and factorises the matrix: `n D^2 + D^3 / 3` operations for n rows, evenly spaced, of the N.
    pub fn new(objective: &Objective) -> Self {
        let (rows, class_count) = objective.parameter_shape();
        let dim = rows - 1;
        let scale = 1.0 / class_count as f64;
        let intercept = scale * objective.samples() as f64;
        let diagonal = intercept + objective.alpha();
        let factor = (dim <= LARGEST_DIM).then(|| {
            let mut matrix = gram(objective, scale);
            // The shift beside alpha keeps the factorisation positive when there are fewer samples than features
            // and alpha is tiny.
            let shift = objective.alpha() + 1e-9 * intercept;
            matrix.diag_mut().mapv_inplace(|v| v + shift);
            cholesky(matrix)
        });
        Self { factor: factor.flatten(), diagonal, intercept }
    }

    /// Applies the inverse to a gradient `[D + 1, K]`.
    pub(crate) fn solve(&self, gradient: &Array2<f64>) -> Array2<f64> {
        let mut solution = gradient.clone();
        let dim = solution.nrows() - 1;
        solution.row_mut(dim).mapv_inplace(|v| v / self.intercept);
        let Some(factor) = &self.factor else {
            solution.slice_mut(s![..dim, ..]).mapv_inplace(|v| v / self.diagonal);
            return solution;
        };
        // L z = g, then L^T x = z, a panel of rows at a time: what is known is subtracted as one matrix product.
        for start in (0..dim).step_by(PANEL) {
            let end = (start + PANEL).min(dim);
            let (known, mut panel) = solution.view_mut().split_at(Axis(0), start);
            let mut panel = panel.slice_mut(s![..end - start, ..]);
            general_mat_mul(-1.0, &factor.slice(s![start..end, ..start]), &known, 1.0, &mut panel);
            for i in 0..end - start {
                let (above, mut row) = panel.view_mut().split_at(Axis(0), i);
                let mut row = row.row_mut(0);
                for (j, solved) in above.rows().into_iter().enumerate() {
                    row.scaled_add(-factor[[start + i, start + j]], &solved);
                }
                row /= factor[[start + i, start + i]];
            }
        }
        for start in (0..dim).step_by(PANEL).rev() {
            let end = (start + PANEL).min(dim);
            let (mut before, known) = solution.view_mut().split_at(Axis(0), end);
            let known = known.slice(s![..dim - end, ..]);
            let mut panel = before.slice_mut(s![start.., ..]);
            general_mat_mul(-1.0, &factor.slice(s![end.., start..end]).t(), &known, 1.0, &mut panel);
            for i in (0..end - start).rev() {
                let (mut head, below) = panel.view_mut().split_at(Axis(0), i + 1);
                let mut row = head.row_mut(i);
                for (j, solved) in below.rows().into_iter().enumerate() {
                    row.scaled_add(-factor[[start + i + 1 + j, start + i]], &solved);
                }
                row /= factor[[start + i, start + i]];
            }
        }
        solution
    }
}

/// `scale * X^T X` `[D, D]`, from some rows where there are many more than features; only the lower triangle is meant to
/// be read.
fn gram(objective: &Objective, scale: f64) -> Array2<f64> {
    let dim = objective.features().ncols();
    let stride = (objective.samples() / (ROWS_PER_FEATURE * dim).max(1)).max(1);
    let rows: Cow<[f64]> = match stride {
        1 => objective.rows().into(),
        _ => objective.rows().chunks_exact(dim).step_by(stride).flatten().copied().collect(),
    };
    let count = rows.len() / dim.max(1);
    let scale = scale * objective.samples() as f64 / count.max(1) as f64;
    let features = MatRef::from_row_major_slice(&rows, count, dim);
    let mut matrix = vec![0.0; dim * dim];
    // The last panels are the longest.
    let panels: Vec<_> = matrix.chunks_mut(PANEL * dim).enumerate().rev().collect();
    panels.into_par_iter().with_max_len(1).for_each(|(i, panel)| {
        let start = i * PANEL;
        let rows = panel.len() / dim;
        let end = start + rows;
        let triangle = MatMut::from_row_major_slice_mut(panel, rows, dim).subcols_mut(0, end);
        let (left, right) = (features.subcols(start, rows).transpose(), features.subcols(0, end));
        matmul(triangle, Accum::Replace, left, right, scale, Par::Seq);
        clear_upper_halves();
    });
    Array2::from_shape_vec((dim, dim), matrix).unwrap_or_default()
}

/// Groups of [`PANEL`] rows, to be worked on in parallel.
fn row_panels<'a>(matrix: &'a mut ArrayViewMut2<'_, f64>) -> Vec<ArrayViewMut2<'a, f64>> {
    matrix.axis_chunks_iter_mut(Axis(0), PANEL).collect()
}

/// The lower Cholesky factor of a symmetric matrix given by its lower triangle, or none when it is not positive
/// definite. The upper triangle of the result is not meaningful.
fn cholesky(mut matrix: Array2<f64>) -> Option<Array2<f64>> {
    let dim = matrix.nrows();
    for start in (0..dim).step_by(PANEL) {
        let end = (start + PANEL).min(dim);
        // The diagonal block, then the rows below it, each on its own.
        for i in start..end {
            for j in start..=i {
                let sum = matrix.slice(s![i, start..j]).dot(&matrix.slice(s![j, start..j]));
                let rest = matrix[[i, j]] - sum;
                if i > j {
                    matrix[[i, j]] = rest / matrix[[j, j]];
                } else if rest > 0.0 {
                    matrix[[i, j]] = rest.sqrt();
                } else {
                    return None;
                }
            }
        }
        let block = matrix.slice(s![start..end, start..end]).to_owned();
        let (_, mut trailing) = matrix.view_mut().split_at(Axis(0), end);
        row_panels(&mut trailing).into_par_iter().for_each(|mut rows| {
            for mut row in rows.rows_mut() {
                for j in 0..end - start {
                    let sum = row.slice(s![start..start + j]).dot(&block.slice(s![j, ..j]));
                    row[start + j] = (row[start + j] - sum) / block[[j, j]];
                }
            }
        });
        let panel = trailing.slice(s![.., start..end]).to_owned();
        row_panels(&mut trailing).into_par_iter().enumerate().for_each(|(i, mut rows)| {
            let first = i * PANEL;
            let last = first + rows.nrows();
            let left = panel.slice(s![first..last, ..]);
            let right = panel.slice(s![..last, ..]);
            general_mat_mul(-1.0, &left, &right.t(), 1.0, &mut rows.slice_mut(s![.., end..end + last]));
        });
    }
    Some(matrix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn solves_the_curvature_at_the_start() {
        let (samples, dim) = (300, 150);
        let features = Array2::from_shape_fn((samples, dim), |(i, j)| {
            (((i * 31 + j * 17) * 2_654_435 % 1009) as f64) / 504.0 - 1.0
        });
        let classes: Vec<usize> = (0..samples).map(|i| i % 3).collect();
        let objective = Objective::new(features.view(), &classes, 3, 0.5);
        let expected = Array2::from_shape_fn((dim + 1, 3), |(i, j)| (i as f64 * 0.37 + j as f64).sin());
        let mut gradient = Array2::zeros((dim + 1, 3));
        let weights = expected.slice(s![..dim, ..]);
        let curvature = features.t().dot(&features.dot(&weights)) / 3.0 + &weights * (0.5 + 1e-9 * 100.0);
        gradient.slice_mut(s![..dim, ..]).assign(&curvature);
        gradient.row_mut(dim).assign(&(&expected.row(dim) * 100.0));
        let solution = Preconditioner::new(&objective).solve(&gradient);
        let difference = (&solution - &expected).iter().fold(0.0, |a: f64, v| a.max(v.abs()));
        assert!(difference < 1e-8, "{difference}");
    }
}
