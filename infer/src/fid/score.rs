//! Inception score (arXiv 1606.03498).

use ndarray::{Array1, ArrayView2};

use super::error::FidError;
use super::random_state::RandomState;

/// An Inception score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InceptionScore {
    /// The mean over splits.
    pub mean: f64,
    /// The deviation between splits (of all of them: divided by their number).
    pub deviation: f64,
}

/// The exponential of the mean divergence of an image's classes from those of its split, of `logits` `[N, K]`, in `splits`
/// parts. In float64, as torch-fidelity, which takes the logits without the classifier's bias.
///
/// With a `seed` the images are put into torch-fidelity's order first; without, they stay in theirs.
///
/// # Errors
/// When there are fewer images than splits, or a logit is no number.
pub fn inception_score(
    logits: ArrayView2<f32>,
    splits: usize,
    seed: Option<u32>,
) -> Result<InceptionScore, FidError> {
    let count = logits.nrows();
    if splits == 0 || count < splits {
        return Err(FidError::Splits { splits, count });
    }
    let order = match seed {
        Some(seed) => RandomState::new(seed).permutation(count),
        None => (0..count).collect(),
    };
    let mut scores = Vec::with_capacity(splits);
    for split in 0..splits {
        let chosen = &order[split * count / splits..(split + 1) * count / splits];
        scores.push(of_split(logits, chosen)?);
    }
    let mean = scores.iter().sum::<f64>() / splits as f64;
    let deviation = (scores.iter().map(|one| (one - mean).powi(2)).sum::<f64>() / splits as f64).sqrt();
    Ok(InceptionScore { mean, deviation })
}

fn of_split(logits: ArrayView2<f32>, chosen: &[usize]) -> Result<f64, FidError> {
    let count = chosen.len() as f64;
    let mut marginal = Array1::<f64>::zeros(logits.ncols());
    // The sum of p log p over images and classes.
    let mut entropy = 0.0;
    for &row in chosen {
        let logits = logits.row(row).mapv(f64::from);
        if let Some((column, &value)) = logits.iter().enumerate().find(|(_, value)| !value.is_finite()) {
            return Err(FidError::NotFinite { row: row as u64, column, value });
        }
        let largest = logits.fold(f64::NEG_INFINITY, |largest, &value| largest.max(value));
        let total = logits.mapv(|value| (value - largest).exp()).sum().ln() + largest;
        let log = logits - total;
        let of_classes = log.mapv(f64::exp);
        entropy += of_classes.dot(&log);
        marginal += &of_classes;
    }
    marginal /= count;
    let of_marginal: f64 = marginal.iter().filter(|&&p| p > 0.0).map(|p| p * p.ln()).sum();
    Ok((entropy / count - of_marginal).exp())
}
