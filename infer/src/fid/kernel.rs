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

/// Subsets that are drawn before their kernels are computed.
const DRAWN: usize = 64;

/// Images of a subset whose kernels with as many others are computed at a time.
const ROWS: usize = 256;

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
/// bias, on subsets of both. In float64, where torch-fidelity and clean-fid compute in float32. Its memory does not grow with
/// the size of a subset.
///
/// The subsets are those of torch-fidelity's `RandomState`, which draws of the fake images first. `advance` is told of each
/// that is done, and of 0 in between, and says whether to go on.
///
/// # Errors
/// When the widths differ, there is no subset of two, a set is smaller than a subset, a number is too large, or `advance` says
/// so ([`FidError::Interrupted`]).
pub fn kernel_distance(
    real: ArrayView2<f32>,
    fake: ArrayView2<f32>,
    options: KernelOptions,
    advance: impl Fn(u64) -> bool + Sync,
) -> Result<KernelDistance, FidError> {
    let KernelOptions { subsets, subset_size, seed } = options;
    if real.ncols() != fake.ncols() {
        return Err(FidError::Dims { real: real.ncols(), fake: fake.ncols() });
    }
    let count = real.nrows().min(fake.nrows());
    if subset_size > count || subset_size < 2 || subsets == 0 {
        return Err(FidError::Subsets { subsets, subset_size, count });
    }
    let advance = |subsets| match advance(subsets) {
        true => Ok(()),
        false => Err(FidError::Interrupted),
    };
    let mut draws = RandomState::new(seed);
    let mut found: Vec<f64> = Vec::new();
    while found.len() < subsets {
        let drawn = DRAWN.min(subsets - found.len());
        let chosen: Vec<[Vec<usize>; 2]> = (0..drawn)
            .map(|_| [fake.nrows(), real.nrows()].map(|count| draws.choice(count, subset_size)))
            .collect();
        let of_subset = |[fakes, reals]: &[Vec<usize>; 2]| -> Result<f64, FidError> {
            let (reals, fakes) = (Subset { set: real, rows: reals }, Subset { set: fake, rows: fakes });
            let distance = discrepancy(&reals, &fakes, &|| advance(0))?;
            advance(1)?;
            Ok(distance)
        };
        found.extend(chosen.par_iter().map(of_subset).collect::<Result<Vec<f64>, FidError>>()?);
    }
    let mean = found.iter().sum::<f64>() / subsets as f64;
    let deviation = (found.iter().map(|one| (one - mean).powi(2)).sum::<f64>() / subsets as f64).sqrt();
    match mean.is_finite() && deviation.is_finite() {
        true => Ok(KernelDistance { mean, deviation }),
        false => Err(FidError::Overflow { what: "the kernel" }),
    }
}

/// Some images of a set.
struct Subset<'a> {
    set: ArrayView2<'a, f32>,
    rows: &'a [usize],
}

impl Subset<'_> {
    /// [`ROWS`] of them, from the block's first on.
    fn block(&self, index: usize) -> Array2<f64> {
        let rows = &self.rows[index * ROWS..self.rows.len().min((index + 1) * ROWS)];
        self.set.select(Axis(0), rows).mapv(f64::from)
    }

    /// The sum of what `of_block` gives of all blocks, `(index, count)`, in their order.
    fn sum(&self, of_block: impl Fn(usize, usize) -> Result<f64, FidError> + Sync) -> Result<f64, FidError> {
        let count = self.rows.len().div_ceil(ROWS);
        let sums: Result<Vec<f64>, FidError> =
            (0..count).into_par_iter().map(|index| of_block(index, count)).collect();
        Ok(sums?.into_iter().sum())
    }
}

/// The unbiased estimate for two subsets of as many images; `go_on` is asked between blocks.
fn discrepancy(
    real: &Subset,
    fake: &Subset,
    go_on: &(impl Fn() -> Result<(), FidError> + Sync),
) -> Result<f64, FidError> {
    let count = real.rows.len() as f64;
    let gamma = 1.0 / real.set.ncols() as f64;
    let kernel = |product: &f64| (product * gamma + 1.0).powi(3);
    let total = |a: &Array2<f64>, b: &Array2<f64>| a.dot(&b.t()).iter().map(kernel).sum::<f64>();
    // An image's kernel with itself is left out, and that of two images is the same either way.
    let others = |set: &Subset| {
        set.sum(|index, count| {
            let rows = set.block(index);
            let products = rows.dot(&rows.t());
            let own: f64 = products.diag().iter().map(kernel).sum();
            let mut sum = products.iter().map(kernel).sum::<f64>() - own;
            for other in index + 1..count {
                go_on()?;
                sum += 2.0 * total(&rows, &set.block(other));
            }
            Ok(sum)
        })
    };
    let between = real.sum(|index, count| {
        let rows = real.block(index);
        let mut sum = 0.0;
        for other in 0..count {
            go_on()?;
            sum += total(&rows, &fake.block(other));
        }
        Ok(sum)
    })?;
    Ok((others(real)? + others(fake)?) / (count * (count - 1.0)) - 2.0 * between / (count * count))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    fn rows(count: usize, shift: usize) -> Array2<f32> {
        Array2::from_shape_fn((count, 6), |(i, j)| ((i * 37 + j * 11 + shift) % 23) as f32 * 0.1)
    }

    /// Subsets of more than one block, against all kernels at once.
    #[test]
    fn blocks_leave_nothing_out() {
        let (real, fake) = (rows(2 * ROWS + 9, 0), rows(2 * ROWS + 9, 5));
        let count = real.nrows();
        let told = AtomicU64::new(0);
        let advance = |subsets| {
            told.fetch_add(subsets, Ordering::Relaxed);
            true
        };
        let options = KernelOptions { subsets: 3, subset_size: count, seed: 1 };
        let found = kernel_distance(real.view(), fake.view(), options, advance).expect("a distance");
        let sum = |a: &Array2<f32>, b: &Array2<f32>, is_other: bool| {
            let (a, b) = (a.mapv(f64::from), b.mapv(f64::from));
            let products = a.dot(&b.t());
            let kernels = products.indexed_iter().filter(|((i, j), _)| !is_other || i != j);
            kernels.map(|(_, product)| (product / 6.0 + 1.0).powi(3)).sum::<f64>()
        };
        let pairs = (count * (count - 1)) as f64;
        let expected = (sum(&real, &real, true) + sum(&fake, &fake, true)) / pairs
            - 2.0 * sum(&real, &fake, false) / (count * count) as f64;
        assert!((found.mean - expected).abs() < 1e-9 * expected.abs().max(1.0), "{found:?} {expected}");
        assert!(found.deviation < 1e-9, "all images are in every subset: {found:?}");
        assert_eq!(told.into_inner(), 3);
    }

    #[test]
    fn it_ends_when_it_is_told_to() {
        let set = rows(40, 0);
        let options = KernelOptions { subsets: usize::MAX, subset_size: 10, seed: 1 };
        let asked = AtomicU64::new(0);
        let advance = |_| asked.fetch_add(1, Ordering::Relaxed) < 100;
        let error = kernel_distance(set.view(), set.view(), options, advance).expect_err("stopped");
        assert!(matches!(error, FidError::Interrupted), "{error}");
    }
}
