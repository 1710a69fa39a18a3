//! Alignment and uniformity of features under noise.
//!
//! Two measures of contrastive learning (Wang and Isola, arXiv 2005.10242), which the DDAE paper takes of a diffusion
//! model's features: the rows x and y of an image are its features at two independent noisings, each divided by its
//! length.
//!
//! - *alignment*, the mean of ||x - y||²: 0 where noise does not move the features, 2 where two noisings have nothing in
//!   common, 4 at most;
//! - *uniformity*, the logarithm of the mean of exp(-2 ||a - b||²) over the pairs of images, its mean over x and y: 0
//!   where all images have the same features, near -4 where they are spread evenly over a sphere of many dimensions.
//!
//! Lower is better for both, and neither needs labels. As published they are taken in batches of 128 images in the
//! order of the file, and the batches' values averaged, each with the weight of its number of images: the last one may be
//! smaller.
//!
//! [`noisings`] is where the rows come from, [`report`] what is shown.

pub mod noisings;
pub mod report;

use ddae_classify::rows::{PASS_BYTES, blocks};
use ndarray::{Array2, ArrayView2, s};
use rayon::prelude::*;

use crate::error::{ProbeError, Result};
use crate::source::feature_set::FeatureSet;
use noisings::Noisings;

/// The published size of batches.
pub const BATCH: usize = 128;

/// Shorter rows are divided by this in place of their length (PyTorch's `normalize`).
const SHORTEST: f64 = 1e-12;

/// Both measures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Contrast {
    /// 0 to 4.
    pub alignment: f64,
    /// -8 to 0.
    pub uniformity: f64,
}

/// Rows `[N, D]` divided by their lengths. A row of zeros stays.
pub(crate) fn unit_rows(rows: ArrayView2<f32>) -> Array2<f64> {
    let mut rows = rows.mapv(f64::from);
    for mut row in rows.rows_mut() {
        let length = row.dot(&row).sqrt().max(SHORTEST);
        row /= length;
    }
    rows
}

/// The mean of ||x - y||² over the rows of `x` and `y`, both `[N, D]`; NaN without rows.
pub fn alignment(x: ArrayView2<f64>, y: ArrayView2<f64>) -> f64 {
    let squares = x.iter().zip(&y).map(|(x, y)| (x - y) * (x - y)).sum::<f64>();
    squares / x.nrows() as f64
}

/// ln of the mean of exp(-2 ||a - b||²) over the pairs of rows of `x` `[N, D]`; NaN for fewer than two.
pub fn uniformity(x: ArrayView2<f64>) -> f64 {
    let products = x.dot(&x.t());
    let mut sum = 0.0;
    for (i, row) in products.rows().into_iter().enumerate() {
        for (j, product) in row.iter().enumerate().take(i) {
            let distance = (products[[i, i]] + products[[j, j]] - 2.0 * product).max(0.0);
            sum += (-2.0 * distance).exp();
        }
    }
    let pairs = (x.nrows() * x.nrows().saturating_sub(1)) as f64 / 2.0;
    (sum / pairs).ln()
}

/// Both measures of one batch, `[N, D]` each, not normalised; N at least 2.
pub fn of_batch(x: ArrayView2<f32>, y: ArrayView2<f32>) -> Contrast {
    let (x, y) = (unit_rows(x), unit_rows(y));
    Contrast {
        alignment: alignment(x.view(), y.view()),
        uniformity: 0.5 * (uniformity(x.view()) + uniformity(y.view())),
    }
}

/// Number of rows that [`measure`] uses of `rows`: all, but for a single one that the last batch would hold.
pub(crate) fn rows_used(rows: usize, batch: usize) -> usize {
    if rows % batch == 1 { rows - 1 } else { rows }
}

/// Both measures of all images: averages over batches of `batch` (at least 2), weighed by their images. A single row that is left for the last batch is
/// passed over: it has no pairs. `progress` is told the number of images, block by block.
///
/// Memory is bounded by some blocks of [`PASS_BYTES`] and one matrix of products, `[batch, batch]`, for each core.
///
/// # Errors
/// When features cannot be read, or there is a single image.
pub fn measure(
    noisings: &Noisings,
    features: &FeatureSet,
    batch: usize,
    progress: &mut dyn FnMut(u64),
) -> Result<Contrast> {
    let rows = rows_used(noisings.len(), batch);
    if rows < 2 {
        return Err(ProbeError::OneImage { origin: noisings.origin() });
    }
    let mut sum = Contrast { alignment: 0.0, uniformity: 0.0 };
    // Blocks of whole batches.
    for batches in blocks(rows.div_ceil(batch), noisings.dim(features)? * batch, PASS_BYTES) {
        let range = batches.start * batch..rows.min(batches.end * batch);
        let (x, y) = noisings.read(features, range.clone())?;
        let part = |rows: &Array2<f32>, index: usize| {
            let begin = index * batch;
            rows.slice(s![begin..range.len().min(begin + batch), ..]).to_owned()
        };
        let of_part = |index| {
            let (x, y) = (part(&x, index), part(&y, index));
            (x.nrows() as f64, of_batch(x.view(), y.view()))
        };
        let values: Vec<(f64, Contrast)> = (0..batches.len()).into_par_iter().map(of_part).collect();
        // In order, so that the sum does not depend on the threads.
        for (images, value) in values {
            sum.alignment += images * value.alignment;
            sum.uniformity += images * value.uniformity;
        }
        progress(range.len() as u64);
    }
    let images = rows as f64;
    Ok(Contrast { alignment: sum.alignment / images, uniformity: sum.uniformity / images })
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn what_noise_does_not_move_is_aligned() {
        let x = array![[3.0, 4.0], [0.0, -2.0]];
        assert_eq!(alignment(unit_rows(x.view()).view(), unit_rows((&x * 7.0).view()).view()), 0.0);
        let opposite = of_batch(x.view(), (-&x).view());
        assert!((opposite.alignment - 4.0).abs() < 1e-12, "{opposite:?}");
    }

    #[test]
    fn uniformity_by_hand() {
        // Two pairs at right angles (squared distance 2) and one of opposites (4).
        let x = unit_rows(array![[1.0, 0.0], [0.0, 5.0], [-2.0, 0.0]].view());
        let expected = ((2.0 * (-4.0_f64).exp() + (-8.0_f64).exp()) / 3.0).ln();
        assert!((uniformity(x.view()) - expected).abs() < 1e-12);
        let same = unit_rows(array![[1.0, 2.0], [2.0, 4.0], [0.5, 1.0]].view());
        assert!(uniformity(same.view()).abs() < 1e-12);
    }

    #[test]
    fn rows_of_zeros_stay() {
        let x = unit_rows(array![[0.0, 0.0], [0.0, 9.0]].view());
        assert_eq!(x, array![[0.0, 0.0], [0.0, 1.0]]);
        assert!((uniformity(x.view()) + 2.0).abs() < 1e-12);
    }

    #[test]
    fn a_single_row_at_the_end_is_left_out() {
        assert_eq!([256, 257, 258, 1, 2].map(|rows| rows_used(rows, 128)), [256, 256, 258, 0, 2]);
    }
}
