//! Means, and normalisation by them. Sums are taken in f64, so that large images lose nothing.

use ndarray::{Array4, ArrayD, ArrayView1, ArrayView4, Axis, s};

use super::Real;

/// Normalises each of `groups` groups of channels of each image to mean 0 and variance 1 (the biased one, plus
/// `eps`), then scales and shifts each channel by `affine`.
pub fn group_norm<F: Real>(
    x: ArrayView4<F>,
    affine: Option<(ArrayView1<F>, ArrayView1<F>)>,
    groups: usize,
    eps: f64,
) -> Array4<F> {
    let (batch, channels, height, width) = x.dim();
    let per_group = channels / groups;
    let count = (per_group * height * width) as f64;
    let mut result = x.to_owned();
    for image in 0..batch {
        for group in 0..groups {
            let range = group * per_group..(group + 1) * per_group;
            let members = x.slice(s![image, range.clone(), .., ..]);
            let mean = members.iter().map(|x| x.widened()).sum::<f64>() / count;
            let variance = members.iter().map(|x| (x.widened() - mean).powi(2)).sum::<f64>() / count;
            let scale = 1.0 / (variance + eps).sqrt();
            for channel in range {
                let (weight, bias) =
                    affine.map_or((1.0, 0.0), |(w, b)| (w[channel].widened(), b[channel].widened()));
                let normalise = |x: F| F::rounded((x.widened() - mean) * scale * weight + bias);
                result.slice_mut(s![image, channel, .., ..]).mapv_inplace(normalise);
            }
        }
    }
    result
}

/// Normalises each channel by the given mean and variance (plus `eps`), then scales and shifts it.
pub fn batch_norm<F: Real>(
    x: ArrayView4<F>,
    weight: ArrayView1<F>,
    bias: ArrayView1<F>,
    mean: ArrayView1<F>,
    variance: ArrayView1<F>,
    eps: f64,
) -> Array4<F> {
    let mut result = x.to_owned();
    for (channel, mut members) in result.axis_iter_mut(Axis(1)).enumerate() {
        let (mean, variance) = (mean[channel].widened(), variance[channel].widened());
        let (weight, bias) = (weight[channel].widened(), bias[channel].widened());
        let scale = weight / (variance + eps).sqrt();
        members.mapv_inplace(|x| F::rounded((x.widened() - mean) * scale + bias));
    }
    result
}

/// Normalises along the last axis to mean 0 and variance 1 (the biased one, plus `eps`).
pub fn layer_norm<F: Real>(x: &ArrayD<F>, eps: f64) -> ArrayD<F> {
    let mut result = x.clone();
    for mut row in result.rows_mut() {
        let count = row.len() as f64;
        let mean = row.iter().map(|x| x.widened()).sum::<f64>() / count;
        let variance = row.iter().map(|x| (x.widened() - mean).powi(2)).sum::<f64>() / count;
        let scale = 1.0 / (variance + eps).sqrt();
        row.mapv_inplace(|x| F::rounded((x.widened() - mean) * scale));
    }
    result
}

/// The logarithm of the softmax over the last axis.
pub fn log_softmax<F: Real>(x: &ArrayD<F>) -> ArrayD<F> {
    let mut result = x.clone();
    for mut row in result.rows_mut() {
        let largest = row.iter().map(|x| x.widened()).fold(f64::NEG_INFINITY, f64::max);
        let sum = row.iter().map(|x| (x.widened() - largest).exp()).sum::<f64>();
        row.mapv_inplace(|x| F::rounded(x.widened() - largest - sum.ln()));
    }
    result
}

/// Divides by the root of the mean square along an axis, plus `eps` inside the root.
pub fn rms_norm<F: Real>(x: &ArrayD<F>, axis: usize, eps: f64) -> ArrayD<F> {
    let mut result = x.clone();
    for mut lane in result.lanes_mut(Axis(axis)) {
        let square = lane.iter().map(|x| x.widened().powi(2)).sum::<f64>() / lane.len() as f64;
        let scale = 1.0 / (square + eps).sqrt();
        lane.mapv_inplace(|x| F::rounded(x.widened() * scale));
    }
    result
}

/// Scales each row, all axes but the first, to a root mean square of `rms` where `eps` is small beside the row's.
pub fn weight_norm<F: Real>(weight: &ArrayD<F>, eps: f64, rms: f64) -> ArrayD<F> {
    let mut result = weight.clone();
    for mut row in result.axis_iter_mut(Axis(0)) {
        let square = row.iter().map(|w| w.widened().powi(2)).sum::<f64>() / row.len() as f64;
        let scale = rms / (eps + square.sqrt());
        row.mapv_inplace(|w| F::rounded(w.widened() * scale));
    }
    result
}

/// Mean over `axes` (ascending), which are removed.
pub fn mean<F: Real>(x: &ArrayD<F>, axes: &[usize]) -> ArrayD<F> {
    let count: usize = axes.iter().map(|&axis| x.shape()[axis]).product();
    // From the last axis on, so that removing one does not move those still to come.
    let sum = axes.iter().rev().fold(x.mapv(F::widened), |sum, &axis| sum.sum_axis(Axis(axis)));
    sum.mapv(|sum| F::rounded(sum / count as f64))
}
