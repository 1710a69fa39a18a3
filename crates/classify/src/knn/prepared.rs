//! Rows made ready for products, with bounds of what the products leave out.
//!
//! For a query x and a row y of the base, half the squared distance (Euclidean), or the distance (cosine), is
//!
//! `shift(x) + shift(y) - u . v`
//!
//! with u and v their coordinates: the rows themselves (of length 1 for the cosine), less a centre common to all and
//! scaled by a power of two. The centre keeps products small, and so their errors: it is the mean of some rows of the base,
//! and any other would give the same distances.

use ndarray::Array2;
use rayon::prelude::*;

use super::Metric;
use super::distance::square;
use super::products::{GROUP, Kernel, Operand, Side};

/// Rows of the base whose mean is the centre.
const SAMPLED: usize = 1024;

/// Covers the rounding of sums in float64, relative to their terms (a million terms at most), and of what is measured.
pub(super) const ROUNDING: f64 = 1e-9;

/// Consecutive rows in memory with the squares of their lengths.
pub(super) struct Measured {
    values: Vec<f32>,
    dim: usize,
    /// Sums of squares.
    pub(super) squares: Vec<f64>,
}

impl Measured {
    pub(super) fn new(rows: Array2<f32>) -> Self {
        let dim = rows.ncols();
        let (values, _) = rows.as_standard_layout().into_owned().into_raw_vec_and_offset();
        let squares = values.par_chunks_exact(dim).map(square).collect();
        Self { values, dim, squares }
    }

    pub(super) fn len(&self) -> usize {
        self.squares.len()
    }

    pub(super) fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.dim..(row + 1) * self.dim]
    }
}

/// What makes coordinates of rows.
pub(super) struct Space {
    metric: Metric,
    centre: Vec<f64>,
    scale: f64,
}

impl Space {
    /// A space in which `rows` lie around the origin, at a distance of about 1.
    pub(super) fn around(metric: Metric, rows: &Measured) -> Self {
        let mut space = Self { metric, centre: vec![0.0; rows.dim], scale: 1.0 };
        let sampled = || (0..rows.len()).step_by(rows.len().div_ceil(SAMPLED).max(1));
        let mut coordinates = vec![0.0; rows.dim];
        let mut sum = vec![0.0; rows.dim];
        for row in sampled() {
            space.coordinates(rows, row, &mut coordinates);
            sum.iter_mut().zip(&coordinates).for_each(|(sum, value)| *sum += value);
        }
        let count = sampled().count().max(1) as f64;
        space.centre = sum.iter().map(|sum| sum / count).collect();
        let mut longest: f64 = 0.0;
        for row in sampled() {
            space.coordinates(rows, row, &mut coordinates);
            longest = longest.max(coordinates.iter().map(|value| value * value).sum());
        }
        // A power of two, so that scaling does not round.
        if metric == Metric::Euclidean && longest > 0.0 {
            space.scale = (-longest.sqrt().log2().round()).exp2();
        }
        space
    }

    fn coordinates(&self, rows: &Measured, row: usize, coordinates: &mut [f64]) {
        let length = match self.metric {
            Metric::Cosine if rows.squares[row] > 0.0 => rows.squares[row].sqrt(),
            Metric::Cosine | Metric::Euclidean => 1.0,
        };
        let values = rows.row(row);
        for ((coordinate, &value), centre) in coordinates.iter_mut().zip(values).zip(&self.centre) {
            *coordinate = (f64::from(value) / length - centre) * self.scale;
        }
    }

    /// The part of the distance that is the row's own, by its coordinates and the square of their length.
    fn shift(&self, coordinates: &[f64], square: f64) -> f64 {
        match self.metric {
            Metric::Euclidean => square / 2.0,
            // 1 - (u + c) . (v + c), half of the 1 and of the square of c for each of the two.
            Metric::Cosine => {
                let terms = coordinates.iter().zip(&self.centre);
                0.5 - terms.map(|(value, centre)| (value + centre / 2.0) * centre).sum::<f64>()
            }
        }
    }

    /// What shifts and measured distances are differences of: their rounding is relative to this too, however small they are.
    /// Euclidean distances are sums of squares, which do not cancel.
    pub(super) fn unit(&self) -> f64 {
        match self.metric {
            Metric::Euclidean => 0.0,
            Metric::Cosine => 1.0,
        }
    }

    /// A distance in the measure of [`Prepared::shifts`] and products.
    pub(super) fn measure(&self, distance: f64) -> f64 {
        match self.metric {
            Metric::Euclidean => (distance * self.scale).powi(2) / 2.0,
            Metric::Cosine => distance,
        }
    }
}

/// The largest of some rows.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Largest {
    pub(super) length: f64,
    pub(super) lost: f64,
    pub(super) shift: f64,
}

/// Coordinates of rows, rounded for a kernel.
pub(super) struct Prepared {
    pub(super) operand: Operand,
    /// One for each row.
    pub(super) shifts: Vec<f64>,
    /// Lengths of the coordinates.
    pub(super) lengths: Vec<f64>,
    /// Lengths of what rounding took from the coordinates.
    pub(super) lost: Vec<f64>,
    /// Of each group of [`GROUP`] rows.
    pub(super) largest: Vec<Largest>,
}

impl Prepared {
    pub(super) fn new(kernel: Kernel, side: Side, space: &Space, rows: &Measured) -> Self {
        let (dim, count) = (rows.dim, rows.len());
        let mut operand = Operand::zeros(kernel, count.next_multiple_of(GROUP), dim);
        let (mut shifts, mut lengths, mut lost) = (vec![0.0; count], vec![0.0; count], vec![0.0; count]);
        let measures = shifts.chunks_mut(GROUP).zip(lengths.chunks_mut(GROUP)).zip(lost.chunks_mut(GROUP));
        let groups: Vec<_> = operand.groups(dim).into_iter().zip(measures).collect();
        let largest = groups.into_par_iter().enumerate().map_init(
            || vec![0.0; dim],
            |coordinates, (group, (mut values, ((shifts, lengths), lost)))| {
                let mut largest = Largest::default();
                for i in 0..shifts.len() {
                    space.coordinates(rows, group * GROUP + i, coordinates);
                    let square = coordinates.iter().map(|value| value * value).sum::<f64>();
                    shifts[i] = space.shift(coordinates, square);
                    lengths[i] = square.sqrt();
                    lost[i] = values.set(side, i, coordinates).sqrt();
                    // A value beyond float32 or bfloat16 has become infinite, and so has what it lost.
                    largest.length = largest.length.max(lengths[i]);
                    largest.lost = largest.lost.max(lost[i]);
                    largest.shift = largest.shift.max(shifts[i].abs());
                }
                largest
            },
        );
        let largest = largest.collect();
        Self { operand, shifts, lengths, lost, largest }
    }
}
