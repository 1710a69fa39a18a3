//! Mean and covariance of features, in one pass.

use ndarray::linalg::general_mat_mul;
use ndarray::{Array1, Array2, ArrayView2, Axis, s};
use rayon::prelude::*;

use super::error::FidError;

/// Rows that are added at a time. Blocks are cut by the rows' numbers alone, so that the sums do not depend on how rows
/// arrive.
const BLOCK: usize = 256;

/// Rows of the covariance that one thread works on at a time.
const PANEL: usize = 128;

/// The Gaussian that stands for a set of images.
#[derive(Clone, Debug, PartialEq)]
pub struct Statistics {
    /// `[D]`.
    pub mean: Array1<f64>,
    /// `[D, D]`, without bias: divided by the number of images less one.
    pub covariance: Array2<f64>,
    /// The number of images, where it is known.
    pub count: Option<u64>,
    /// SHA-256 of the checkpoint whose features they are, hexadecimal, where it is known.
    pub network: Option<String>,
}

impl Statistics {
    /// The number of features, D.
    pub fn dim(&self) -> usize {
        self.mean.len()
    }
}

/// Collects mean and covariance of rows, row by row or in blocks of any size, to the same bits.
///
/// In float64, by merging the moments of blocks about their own means (Chan, Golub and LeVeque 1983): nothing is lost
/// where means are large beside deviations. Memory: `[D, D]` and 256 rows.
pub struct Accumulator {
    count: u64,
    mean: Array1<f64>,
    /// Sums of products of deviations, `[D, D]`; only the lower half of each panel of rows is kept.
    products: Array2<f64>,
    /// Rows that wait for their block to be full.
    block: Array2<f64>,
    waiting: usize,
}

impl Accumulator {
    /// For rows of `dim` features.
    pub fn new(dim: usize) -> Accumulator {
        Accumulator {
            count: 0,
            mean: Array1::zeros(dim),
            products: Array2::zeros((dim, dim)),
            block: Array2::zeros((BLOCK, dim)),
            waiting: 0,
        }
    }

    /// Adds rows `[N, D]`.
    ///
    /// # Errors
    /// When a value is NaN or infinite.
    ///
    /// # Panics
    /// When D is another than in [`Accumulator::new`].
    pub fn add<T: Copy + Into<f64>>(&mut self, rows: ArrayView2<T>) -> Result<(), FidError> {
        assert_eq!(rows.ncols(), self.mean.len(), "rows of the width that was announced");
        for row in rows.rows() {
            let mut place = self.block.row_mut(self.waiting);
            for (column, (place, value)) in place.iter_mut().zip(row).enumerate() {
                *place = (*value).into();
                if !place.is_finite() {
                    let row = self.count + self.waiting as u64;
                    return Err(FidError::NotFinite { row, column, value: *place });
                }
            }
            self.waiting += 1;
            if self.waiting == BLOCK {
                self.flush();
            }
        }
        Ok(())
    }

    /// Merges the waiting rows.
    fn flush(&mut self) {
        let added = std::mem::take(&mut self.waiting);
        if added == 0 {
            return;
        }
        let mut rows = self.block.slice_mut(s![..added, ..]);
        let mean = rows.sum_axis(Axis(0)) / added as f64;
        rows -= &mean;
        let rows = rows.view();
        let total = self.count as f64 + added as f64;
        let delta = &mean - &self.mean;
        let weight = self.count as f64 * added as f64 / total;
        let panels: Vec<_> = self.products.axis_chunks_iter_mut(Axis(0), PANEL).collect();
        panels.into_par_iter().enumerate().for_each(|(index, mut panel)| {
            let begin = index * PANEL;
            let end = begin + panel.nrows();
            let mut panel = panel.slice_mut(s![.., ..end]);
            let of_panel = rows.slice(s![.., begin..end]);
            general_mat_mul(1.0, &of_panel.t(), &rows.slice(s![.., ..end]), 1.0, &mut panel);
            for (mut row, of_row) in panel.rows_mut().into_iter().zip(delta.slice(s![begin..end])) {
                row.scaled_add(weight * of_row, &delta.slice(s![..end]));
            }
        });
        self.mean.scaled_add(added as f64 / total, &delta);
        self.count += added as u64;
    }

