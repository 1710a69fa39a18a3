//! Exact nearest neighbours, block by block.
//!
//! Products of rounded values in float32 only rule rows out (`products`): on matrix units they are fast, and
//! they lose digits just where two rows are close. Each comes with a bound of its error, from what rounding took from the
//! two rows (Cauchy and Schwarz) and from the sums (Higham, *Accuracy and Stability of Numerical Algorithms*, 3.1). A row that
//! is within the bounds of the k-th nearest so far is measured again as a sum of squared differences in float64, and
//! only that number counts: the answer is the same whichever kernel multiplied.

use std::ops::Range;

use ndarray::Array2;
use rayon::prelude::*;

use super::Metric;
use super::candidates::{Candidate, Candidates, keep_nearest};
use super::hits::{Hit, collect};
use super::nearest::Neighbour;
use super::prepared::{Largest, Measured, Prepared, ROUNDING, Space};
use super::products::{GROUP, Kernel, Side, multiply};
use crate::error::Result;
use crate::rows::{Rows, blocks};

/// Bytes of queries that are searched for together, with the neighbours found; the base is read once for each such
/// block.
pub(crate) const QUERY_BYTES: usize = 64 << 20;

/// Bytes of the base in memory at a time.
pub(crate) const BASE_BYTES: usize = 64 << 20;

/// Most queries of one task; so many fit in a core's cache with their candidates.
const TASK_QUERIES: usize = 16 * GROUP;

/// Fewest tasks for each thread.
const TASKS: usize = 4;

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
        self.nearest_by(Kernel::of_this_machine(), BASE_BYTES, queries, progress)
    }

    /// With a kernel and blocks of the base of so many bytes.
    fn nearest_by(
        &self,
        kernel: Kernel,
        base_bytes: usize,
        queries: Array2<f32>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Vec<Vec<Neighbour>>> {
        let query_count = queries.nrows();
        let mut found: Vec<Vec<Neighbour>> = vec![Vec::new(); query_count];
        // Without features all distances are the same.
        let with_features = |rows: Array2<f32>| match rows.ncols() {
            0 => Array2::zeros((rows.nrows(), 1)),
            _ => rows,
        };
        let queries = Measured::new(with_features(queries));
        let mut prepared: Option<(Space, Prepared)> = None;
        let most = query_count.div_ceil(TASKS * rayon::current_num_threads());
        let task_queries = most.next_multiple_of(GROUP).clamp(GROUP, TASK_QUERIES);
        for range in blocks(self.base.len(), self.base.dim(), base_bytes) {
            let first = range.start;
            let base = Measured::new(with_features(self.base.read(range)?));
            let (space, prepared_queries) = prepared.get_or_insert_with(|| {
                let space = Space::around(self.metric, &base);
                let prepared = Prepared::new(kernel, Side::Queries, &space, &queries);
                (space, prepared)
            });
            let block = Block {
                k: self.k,
                metric: self.metric,
                kernel,
                space,
                queries: (&queries, prepared_queries),
                base: (&base, &Prepared::new(kernel, Side::Base, space, &base)),
                first,
            };
            found
                .par_chunks_mut(task_queries)
                .enumerate()
                .for_each_init(Room::default, |room, (i, found)| block.search(i * task_queries, found, room));
            progress(query_count as u64 * base.len() as u64);
        }
        found.par_iter_mut().for_each(|found| found.sort_unstable());
        Ok(found)
    }
}

/// The queries and a block of the base.
struct Block<'a> {
    k: usize,
    metric: Metric,
    kernel: Kernel,
    space: &'a Space,
    queries: (&'a Measured, &'a Prepared),
    base: (&'a Measured, &'a Prepared),
    /// The position of the block's first row in the base.
    first: usize,
}

/// Memory of a thread.
#[derive(Default)]
struct Room {
    products: Vec<f32>,
    candidates: Vec<Candidates>,
    thresholds: Vec<f32>,
    shifts: Vec<f32>,
    lows: Vec<f32>,
    hits: Vec<Hit>,
    /// Row and query.
    pairs: Vec<(u32, u32)>,
}

/// The error of a query's products, by the largest of a group of the base's rows.
struct Radius {
    of_length: f64,
    of_lost: f64,
    own: f64,
}

