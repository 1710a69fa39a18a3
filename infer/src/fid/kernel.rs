//! Kernel inception distance (arXiv 1801.01401).

use ndarray::{Array2, ArrayView2, Axis};
use rayon::prelude::*;

use super::error::FidError;
use super::random_state::RandomState;

/// How the distance is estimated; by default as torch-fidelity does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelOptions {
    /// Subsets that are drawn.
    pub subsets: usize,
    /// Images of each set in a subset.
    pub subset_size: usize,
    /// Seed of the draws.
    pub seed: u32,
}

/// Seed of torch-fidelity's draws.
pub const SEED: u32 = 2020;

impl Default for KernelOptions {
    fn default() -> KernelOptions {
        KernelOptions { subsets: 100, subset_size: 1000, seed: SEED }
    }
}

/// A kernel distance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KernelDistance {
    /// The mean over subsets. It can be below 0, as the estimate is without bias.
    pub mean: f64,
    /// The deviation between subsets (of all of them: divided by their number).
    pub deviation: f64,
}

/// The squared maximum mean discrepancy between `real` `[N, D]` and `fake` `[M, D]` by the kernel `(x·y / D + 1)³`, without
/// bias, on subsets of both. In float64, where torch-fidelity and clean-fid compute in float32.
///
/// The subsets are those of torch-fidelity's `RandomState`, which draws of the fake images first.
///
/// # Errors
/// When the widths differ, there is no subset of two, a set is smaller than a subset, or a number is too large.
pub fn kernel_distance(
    real: ArrayView2<f32>,
    fake: ArrayView2<f32>,
    options: KernelOptions,
) -> Result<KernelDistance, FidError> {
    let KernelOptions { subsets, subset_size, seed } = options;
    if real.ncols() != fake.ncols() {
        return Err(FidError::Dims { real: real.ncols(), fake: fake.ncols() });
    }
    let count = real.nrows().min(fake.nrows());
    if subset_size > count || subset_size < 2 || subsets == 0 {
        return Err(FidError::Subsets { subsets, subset_size, count });
    }
    let mut draws = RandomState::new(seed);
    let chosen: Vec<[Vec<usize>; 2]> = (0..subsets)
        .map(|_| [fake.nrows(), real.nrows()].map(|count| draws.choice(count, subset_size)))
        .collect();
    let of_subset = |[fakes, reals]: &[Vec<usize>; 2]| {
        let rows = |set: ArrayView2<f32>, chosen: &[usize]| set.select(Axis(0), chosen).mapv(f64::from);
        discrepancy(&rows(real, reals), &rows(fake, fakes))
    };
    let found: Vec<f64> = chosen.par_iter().map(of_subset).collect();
    let mean = found.iter().sum::<f64>() / subsets as f64;
    let deviation = (found.iter().map(|one| (one - mean).powi(2)).sum::<f64>() / subsets as f64).sqrt();
    match mean.is_finite() && deviation.is_finite() {
        true => Ok(KernelDistance { mean, deviation }),
        false => Err(FidError::Overflow { what: "the kernel" }),
    }
}

/// The unbiased estimate for two sets of as many rows.
fn discrepancy(real: &Array2<f64>, fake: &Array2<f64>) -> f64 {
    let count = real.nrows() as f64;
    let gamma = 1.0 / real.ncols() as f64;
    let kernel = |product: f64| (product * gamma + 1.0).powi(3);
    let total = |a: &Array2<f64>, b: &Array2<f64>| a.dot(&b.t()).into_iter().map(kernel).sum::<f64>();
    // An image's kernel with itself is left out.
    let others =
        |a: &Array2<f64>| total(a, a) - a.rows().into_iter().map(|row| kernel(row.dot(&row))).sum::<f64>();
    (others(real) + others(fake)) / (count * (count - 1.0)) - 2.0 * total(real, fake) / (count * count)
}
