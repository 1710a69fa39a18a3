//! Exact nearest neighbours, block by block.
//!
//! Distances come from a float32 matrix product, which is fast but loses digits to cancellation where two rows are
//! close: exactly the neighbours. So the product only rules rows out. A row whose computed distance, less the largest
//! possible rounding error, is within the k-th distance so far is measured again as a sum of squared differences in
//! float64, and only that number counts. Each query measures about `k ln(N / k)` rows this way.

use std::ops::Range;

use ndarray::{Array2, ArrayView1, Axis, s};
use rayon::prelude::*;

use super::Metric;
use super::nearest::{Nearest, Neighbour};
use crate::error::Result;
use crate::rows::{Rows, blocks};

/// Bytes of queries that are searched for together, with the neighbours found; the base is read once for each such
/// block.
pub(crate) const QUERY_BYTES: usize = 64 << 20;

/// Bytes of the base in memory at a time.
pub(crate) const BASE_BYTES: usize = 16 << 20;

/// Queries of one matrix product.
const QUERY_ROWS: usize = 64;

/// Rows of the base in one matrix product.
const BASE_ROWS: usize = 512;

/// Blocks of queries that fit in memory together with their neighbours.
pub(crate) fn query_blocks(queries: &dyn Rows, k: usize) -> impl Iterator<Item = Range<usize>> {
    let floats_per_neighbour = size_of::<Neighbour>() / size_of::<f32>();
    blocks(queries.len(), queries.dim() + k * floats_per_neighbour, QUERY_BYTES)
}

/// A search for the nearest rows of a base.
pub struct Search<'a> {
    /// The rows that are searched.
    pub base: &'a dyn Rows,
    /// How many neighbours, at least 1.
    pub k: usize,
    /// How far apart two rows are.
    pub metric: Metric,
}

/// Rows in memory with their lengths.
struct Measured {
    rows: Array2<f32>,
    squares: Vec<f64>,
    lengths: Vec<f64>,
}

impl Measured {
    fn new(rows: Array2<f32>) -> Self {
        let squares: Vec<f64> = rows.axis_iter(Axis(0)).map(square).collect();
        let lengths = squares.iter().map(|square| square.sqrt()).collect();
        Self { rows: rows.as_standard_layout().into_owned(), squares, lengths }
    }
}

impl Search<'_> {
    /// The `k` nearest rows (fewer if the base is smaller) of each of `queries` `[Q, D]`, nearest first, equal
    /// distances by position. `progress` is told how many distances were computed since the last call.
    ///
    /// # Errors
    /// When the base cannot be read.
    pub fn nearest(
        &self,
        queries: Array2<f32>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Vec<Vec<Neighbour>>> {
        let queries = Measured::new(queries);
        let metric = self.metric;
        let mut found: Vec<Nearest> = queries.squares.iter().map(|_| Nearest::new(self.k)).collect();
        for range in blocks(self.base.len(), self.base.dim(), BASE_BYTES) {
            let first = range.start;
            let base = Measured::new(self.base.read(range)?);
            found.par_chunks_mut(QUERY_ROWS).enumerate().for_each(|(i, found)| {
                for start in (0..base.squares.len()).step_by(BASE_ROWS) {
                    let end = (start + BASE_ROWS).min(base.squares.len());
                    compare(metric, &queries, i * QUERY_ROWS, &base, start..end, first, found);
                }
            });
            progress(queries.squares.len() as u64 * base.squares.len() as u64);
        }
        Ok(found.into_par_iter().map(Nearest::into_sorted).collect())
    }
}

/// Offers the rows `range` of `base`, whose first row is row `base_first` of all, to the queries from
/// `query_start` on.
fn compare(
    metric: Metric,
    queries: &Measured,
    query_start: usize,
    base: &Measured,
    range: Range<usize>,
    base_first: usize,
    found: &mut [Nearest],
) {
    let query_rows = queries.rows.slice(s![query_start..query_start + found.len(), ..]);
    let base_rows = base.rows.slice(s![range.clone(), ..]);
    let products: Array2<f32> = query_rows.dot(&base_rows.t());
    // A dot product of D terms in float32 is off by at most D * 2^-24 * |x| |y| (Higham, section 3.1); twice that
    // covers the second-order terms, and the smallest normal number what underflows.
    let terms = query_rows.ncols() as f64;
    let (relative, absolute) = (terms * f64::from(f32::EPSILON), terms * f64::from(f32::MIN_POSITIVE));
    for (i, nearest) in found.iter_mut().enumerate() {
        let query_square = queries.squares[query_start + i];
        let mut reach = metric.reach(nearest);
        for (j, &product) in products.row(i).iter().enumerate() {
            let base_square = base.squares[range.start + j];
            let lengths = queries.lengths[query_start + i] * base.lengths[range.start + j];
            let largest_product = f64::from(product) + relative * lengths + absolute;
            let beyond = match metric {
                // The last factor is for the rounding of the squares in float64.
                Metric::Euclidean => {
                    (query_square + base_square) * (1.0 - 1e-12) - 2.0 * largest_product > reach
                }
                Metric::Cosine => lengths > 0.0 && lengths - largest_product > reach * lengths,
            };
            // A product that overflowed says nothing.
            if beyond && product.is_finite() {
                continue;
            }
            let row = base_rows.row(j);
            let distance = metric.distance(query_rows.row(i), query_square, row, base_square);
            nearest.offer(Neighbour { distance, row: base_first + range.start + j });
            reach = metric.reach(nearest);
        }
    }
}

impl Metric {
    /// The k-th distance so far, squared for the Euclidean metric, with room for the rounding of the square root.
    fn reach(self, nearest: &Nearest) -> f64 {
        let reach = nearest.reach();
        match self {
            Metric::Euclidean => reach * reach * (1.0 + 4.0 * f64::EPSILON),
            Metric::Cosine => reach + 4.0 * f64::EPSILON,
        }
    }

    fn distance(
        self,
        query: ArrayView1<f32>,
        query_square: f64,
        row: ArrayView1<f32>,
        row_square: f64,
    ) -> f64 {
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

/// The square of a row's length in float64.
fn square(row: ArrayView1<f32>) -> f64 {
    dot(row, row)
}

/// Eight sums side by side, which the compiler turns into vector instructions.
fn sum_of(a: ArrayView1<f32>, b: ArrayView1<f32>, term: impl Fn(f64, f64) -> f64) -> f64 {
    let mut sums = [0.0; 8];
    match (a.as_slice(), b.as_slice()) {
        (Some(a), Some(b)) => {
            let (a_chunks, a_rest) = a.as_chunks::<8>();
            let (b_chunks, b_rest) = b.as_chunks::<8>();
            for (a, b) in a_chunks.iter().zip(b_chunks) {
                for i in 0..8 {
                    sums[i] += term(f64::from(a[i]), f64::from(b[i]));
                }
            }
            for (&a, &b) in a_rest.iter().zip(b_rest) {
                sums[0] += term(f64::from(a), f64::from(b));
            }
        }
        _ => sums[0] = a.iter().zip(b).map(|(&a, &b)| term(f64::from(a), f64::from(b))).sum(),
    }
    sums.iter().sum()
}

fn dot(a: ArrayView1<f32>, b: ArrayView1<f32>) -> f64 {
    sum_of(a, b, |a, b| a * b)
}

fn squared_difference(a: ArrayView1<f32>, b: ArrayView1<f32>) -> f64 {
    sum_of(a, b, |a, b| (a - b) * (a - b))
}
