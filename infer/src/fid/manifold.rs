//! Precision and recall of generated images (arXiv 1904.06991).

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis, s};
use rayon::prelude::*;

use super::error::FidError;

/// Nearest neighbours whose distance is a ball's radius; the paper's number, and torch-fidelity's.
pub const NEIGHBOURS: usize = 3;

/// Rows of a set that one thread compares with all of another at a time.
const ROWS: usize = 64;

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
/// Distances are found by products in float32 and, wherever their rounding could decide, computed again in float64.
///
/// # Errors
/// When the widths differ, a set has no more images than `neighbours`, or a feature is too large.
pub fn precision_recall(
    real: ArrayView2<f32>,
    fake: ArrayView2<f32>,
    neighbours: usize,
) -> Result<PrecisionRecall, FidError> {
    if real.ncols() != fake.ncols() {
        return Err(FidError::Dims { real: real.ncols(), fake: fake.ncols() });
    }
    let count = real.nrows().min(fake.nrows());
    if neighbours == 0 || count <= neighbours {
        return Err(FidError::Neighbours { neighbours, count });
    }
    // About a common centre, products are small and lose little.
    let centre = real.mapv(f64::from).mean_axis(Axis(0)).unwrap_or_default();
    let (real, fake) = (Points::new(real, &centre), Points::new(fake, &centre));
    // What float32 holds of a product of two points.
    let limit = f64::from(f32::MAX) / 4.0;
    if !real.norms.iter().chain(&fake.norms).all(|norm| *norm <= limit) {
        return Err(FidError::Overflow { what: "the distance of two images" });
    }
    let (of_reals, of_fakes) = (real.radii(neighbours), fake.radii(neighbours));
    let found: Vec<AtomicBool> = (0..real.len()).map(|_| AtomicBool::new(false)).collect();
    let precise = AtomicUsize::new(0);
    fake.compared_with(&real, |row, products| {
        let mut is_precise = false;
        for (column, (&product, is_found)) in products.iter().zip(&found).enumerate() {
            let recalled = is_found.load(Ordering::Relaxed);
            if recalled && is_precise {
                continue;
            }
            let bounds = Bounds::new(&fake, row, &real, column, product);
            let exact = |squared: f64| bounds.is_within(squared, || fake.exact(row, &real, column));
            is_precise = is_precise || exact(of_reals[column]);
            if !recalled && exact(of_fakes[row]) {
                is_found.store(true, Ordering::Relaxed);
            }
        }
        precise.fetch_add(usize::from(is_precise), Ordering::Relaxed);
    });
    let recalled = found.into_iter().filter(|found| found.load(Ordering::Relaxed)).count();
    Ok(PrecisionRecall {
        precision: precise.into_inner() as f64 / fake.len() as f64,
        recall: recalled as f64 / real.len() as f64,
    })
}

/// A set's features.
struct Points<'a> {
    /// As they are.
    given: ArrayView2<'a, f32>,
    /// About the common centre.
    centred: Array2<f32>,
    /// Their squared lengths there.
    norms: Array1<f64>,
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
        let error = (a.centred.ncols() + 16) as f64 * f64::from(f32::EPSILON) / 2.0 * norms;
        Bounds { lower: squared - error, upper: squared + error }
    }

    /// Whether the distance is at most `squared`; `exact` is asked where the bounds do not tell.
    fn is_within(&self, squared: f64, exact: impl FnOnce() -> f64) -> bool {
        self.upper <= squared || (self.lower <= squared && exact() <= squared)
    }
}

impl<'a> Points<'a> {
    fn new(given: ArrayView2<'a, f32>, centre: &Array1<f64>) -> Points<'a> {
        let centred = (given.mapv(f64::from) - centre).mapv(|value| value as f32);
        let norm = |row: ArrayView1<f32>| row.iter().map(|&value| f64::from(value).powi(2)).sum();
        let norms = centred.rows().into_iter().map(norm).collect();
        Points { given, centred, norms }
    }

    fn len(&self) -> usize {
        self.norms.len()
    }

    /// The squared distance of a point to one of another set.
    fn exact(&self, row: usize, other: &Points, column: usize) -> f64 {
        let (a, b) = (self.given.row(row), other.given.row(column));
        a.iter().zip(b).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum()
    }

    /// Hands each row on with its products with all points of `other`, from many threads.
    fn compared_with(&self, other: &Points, row: impl Fn(usize, ArrayView1<f32>) + Sync) {
        (0..self.len().div_ceil(ROWS)).into_par_iter().for_each(|block| {
            let begin = block * ROWS;
            let end = self.len().min(begin + ROWS);
            let products = self.centred.slice(s![begin..end, ..]).dot(&other.centred.t());
            for (offset, products) in products.rows().into_iter().enumerate() {
                row(begin + offset, products);
            }
        });
    }

    /// The squared distance of each point to its `neighbours`-th nearest in the same set.
    fn radii(&self, neighbours: usize) -> Vec<f64> {
        let radii: Vec<_> = (0..self.len()).map(|_| std::sync::OnceLock::new()).collect();
        self.compared_with(self, |row, products| {
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
        });
        radii.into_iter().map(|radius| radius.into_inner().unwrap_or_default()).collect()
    }
}
