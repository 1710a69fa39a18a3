//! Precision and recall of generated images (arXiv 1904.06991).

use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use ndarray::linalg::general_mat_mul;
use ndarray::{Array1, Array2, ArrayView1, ArrayView2, s};
use rayon::prelude::*;

use super::error::FidError;

/// Nearest neighbours whose distance is a ball's radius; the paper's number, and torch-fidelity's.
pub const NEIGHBOURS: usize = 3;

/// Rows of a set that one thread compares with all of another at a time.
const ROWS: usize = 128;

/// Rows of the other that are multiplied at a time.
const COLUMNS: usize = 1024;

/// Precision and recall.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PrecisionRecall {
    /// The part of the fake images that lie in the manifold of the real ones.
    pub precision: f64,
    /// The part of the real images that lie in the manifold of the fake ones.
    pub recall: f64,
}

impl PrecisionRecall {
    /// The harmonic mean of both, 0 where both are.
    pub fn f_score(&self) -> f64 {
        // torch-fidelity's lower bound.
        2.0 * self.precision * self.recall / (self.precision + self.recall).max(1e-5)
    }
}

/// Precision and recall of `fake` `[M, D]` beside `real` `[N, D]`. A set's manifold is the union of balls around its points,
/// each as wide as the distance to the point's `neighbours`-th nearest neighbour in its set.
///
/// Distances are found by products in float32 and, wherever their rounding could decide, computed again in float64. Beside
/// the features it takes some 128 x N numbers a thread.
///
/// `advance` is told of the images that are done, N + 2 M in all, and says whether to go on.
///
/// # Errors
/// When the widths differ, a set has no more images than `neighbours`, a feature is too large, or `advance` says so
/// ([`FidError::Interrupted`]).
pub fn precision_recall(
    real: ArrayView2<f32>,
    fake: ArrayView2<f32>,
    neighbours: usize,
    advance: impl Fn(u64) -> bool + Sync,
) -> Result<PrecisionRecall, FidError> {
    if real.ncols() != fake.ncols() {
        return Err(FidError::Dims { real: real.ncols(), fake: fake.ncols() });
    }
    let count = real.nrows().min(fake.nrows());
    if neighbours == 0 || count <= neighbours {
        return Err(FidError::Neighbours { neighbours, count });
    }
    let of_reals = Points::new(real)?.radii(neighbours, &advance)?;
    let of_fakes = Points::new(fake)?.radii(neighbours, &advance)?;
    let centre = mean(real);
    let (real, fake) = (Points::about(centre.clone(), real)?, Points::about(centre, fake)?);
    let found: Vec<AtomicBool> = (0..real.len()).map(|_| AtomicBool::new(false)).collect();
    let precise = AtomicUsize::new(0);
    fake.compared_with(&real, &advance, |row, products| {
        let mut is_precise = false;
        for (column, (&product, is_found)) in products.iter().zip(&found).enumerate() {
            let recalled = is_found.load(Ordering::Relaxed);
            if recalled && is_precise {
                continue;
            }
            let bounds = Bounds::new(&fake, row, &real, column, product);
            let is_within = |squared: f64| bounds.is_within(squared, || fake.exact(row, &real, column));
            is_precise = is_precise || is_within(of_reals[column]);
            if !recalled && is_within(of_fakes[row]) {
                is_found.store(true, Ordering::Relaxed);
            }
        }
        precise.fetch_add(usize::from(is_precise), Ordering::Relaxed);
    })?;
    let recalled = found.into_iter().filter(|found| found.load(Ordering::Relaxed)).count();
    Ok(PrecisionRecall {
        precision: precise.into_inner() as f64 / fake.len() as f64,
        recall: recalled as f64 / real.len() as f64,
    })
}

/// A set's features about a centre: near their own mean, products are small and lose little.
struct Points<'a> {
    given: ArrayView2<'a, f32>,
    centre: Array1<f32>,
    /// Their squared distances from the centre.
    norms: Array1<f64>,
}

/// The mean of a set's features, to the precision that a centre needs.
fn mean(given: ArrayView2<f32>) -> Array1<f32> {
    let mut sum = Array1::<f64>::zeros(given.ncols());
    for row in given.rows() {
        sum.zip_mut_with(&row, |sum, &value| *sum += f64::from(value));
    }
    sum.mapv(|sum| (sum / given.nrows() as f64) as f32)
}

/// What a squared distance lies between.
struct Bounds {
    lower: f64,
    upper: f64,
}

impl Bounds {
    /// Of a distance whose product of centred points, computed in float32, is `product`. The error of a product of D terms is at
    /// most D roundings of the product of the lengths (Higham, *Accuracy and Stability of Numerical Algorithms*, 3.1), and
    /// centring rounds each term once more.
    fn new(a: &Points, row: usize, b: &Points, column: usize, product: f32) -> Bounds {
        let norms = a.norms[row] + b.norms[column];
        let squared = norms - 2.0 * f64::from(product);
        let error = (a.given.ncols() + 16) as f64 * f64::from(f32::EPSILON) / 2.0 * norms;
        Bounds { lower: squared - error, upper: squared + error }
    }

    /// Whether the distance is at most `squared`; `exact` is asked where the bounds do not tell.
    fn is_within(&self, squared: f64, exact: impl FnOnce() -> f64) -> bool {
        self.upper <= squared || (self.lower <= squared && exact() <= squared)
    }
}

