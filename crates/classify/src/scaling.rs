//! Scaling of features before a probe sees them.

use std::ops::Range;

use ndarray::{Array1, Array2, ArrayView2, ArrayViewMut2, Axis, Zip};
use rayon::prelude::*;

use crate::error::Result;
use crate::rows::{PASS_BYTES, Rows, blocks};

/// Rows that one thread works on at a time.
const PIECE_ROWS: usize = 256;

/// What a probe does to features first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Normalisation {
    /// Every row to length 1.
    L2,
    /// Every feature to mean 0 and standard deviation 1 on the training set.
    Standardise,
    /// Nothing.
    None,
}

impl Normalisation {
    /// The name on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::L2 => "l2",
            Self::Standardise => "standardise",
            Self::None => "none",
        }
    }

    /// Learns from the training set what there is to learn.
    ///
    /// # Errors
    /// As [`Rows::read`].
    pub fn fit(self, train: &dyn Rows) -> Result<Scaling> {
        Ok(match self {
            Self::L2 => Scaling::L2,
            Self::Standardise => Scaling::Standardise(Standardise::fit_rows(train)?),
            Self::None => Scaling::None,
        })
    }
}

/// Groups of [`PIECE_ROWS`] rows, to be worked on in parallel.
fn pieces<'a, T>(rows: &'a mut ArrayViewMut2<'_, T>) -> Vec<ArrayViewMut2<'a, T>> {
    rows.axis_chunks_iter_mut(Axis(0), PIECE_ROWS).collect()
}

/// Shifts and scales every feature to mean 0 and standard deviation 1 on the training set (population standard
/// deviation, float64). A feature that is constant on the training set, up to rounding, is only shifted, as
/// scikit-learn's `StandardScaler` does.
#[derive(Clone, Debug)]
pub struct Standardise {
    mean: Array1<f64>,
    /// One over the standard deviation, or 1 for a constant feature.
    scale: Array1<f64>,
}

/// Running mean and sum of squared deviations (Chan, Golub and LeVeque's merging of blocks).
struct Moments {
    count: f64,
    mean: Array1<f64>,
    squares: Array1<f64>,
}

impl Moments {
    fn new(dim: usize) -> Self {
        Self { count: 0.0, mean: Array1::zeros(dim), squares: Array1::zeros(dim) }
    }

    /// Adds rows `[N, D]`: pieces of them in parallel, merged in their order.
    fn add(&mut self, rows: ArrayView2<f64>) {
        let pieces: Vec<_> = rows.axis_chunks_iter(Axis(0), PIECE_ROWS).collect();
        let moments: Vec<Moments> = pieces.into_par_iter().map(Moments::of).collect();
        for moments in moments {
            self.merge(moments);
        }
    }

    fn of(rows: ArrayView2<f64>) -> Self {
        let count = rows.nrows() as f64;
        let mean = rows.sum_axis(Axis(0)) / count;
        let mut squares = Array1::<f64>::zeros(mean.len());
        for row in rows.rows() {
            Zip::from(&mut squares).and(row).and(&mean).for_each(|s, &v, &m| *s += (v - m) * (v - m));
        }
        Self { count, mean, squares }
    }

    fn merge(&mut self, block: Moments) {
        let total = self.count + block.count;
        let weight = self.count * block.count / total;
        Zip::from(&mut self.mean).and(&mut self.squares).and(&block.mean).and(&block.squares).for_each(
            |mean, squares, &block_mean, &block_squares| {
                let delta = block_mean - *mean;
                *squares += block_squares + delta * delta * weight;
                *mean += delta * block.count / total;
            },
        );
        self.count = total;
    }

    fn finish(self) -> Standardise {
        let count = self.count.max(1.0);
        let scale = Zip::from(&self.mean).and(&self.squares).map_collect(|&mean, &squares| {
            let variance = squares / count;
            // What rounding alone leaves as the variance of a constant.
            let rounding = count * f64::EPSILON * variance + (count * mean * f64::EPSILON).powi(2);
            if variance <= rounding { 1.0 } else { 1.0 / variance.sqrt() }
        });
        Standardise { mean: self.mean, scale }
    }
}

impl Standardise {
    /// Learns mean and standard deviation from features `[N, D]`.
    pub fn fit(features: ArrayView2<f64>) -> Self {
        let mut moments = Moments::new(features.ncols());
        moments.add(features);
        moments.finish()
    }