impl Radius {
    /// Of a query, with [`Space::unit`].
    fn new(length: f64, lost: f64, shift: f64, unit: f64, dim: usize) -> Self {
        // A sum of D products in float32 is off by at most D 2^-24 times the lengths; twice that covers the second
        // order, and four more terms what is done with the product afterwards.
        let relative = (dim + 4) as f64 * f64::from(f32::EPSILON) + ROUNDING;
        // What underflows, in products and in their sums.
        let absolute = 2.0 * dim as f64 * f64::from(f32::MIN_POSITIVE);
        let rounded = length + lost;
        Self {
            of_length: lost + relative * rounded,
            of_lost: rounded * (1.0 + relative),
            own: absolute + ROUNDING * (shift.abs() + unit),
        }
    }

    /// The most that nearness to rows of a group can be off; infinite where products may overflow.
    fn over(&self, largest: &Largest) -> f64 {
        let of_shift = 2.0 * f64::from(f32::EPSILON) * largest.shift;
        let radius = self.of_length * largest.length + self.of_lost * largest.lost + self.own + of_shift;
        if radius < 1e30 { radius } else { f64::INFINITY }
    }
}

/// The next smaller float32 but for a few, without branches.
fn below(value: f64) -> f32 {
    (value - value.abs() * f64::from(f32::EPSILON)) as f32 - f32::MIN_POSITIVE
}

fn above(value: f64) -> f32 {
    -below(-value)
}

impl Block<'_> {
    /// Looks for the neighbours of the queries from `start` on.
    fn search(&self, start: usize, found: &mut [Vec<Neighbour>], room: &mut Room) {
        let (k, dim, unit) = (self.k, self.base.0.row(0).len(), self.space.unit());
        let (queries, base) = (self.queries.1, self.base.1);
        let width = found.len().next_multiple_of(GROUP);
        room.candidates.resize_with(found.len().max(room.candidates.len()), Candidates::default);
        let radii: Vec<Radius> = (start..start + found.len())
            .map(|i| Radius::new(queries.lengths[i], queries.lost[i], queries.shifts[i], unit, dim))
            .collect();
        for (i, (candidates, found)) in room.candidates.iter_mut().zip(found.iter()).enumerate() {
            candidates.begin(k, self.threshold(start + i, found));
        }
        // Queries that are not there take no row.
        room.thresholds.clear();
        room.thresholds.resize(width, f32::INFINITY);
        let rows = self.kernel.base_rows();
        let padded = self.base.0.len().next_multiple_of(GROUP);
        for piece in (0..padded).step_by(rows) {
            let rows = rows.min(padded - piece);
            room.products.resize(rows * width, 0.0);
            let (base_side, query_side) = ((&base.operand, piece), (&queries.operand, start));
            multiply(self.kernel, base_side, query_side, width, dim, &mut room.products);
            for group in 0..rows / GROUP {
                let first = piece + group * GROUP;
                let largest = &base.largest[first / GROUP];
                for ((threshold, radius), candidates) in
                    room.thresholds.iter_mut().zip(&radii).zip(&room.candidates)
                {
                    *threshold = below(candidates.threshold - radius.over(largest));
                }
                room.shifts.clear();
                let last = (first + GROUP).min(base.shifts.len());
                room.shifts.extend(base.shifts[first..last].iter().map(|&shift| shift as f32));
                let products = &room.products[group * GROUP * width..(group + 1) * GROUP * width];
                room.hits.clear();
                collect(products, &room.thresholds, &room.shifts, &mut room.hits);
                for hit in &room.hits {
                    let i = hit.query as usize;
                    // A query that is not there: zero times a value beyond float32 is no number, and reaches any threshold.
                    if i >= found.len() {
                        continue;
                    }
                    let (row, radius) = (first as u32 + hit.row, radii[i].over(largest));
                    let (low, high) = match radius.is_finite() {
                        true => {
                            let nearness = f64::from(hit.nearness);
                            (below(nearness - radius), above(nearness + radius))
                        }
                        false => (f32::NEG_INFINITY, f32::INFINITY),
                    };
                    let candidates = &mut room.candidates[i];
                    if candidates.push(Candidate { low, high, row }, k, &mut room.lows) {
                        room.pairs.extend(candidates.take(k, &mut room.lows).map(|row| (row, hit.query)));
                        self.measure(start, &mut room.pairs, found);
                        keep_nearest(k, &mut found[i]);
                        candidates.threshold = candidates.threshold.max(self.threshold(start + i, &found[i]));
                    }
                }
            }
        }
        for (query, candidates) in (0..).zip(&mut room.candidates[..found.len()]) {
            room.pairs.extend(candidates.take(k, &mut room.lows).map(|row| (row, query)));
        }
        // In the order of the base: each row passes by once, for all queries.
        room.pairs.sort_unstable();
        self.measure(start, &mut room.pairs, found);
        found.iter_mut().for_each(|found| keep_nearest(k, found));
    }

    /// How near a row must be to be among the k nearest: minus the distance of the k-th found, up to the query's shift,
    /// with room for rounding.
    fn threshold(&self, query: usize, found: &[Neighbour]) -> f64 {
        if found.len() < self.k {
            return f64::NEG_INFINITY;
        }
        let reach = found.iter().fold(0.0_f64, |reach, neighbour| reach.max(neighbour.distance));
        let (reach, shift) = (self.space.measure(reach), self.queries.1.shifts[query]);
        shift - reach - ROUNDING * (shift.abs() + reach + self.space.unit())
    }

    /// Measures pairs of a row and a query, counted from `start` on.
    fn measure(&self, start: usize, pairs: &mut Vec<(u32, u32)>, found: &mut [Vec<Neighbour>]) {
        let (queries, base) = (self.queries.0, self.base.0);
        for (row, query) in pairs.drain(..) {
            let (row, query) = (row as usize, query as usize);
            let (of_query, square) = (queries.row(start + query), queries.squares[start + query]);
            let distance = self.metric.distance(of_query, square, base.row(row), base.squares[row]);
            found[query].push(Neighbour { distance, row: self.first + row });
        }
    }
}

