//! The objective of multinomial logistic regression, with its gradient.

use std::borrow::Cow;

use ndarray::{Array1, Array2, ArrayView2, s};
use rayon::prelude::*;

use super::precision::{Precision, product};

/// Rows whose logits are computed at once: a block and its gradient stay in the processor's cache.
const BLOCK_ROWS: usize = 256;

/// Partial sums over the rows. Their number is fixed, so that the result does not depend on the number of threads.
const PARTS: usize = 16;

/// Cross-entropy of a linear softmax classifier plus an L2 penalty, in float64:
///
/// `sum_i [ logsumexp(x_i W + b) - (x_i W + b)_{y_i} ] + alpha / 2 * ||W||^2`
///
/// The intercept `b` is not penalised. With `alpha = 1 / C` this is scikit-learn's `LogisticRegression(C=C)`.
pub(crate) struct Objective<'a> {
    features: ArrayView2<'a, f64>,
    /// The same row after row.
    rows: Cow<'a, [f64]>,
    /// The same in float32.
    single: Vec<f32>,
    classes: &'a [usize],
    class_count: usize,
    alpha: f64,
}

/// Value and gradient of the objective at one point.
pub struct Evaluation {
    /// The objective, penalty included.
    pub value: f64,
    /// The sum of the cross-entropies alone, in nats.
    pub(crate) cross_entropy: f64,
    /// Gradient `[D + 1, K]`: rows of `W`, then `b`.
    pub gradient: Array2<f64>,
}

impl<'a> Objective<'a> {
    /// `features` `[N, D]`, `classes` `[N]` with values below `class_count`.
    pub fn new(features: ArrayView2<'a, f64>, classes: &'a [usize], class_count: usize, alpha: f64) -> Self {
        debug_assert_eq!(features.nrows(), classes.len());
        let rows = features.to_slice().map_or_else(|| features.iter().copied().collect(), Cow::Borrowed);
        let single = rows.par_iter().with_min_len(1 << 16).map(|&value| value as f32).collect();
        Self { features, rows, single, classes, class_count, alpha }
    }

    /// Shape of the parameters: `[D + 1, K]`, the last row being the intercept.
    pub(crate) fn parameter_shape(&self) -> (usize, usize) {
        (self.features.ncols() + 1, self.class_count)
    }

    /// The number of samples N.
    pub fn samples(&self) -> usize {
        self.classes.len()
    }

    /// The penalty's factor, `1 / C`.
    pub(crate) fn alpha(&self) -> f64 {
        self.alpha
    }

    /// The features `[N, D]`.
    pub fn features(&self) -> ArrayView2<'a, f64> {
        self.features
    }

    /// The features row after row.
    pub(crate) fn rows(&self) -> &[f64] {
        &self.rows
    }

    /// The classes `[N]`.
    pub fn classes(&self) -> &'a [usize] {
        self.classes
    }

    /// Value and gradient at `parameters` `[D + 1, K]`.
    pub fn evaluate(&self, parameters: &Array2<f64>) -> Evaluation {
        self.evaluate_in(&self.rows, parameters)
    }

    /// The same from products in float32: off by about 1e-7, and twice as fast. Sums over blocks are float64.
    pub(crate) fn evaluate_single(&self, parameters: &Array2<f64>) -> Evaluation {
        self.evaluate_in(&self.single, parameters)
    }

    fn evaluate_in<T: Precision>(&self, rows: &[T], parameters: &Array2<f64>) -> Evaluation {
        let dim = self.features.ncols();
        let weights = parameters.slice(s![..dim, ..]);
        let rounded: Vec<T> = parameters.iter().map(|&value| T::from_f64(value)).collect();
        let rows_per_part = self.samples().div_ceil(PARTS).max(1);
        let parts: Vec<(f64, Vec<f64>)> = (0..self.samples().div_ceil(rows_per_part))
            .into_par_iter()
            .map(|part| {
                let start = part * rows_per_part;
                let end = (start + rows_per_part).min(self.samples());
                self.partial(&rows[start * dim..end * dim], &self.classes[start..end], &rounded)
            })
            .collect();

        let mut cross_entropy = 0.0;
        let mut sum = vec![0.0; parameters.len()];
        for (part_loss, part_gradient) in parts {
            cross_entropy += part_loss;
            sum.iter_mut().zip(part_gradient).for_each(|(sum, value)| *sum += value);
        }
        let (of_weights, of_intercept) = sum.split_at(dim * self.class_count);
        let mut gradient = Array2::<f64>::zeros(self.parameter_shape());
        for (class, &of_intercept) in of_intercept.iter().enumerate() {
            let mut column = gradient.column_mut(class);
            let values = &of_weights[class * dim..(class + 1) * dim];
            column.iter_mut().zip(values).for_each(|(target, &value)| *target = value);
            column[dim] = of_intercept;
        }
        gradient.slice_mut(s![..dim, ..]).scaled_add(self.alpha, &weights);
        let penalty = 0.5 * self.alpha * weights.iter().map(|w| w * w).sum::<f64>();
        Evaluation { value: cross_entropy + penalty, cross_entropy, gradient }
    }

    /// Cross-entropy of some rows and its gradient: of the weights `[K, D]`, which is the faster way to multiply, then of
    /// the intercept.
    fn partial<T: Precision>(&self, rows: &[T], classes: &[usize], parameters: &[T]) -> (f64, Vec<f64>) {
        let (dim, class_count) = (self.features.ncols(), self.class_count);
        let (weights, intercept) = parameters.split_at(dim * class_count);
        let mut loss = 0.0;
        let mut gradient = vec![0.0; parameters.len()];
        let mut logits = vec![T::ZERO; BLOCK_ROWS * class_count];
        let mut of_block = vec![T::ZERO; weights.len()];
        for (block, classes) in classes.chunks(BLOCK_ROWS).enumerate() {
            let start = block * BLOCK_ROWS * dim;
            let rows = &rows[start..start + classes.len() * dim];
            let logits = &mut logits[..classes.len() * class_count];
            product(logits, (rows, dim), (weights, class_count), false);
            let (of_weights, of_intercept) = gradient.split_at_mut(weights.len());
            for (logit, &class) in logits.chunks_exact_mut(class_count).zip(classes) {
                logit.iter_mut().zip(intercept).for_each(|(logit, &b)| *logit += b);
                let true_logit = logit[class].to_f64();
                loss += softmax_in_place(logit) - true_logit;
                logit[class] -= T::ONE;
                of_intercept.iter_mut().zip(&*logit).for_each(|(sum, &value)| *sum += value.to_f64());
            }
            product(&mut of_block, (logits, class_count), (rows, dim), true);
            of_weights.iter_mut().zip(&of_block).for_each(|(sum, &value)| *sum += value.to_f64());
        }
        (loss, gradient)
    }
}