impl<'a> Points<'a> {
    /// About their own mean, which tells points of one set apart, wherever they are.
    fn new(given: ArrayView2<'a, f32>) -> Result<Points<'a>, FidError> {
        Points::about(mean(given), given)
    }

    fn about(centre: Array1<f32>, given: ArrayView2<'a, f32>) -> Result<Points<'a>, FidError> {
        let norm = |row: ArrayView1<f32>| {
            row.iter().zip(&centre).map(|(&value, &centre)| f64::from(value - centre).powi(2)).sum::<f64>()
        };
        let norms: Array1<f64> = given.rows().into_iter().map(norm).collect();
        // What float32 holds of a product of two points.
        let limit = f64::from(f32::MAX) / 4.0;
        match norms.iter().all(|norm| *norm <= limit) {
            true => Ok(Points { given, centre, norms }),
            false => Err(FidError::Overflow { what: "the distance of two images" }),
        }
    }

    fn len(&self) -> usize {
        self.norms.len()
    }

    /// Some of them, less the centre.
    fn centred(&self, rows: Range<usize>) -> Array2<f32> {
        &self.given.slice(s![rows, ..]) - &self.centre
    }

    /// The squared distance of a point to one of another set.
    fn exact(&self, row: usize, other: &Points, column: usize) -> f64 {
        let (a, b) = (self.given.row(row), other.given.row(column));
        a.iter().zip(b).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum()
    }

    /// Hands each row on with its products with all points of `other`, which are about the same centre, from many threads.
    fn compared_with(
        &self,
        other: &Points,
        advance: &(impl Fn(u64) -> bool + Sync),
        row: impl Fn(usize, ArrayView1<f32>) + Sync,
    ) -> Result<(), FidError> {
        (0..self.len().div_ceil(ROWS)).into_par_iter().try_for_each(|block| {
            let rows = block * ROWS..self.len().min((block + 1) * ROWS);
            let count = rows.len();
            let points = self.centred(rows.clone());
            let mut products = Array2::<f32>::zeros((count, other.len()));
            for first in (0..other.len()).step_by(COLUMNS) {
                let columns = first..other.len().min(first + COLUMNS);
                let others = other.centred(columns.clone());
                general_mat_mul(1.0, &points, &others.t(), 0.0, &mut products.slice_mut(s![.., columns]));
            }
            for (place, products) in rows.zip(products.rows()) {
                row(place, products);
            }
            match advance(count as u64) {
                true => Ok(()),
                false => Err(FidError::Interrupted),
            }
        })
    }

    /// The squared distance of each point to its `neighbours`-th nearest in the same set.
    fn radii(
        &self,
        neighbours: usize,
        advance: &(impl Fn(u64) -> bool + Sync),
    ) -> Result<Vec<f64>, FidError> {
        let radii: Vec<OnceLock<f64>> = (0..self.len()).map(|_| OnceLock::new()).collect();
        self.compared_with(self, advance, |row, products| {
            let others = || products.iter().enumerate().filter(|(column, _)| *column != row);
            let bounds = |(column, &product): (usize, &f32)| Bounds::new(self, row, self, column, product);
            let mut uppers: Vec<f64> = others().map(|other| bounds(other).upper).collect();
            let (_, &mut farthest, _) = uppers.select_nth_unstable_by(neighbours - 1, f64::total_cmp);
            let mut nearest: Vec<f64> = Vec::with_capacity(2 * neighbours);
            for other in others().filter(|&other| bounds(other).lower <= farthest) {
                let exact = self.exact(row, self, other.0);
                let place = nearest.partition_point(|&known| known <= exact);
                nearest.insert(place, exact);
                nearest.truncate(neighbours);
                // Copies of one image are at no distance: more of them change nothing.
                if nearest.len() == neighbours && nearest.last() == Some(&0.0) {
                    break;
                }
            }
            let _ = radii[row].set(nearest.last().copied().unwrap_or_default());
        })?;
        Ok(radii.into_iter().map(|radius| radius.into_inner().unwrap_or_default()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Images of a generator that always draws nearly the same one, far from the real ones: about the centre of those, the
    /// rounding of a product would be larger than their distances, and every pair would be computed again.
    #[test]
    fn a_collapsed_set_is_measured_about_its_own_mean() {
        let set = Array2::from_shape_fn((50, 64), |(i, j)| 100.0 + ((i * 31 + j * 17) % 29) as f32 * 0.01);
        let width = |points: &Points| {
            let bounds = Bounds::new(points, 0, points, 1, 0.0);
            bounds.upper - bounds.lower
        };
        let distance =
            Points::new(set.view()).expect("small").exact(0, &Points::new(set.view()).expect("small"), 1);
        let own = width(&Points::new(set.view()).expect("small"));
        let common = width(&Points::about(Array1::zeros(64), set.view()).expect("small"));
        assert!(own < 1e-3 * distance && common > 0.5 * distance, "{own:e} and {common:e} of {distance:e}");
    }

    #[test]
    fn it_ends_when_it_is_told_to() {
        let set = Array2::from_shape_fn((2 * ROWS, 3), |(i, j)| (i * 7 % 11 + j) as f32);
        let told = AtomicUsize::new(0);
        let count = |images: u64| {
            told.fetch_add(images as usize, Ordering::Relaxed);
            true
        };
        let whole = precision_recall(set.view(), set.view(), 3, count).expect("both");
        assert_eq!((whole.precision, whole.recall, told.into_inner()), (1.0, 1.0, 6 * ROWS));
        let error = precision_recall(set.view(), set.view(), 3, |_| false).expect_err("stopped");
        assert!(matches!(error, FidError::Interrupted), "{error}");
    }
}