    /// The statistics of all rows.
    ///
    /// # Errors
    /// When there are fewer than two, or their moments are too large.
    pub fn finish(mut self) -> Result<Statistics, FidError> {
        self.flush();
        let count = self.count;
        if count < 2 {
            return Err(FidError::TooFew { count });
        }
        let mut covariance = self.products / (count - 1) as f64;
        for row in 0..covariance.nrows() {
            for column in 0..row {
                covariance[[column, row]] = covariance[[row, column]];
            }
        }
        if !self.mean.iter().all(|value| value.is_finite()) {
            return Err(FidError::Overflow { what: "the mean of the features" });
        }
        if !covariance.iter().all(|value| value.is_finite()) {
            return Err(FidError::Overflow { what: "the covariance of the features" });
        }
        Ok(Statistics { mean: self.mean, covariance, count: Some(count), network: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows far from zero, more than two blocks and several panels.
    fn rows() -> Array2<f64> {
        Array2::from_shape_fn((600, 150), |(i, j)| {
            1e4 + ((i * 37 + j * j * 11) % 101) as f64 * 0.01 + (i % (j + 2)) as f64
        })
    }

    fn statistics_in_pieces(rows: ArrayView2<f64>, size: usize) -> Statistics {
        let mut accumulator = Accumulator::new(rows.ncols());
        for piece in rows.axis_chunks_iter(Axis(0), size) {
            accumulator.add(piece).expect("finite");
        }
        accumulator.finish().expect("statistics")
    }

    #[test]
    fn one_pass_gives_what_two_passes_give() {
        let rows = rows();
        let found = statistics_in_pieces(rows.view(), 600);
        let mean = rows.mean_axis(Axis(0)).expect("rows");
        let centred = &rows - &mean;
        let covariance = centred.t().dot(&centred) / 599.0;
        assert!(found.mean.iter().zip(&mean).all(|(a, b)| (a - b).abs() < 1e-8));
        let largest = covariance.iter().fold(0.0_f64, |largest, value| largest.max(value.abs()));
        let error = (&found.covariance - &covariance).iter().fold(0.0_f64, |error, d| error.max(d.abs()));
        assert!(error < 1e-10 * largest, "{error:e} of {largest}");
        assert_eq!(found.count, Some(600));
    }

    #[test]
    fn pieces_of_any_size_give_the_same_bits() {
        let rows = rows();
        let whole = statistics_in_pieces(rows.view(), 600);
        for size in [1, 16, 255, 256, 257] {
            assert_eq!(statistics_in_pieces(rows.view(), size), whole, "pieces of {size}");
        }
    }

    #[test]
    fn what_is_no_number_is_located() {
        let mut rows = Array2::<f32>::zeros((300, 3));
        rows[[270, 2]] = f32::NAN;
        let error = Accumulator::new(3).add(rows.view()).expect_err("no number").to_string();
        assert!(error.starts_with("image 270 has the feature NaN in column 2"), "{error}");
    }

    #[test]
    fn moments_that_overflow_are_refused() {
        for (value, what) in [(1e308, "the mean"), (1e200, "the covariance")] {
            let mut accumulator = Accumulator::new(1);
            let rows = Array2::from_shape_fn((4, 1), |(i, _)| if i < 3 { value } else { -value / 2.0 });
            accumulator.add(rows.view()).expect("finite");
            let error = accumulator.finish().expect_err("too large").to_string();
            let expected = format!("{what} of the features is too large for 64-bit floats");
            assert!(error.starts_with(&expected), "{error}");
        }
    }

    #[test]
    fn one_image_has_no_covariance() {
        let mut accumulator = Accumulator::new(2);
        accumulator.add(Array2::<f32>::ones((1, 2)).view()).expect("finite");
        let error = accumulator.finish().expect_err("too few").to_string();
        assert_eq!(error, "1 image(s): a covariance needs at least 2");
    }
}