#[cfg(test)]
mod tests {
    use ddae_tests::rule_values;

    use super::*;
    use crate::knn::products::tiles::Tiles;

    /// Every distance, sorted.
    fn brute_force(
        metric: Metric,
        queries: &Array2<f32>,
        base: &Array2<f32>,
        k: usize,
    ) -> Vec<Vec<Neighbour>> {
        let (queries, base) = (Measured::new(queries.clone()), Measured::new(base.clone()));
        let found = (0..queries.len()).map(|query| {
            let distance = |row| {
                let squares = (queries.squares[query], base.squares[row]);
                metric.distance(queries.row(query), squares.0, base.row(row), squares.1)
            };
            let mut all: Vec<Neighbour> =
                (0..base.len()).map(|row| Neighbour { distance: distance(row), row }).collect();
            all.sort_unstable();
            all.truncate(k);
            all
        });
        found.collect()
    }

    /// The answer of each kernel is that of measuring everything, to the bit.
    fn check(what: &str, queries: &Array2<f32>, base: &Array2<f32>, k: usize) {
        check_by(BASE_BYTES, what, queries, base, k);
    }

    fn check_by(base_bytes: usize, what: &str, queries: &Array2<f32>, base: &Array2<f32>, k: usize) {
        for metric in [Metric::Euclidean, Metric::Cosine] {
            let expected = brute_force(metric, queries, base, k);
            let search = Search { base: &base.view(), k, metric };
            let mut kernels = vec![Kernel::Float32];
            kernels.extend(Tiles::detect().map(Kernel::Tiles));
            for kernel in kernels {
                let found = search.nearest_by(kernel, base_bytes, queries.clone(), &mut |_| ());
                let found = found.expect("neighbours");
                for (query, (found, expected)) in found.iter().zip(&expected).enumerate() {
                    assert_eq!(found, expected, "{what}, {metric:?}, {kernel:?}, query {query}");
                }
            }
        }
    }

    fn rows(name: &str, rows: usize, dim: usize) -> Array2<f32> {
        Array2::from_shape_vec((rows, dim), rule_values(name, rows * dim, -1.0, 1.0)).expect("a matrix")
    }

    #[test]
    fn all_kernels_find_what_measuring_everything_finds() {
        for (query_count, base_count, dim, k) in
            [(70, 3000, 48, 20), (1, 1, 1, 1), (33, 95, 31, 95), (5, 40, 65, 60), (300, 700, 3, 7)]
        {
            let (queries, base) = (rows("queries", query_count, dim), rows("base", base_count, dim));
            check("as they are", &queries, &base, k);
            check("far from zero", &(&queries + 1000.0), &(&base + 1000.0), k);
            check("tiny", &(&queries * 1e-30), &(&base * 1e-30), k);
            check("smaller than normal", &(&queries * 1e-40), &(&base * 1e-40), k);
            check("huge", &(&queries * 1e30), &(&base * 1e30), k);
            check("almost too large", &(&queries * 3e38), &(&base * 3e38), k);
        }
    }