/// Replaces the logits by their softmax and returns their log-sum-exp. Stable for logits of any size.
pub(crate) fn softmax_in_place<T: Precision>(logits: &mut [T]) -> f64 {
    let largest = logits.iter().copied().fold(T::SMALLEST, T::max);
    let mut sum = 0.0;
    for logit in logits.iter_mut() {
        *logit = (*logit - largest).exp();
        sum += logit.to_f64();
    }
    let share = T::from_f64(1.0 / sum);
    for logit in logits.iter_mut() {
        *logit *= share;
    }
    largest.to_f64() + sum.ln()
}

/// The largest absolute value, as NaN when any value is.
pub(crate) fn largest_magnitude(values: &Array2<f64>) -> f64 {
    values.iter().fold(0.0, |largest: f64, v| if v.is_nan() || v.abs() > largest { v.abs() } else { largest })
}

/// Class priors as the starting intercept, so that the first step is spent on the features.
pub(crate) fn starting_point(objective: &Objective) -> Array2<f64> {
    let (rows, class_count) = objective.parameter_shape();
    let mut counts = Array1::<f64>::zeros(class_count);
    for &class in objective.classes() {
        counts[class] += 1.0;
    }
    let mean_log = counts.mapv(f64::ln).sum() / class_count as f64;
    let mut parameters = Array2::zeros((rows, class_count));
    parameters.row_mut(rows - 1).assign(&counts.mapv(|count| count.ln() - mean_log));
    parameters
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gradient_is_that_of_the_value() {
        let features = Array2::from_shape_fn((700, 3), |(i, j)| ((i * 7 + j * 13) % 17) as f64 / 8.0 - 1.0);
        let classes: Vec<usize> = (0..700).map(|i| (i * i) % 4).collect();
        let objective = Objective::new(features.view(), &classes, 4, 0.7);
        let at = Array2::from_shape_fn((4, 4), |(i, j)| (i as f64 - 1.5) * 0.3 + j as f64 * 0.1);
        let gradient = objective.evaluate(&at).gradient;
        let step = 1e-5;
        for index in [(0, 0), (1, 3), (2, 2), (3, 1)] {
            let (mut above, mut below) = (at.clone(), at.clone());
            above[index] += step;
            below[index] -= step;
            let difference =
                (objective.evaluate(&above).value - objective.evaluate(&below).value) / (2.0 * step);
            assert!(
                (difference - gradient[index]).abs() < 1e-5 * difference.abs().max(1.0),
                "{index:?}: {difference} and {}",
                gradient[index]
            );
        }
    }

    #[test]
    fn softmax_survives_logits_far_apart() {
        let mut logits = [1000.0, 0.0, -1000.0];
        assert_eq!(softmax_in_place(&mut logits), 1000.0);
        assert_eq!(logits, [1.0, 0.0, 0.0]);
    }

    #[test]
    fn the_starting_point_of_unbalanced_classes_has_no_intercept_gradient() {
        let features = Array2::<f64>::zeros((6, 2));
        let classes = [0, 0, 0, 0, 1, 1];
        let objective = Objective::new(features.view(), &classes, 2, 1.0);
        let evaluation = objective.evaluate(&starting_point(&objective));
        assert!(largest_magnitude(&evaluation.gradient) < 1e-12);
    }
}