    /// Learns mean and standard deviation in one pass over rows.
    ///
    /// # Errors
    /// As [`Rows::read`].
    pub(crate) fn fit_rows(rows: &dyn Rows) -> Result<Self> {
        let mut moments = Moments::new(rows.dim());
        for range in blocks(rows.len(), rows.dim(), PASS_BYTES) {
            moments.add(rows.read(range)?.mapv(f64::from).view());
        }
        Ok(moments.finish())
    }

    /// Only shifts to mean 0, without scaling.
    pub(crate) fn centre_only(mut self) -> Self {
        self.scale.fill(1.0);
        self
    }

    /// Scales features `[N, D]` in place.
    pub fn apply(&self, mut features: ArrayViewMut2<f64>) {
        pieces(&mut features.view_mut()).into_par_iter().for_each(|mut rows| {
            for mut row in rows.rows_mut() {
                Zip::from(&mut row)
                    .and(&self.mean)
                    .and(&self.scale)
                    .for_each(|v, &mean, &scale| *v = (*v - mean) * scale);
            }
        });
    }

    /// Scales float32 features `[N, D]` in place, computing in float64.
    pub fn apply_f32(&self, features: &mut Array2<f32>) {
        pieces(&mut features.view_mut()).into_par_iter().for_each(|mut rows| {
            for mut row in rows.rows_mut() {
                Zip::from(&mut row).and(&self.mean).and(&self.scale).for_each(|v, &mean, &scale| {
                    *v = ((f64::from(*v) - mean) * scale) as f32;
                });
            }
        });
    }
}

/// [`Normalisation`] with what it needs of the training set.
#[derive(Clone, Debug)]
pub enum Scaling {
    /// Nothing.
    None,
    /// Length 1.
    L2,
    /// Mean 0 and standard deviation 1 of every feature on the training set.
    Standardise(Standardise),
}

impl Scaling {
    /// Scales rows `[N, D]` in place.
    pub fn apply(&self, features: &mut Array2<f32>) {
        match self {
            Self::None => {}
            Self::L2 => normalise_l2(features),
            Self::Standardise(standardise) => standardise.apply_f32(features),
        }
    }
}

/// Rows that are scaled as they are read.
pub struct Scaled<'a> {
    /// The rows as they are.
    pub rows: &'a dyn Rows,
    /// What is done to them.
    pub scaling: &'a Scaling,
}

impl Rows for Scaled<'_> {
    fn len(&self) -> usize {
        self.rows.len()
    }

    fn dim(&self) -> usize {
        self.rows.dim()
    }

    fn read(&self, range: Range<usize>) -> Result<Array2<f32>> {
        let mut features = self.rows.read(range)?;
        self.scaling.apply(&mut features);
        Ok(features)
    }
}

/// Scales every row `[N, D]` to length 1. A row of zeros stays, as in scikit-learn's `normalize`.
pub fn normalise_l2(features: &mut Array2<f32>) {
    pieces(&mut features.view_mut()).into_par_iter().for_each(|mut rows| {
        for mut row in rows.rows_mut() {
            let norm = row.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>().sqrt();
            if norm > 0.0 {
                row.mapv_inplace(|v| (f64::from(v) / norm) as f32);
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn a_constant_feature_is_only_shifted() {
        // 0.1 is not exact in binary: its computed variance is not exactly zero.
        let features = array![[0.1, 1.0], [0.1, 3.0], [0.1, 5.0]];
        let mut scaled = features.clone();
        Standardise::fit(features.view()).apply(scaled.view_mut());
        assert!(scaled.column(0).iter().all(|v| v.abs() < 1e-15));
        let expected = (8.0_f64 / 3.0).sqrt();
        assert!((scaled[[0, 1]] + 2.0 / expected).abs() < 1e-15);
    }

    #[test]
    fn blocks_merge_to_the_moments_of_the_whole() {
        let features =
            Array2::from_shape_fn((1000, 3), |(i, j)| 1e4 + ((i * 37 + j * 11) % 101) as f64 * 0.01);
        let whole = Standardise::fit(features.view());
        let mut moments = Moments::new(3);
        for start in (0..1000).step_by(170) {
            moments.add(features.slice(ndarray::s![start..(start + 170).min(1000), ..]));
        }
        let merged = moments.finish();
        for j in 0..3 {
            assert!((whole.mean[j] - merged.mean[j]).abs() < 1e-10);
            assert!((whole.scale[j] / merged.scale[j] - 1.0).abs() < 1e-10);
        }
    }

    #[test]
    fn zero_rows_survive_l2() {
        let mut features = array![[3.0, 4.0], [0.0, 0.0]];
        normalise_l2(&mut features);
        assert_eq!(features, array![[0.6, 0.8], [0.0, 0.0]]);
    }
}