    #[test]
    fn ties_outliers_and_zeros() {
        let (mut queries, mut base) = (rows("queries", 40, 20), rows("base", 4000, 20));
        for row in 0..4000 {
            match row % 5 {
                0 => base.row_mut(row).assign(&queries.row(row / 5 % 40)),
                1 => base.row_mut(row).mapv_inplace(|v| v.round()),
                2 if row % 3 == 0 => base.row_mut(row).fill(0.0),
                3 if row % 7 == 0 => base.row_mut(row).mapv_inplace(|v| v * 1e25),
                _ => {}
            }
        }
        queries.row_mut(3).fill(0.0);
        queries.row_mut(4).mapv_inplace(|v| v * 1e30);
        queries.row_mut(5).mapv_inplace(|v| v.round());
        check("mixed", &queries, &base, 37);
        // So many twins that they are measured before the block ends.
        check("all the same", &Array2::ones((3, 9)), &Array2::ones((5000, 9)), 10);
        check("all zero", &Array2::zeros((3, 9)), &Array2::zeros((2000, 9)), 10);
    }

    /// All cosines are 1 but for rounding, so that measured distances are 0 or close to it.
    #[test]
    fn parallel_rows_are_taken_in_their_order() {
        let direction = [3.0_f32, 7.0, 2.0, 5.0, 8.0];
        let base = Array2::from_shape_fn((3000, 5), |(i, j)| (i + 1) as f32 * direction[j]);
        let queries = base.slice(ndarray::s![2..5, ..]).to_owned();
        let search = Search { base: &base.view(), k: 20, metric: Metric::Cosine };
        for found in search.nearest(queries.clone(), &mut |_| ()).expect("neighbours") {
            assert_eq!(
                found.iter().map(|neighbour| neighbour.row).collect::<Vec<_>>(),
                Vec::from_iter(0..20)
            );
        }
        check("scaled copies", &queries, &base, 20);
        check_by(4 * 5 * 300, "scaled copies in blocks", &queries, &base, 20);
        let near = &base + &(rows("base", 3000, 5) * 1e-3);
        check("nearly scaled copies", &queries, &near, 20);
        let positive = rows("base", 3000, 1).mapv(|value| value + 1.5);
        check("one feature", &rows("queries", 40, 1).mapv(|value| value + 1.5), &positive, 20);
        check_by(4 * 300, "one feature in blocks", &rows("queries", 40, 1), &rows("base", 3000, 1), 20);
        for spread in [1e-5_f32, 1e-6, 1e-7] {
            let around = |rows: Array2<f32>| rows * spread + 1.0;
            let base = around(rows("base", 3000, 48));
            check("a narrow bundle", &around(rows("queries", 40, 48)), &base, 20);
            check_by(
                4 * 48 * 700,
                "a narrow bundle in blocks",
                &base.slice(ndarray::s![..40, ..]).to_owned(),
                &base,
                20,
            );
        }
    }

    /// A row that the scale does not know of is infinite as float32 in its space, and zero times it no number.
    #[test]
    fn an_outlier_among_rows_that_are_not_sampled() {
        let (queries, mut base) = (rows("queries", 70, 20) * 0.1, rows("base", 2000, 20) * 0.1);
        base.row_mut(1001).fill(1e38);
        check("an outlier", &queries, &base, 20);
        check("all of them", &queries, &base, 2000);
    }

    #[test]
    fn several_blocks_of_the_base() {
        let (queries, base) = (rows("queries", 50, 12), rows("base", 1000, 12));
        let block = 4 * 12 * 300;
        check_by(block, "four blocks", &queries, &base, 6);
        check_by(block, "k beyond a block", &queries, &base, 500);
        // The nearest come last, and twins of them first.
        let mut base = base * 0.1;
        for row in 0..50 {
            let near = &queries.row(row) * 0.9;
            base.row_mut(950 + row).assign(&near);
            base.row_mut(row).assign(&near);
        }
        check_by(block, "near ones in two blocks", &queries, &base, 1);
    }
}
