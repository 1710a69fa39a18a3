//! What the linear probe learns: a linear layer, after batch normalisation where the protocol has it.

use ddae_base::random::{Purpose, Stream, stream};
use ndarray::{Array1, Array2, ArrayView2, Zip};

use crate::logistic::first_largest;
use crate::ranking::Ranks;

/// Share of a batch in the running mean and variance (PyTorch's `momentum`).
const MOMENTUM: f32 = 0.1;

/// Added to variances, as SODA's probe has it.
const EPS: f32 = 1e-6;

/// A linear layer with the classes' scores as its output.
#[derive(Clone, Debug, PartialEq)]
pub struct LinearModel {
    /// `[K, D]`.
    pub weight: Array2<f32>,
    /// `[K]`.
    pub bias: Array1<f32>,
    /// What is done to features before, if anything.
    pub batch_norm: Option<BatchNorm>,
}

impl LinearModel {
    /// PyTorch's initial `Linear`: weights and biases uniform between -1/sqrt(D) and 1/sqrt(D). The draws are those of
    /// `seed`, not of PyTorch's generator.
    pub fn initial(dim: usize, classes: usize, batch_norm: bool, seed: u64) -> Self {
        let bound = 1.0 / (dim.max(1) as f64).sqrt();
        let draw = |stream: &mut Stream| ((2.0 * stream.uniform() - 1.0) * bound) as f32;
        let mut of_weight = stream(seed, Purpose::Initialise, 0, 0);
        let mut of_bias = stream(seed, Purpose::Initialise, 1, 0);
        Self {
            weight: Array2::from_shape_simple_fn((classes, dim), || draw(&mut of_weight)),
            bias: Array1::from_shape_simple_fn(classes, || draw(&mut of_bias)),
            batch_norm: batch_norm.then(|| BatchNorm::new(dim)),
        }
    }

    /// Scores `[N, K]` of features `[N, D]`, with the running statistics where there is batch normalisation.
    pub fn logits(&self, features: ArrayView2<f32>) -> Array2<f32> {
        match &self.batch_norm {
            None => self.scores(features),
            Some(norm) => self.scores(norm.applied(features).view()),
        }
    }

    /// Scores of features that are normalised already.
    pub(super) fn scores(&self, features: ArrayView2<f32>) -> Array2<f32> {
        features.dot(&self.weight.t()) + &self.bias
    }

    /// Adds the best classes of each row to `ranks`.
    pub fn rank(&self, features: ArrayView2<f32>, ranks: &mut Ranks) {
        for row in self.logits(features).rows() {
            ranks.push(row.iter().map(|&score| f64::from(score)), f64::NEG_INFINITY);
        }
    }

    /// The class with the highest score of each row, the smaller one where two are equal.
    pub fn predict(&self, features: ArrayView2<f32>) -> Vec<usize> {
        let logits = self.logits(features);
        logits.rows().into_iter().map(|row| first_largest(row.iter().map(|&v| f64::from(v)))).collect()
    }
}

/// Batch normalisation without scale and shift: PyTorch's `BatchNorm1d(D, affine=False, eps=1e-6)`.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchNorm {
    /// Running mean, `[D]`.
    pub mean: Array1<f32>,
    /// Running variance, `[D]`.
    pub variance: Array1<f32>,
}

impl BatchNorm {
    /// Before any batch: mean 0 and variance 1.
    pub fn new(dim: usize) -> Self {
        Self { mean: Array1::zeros(dim), variance: Array1::ones(dim) }
    }

    /// Normalises a training batch `[N, D]`, N at least 2, by its own mean and variance, and moves the running ones
    /// towards them (the variance without bias).
    pub(crate) fn train(&mut self, features: &mut Array2<f32>) {
        let count = features.nrows() as f64;
        let mut mean = Array1::<f64>::zeros(features.ncols());
        for row in features.rows() {
            Zip::from(&mut mean).and(row).for_each(|mean, &v| *mean += f64::from(v));
        }
        mean /= count;
        let mut squares = Array1::<f64>::zeros(features.ncols());
        for row in features.rows() {
            Zip::from(&mut squares).and(row).and(&mean).for_each(|sum, &v, &mean| {
                *sum += (f64::from(v) - mean) * (f64::from(v) - mean);
            });
        }
        let scale = squares.mapv(|squares| 1.0 / (squares / count + f64::from(EPS)).sqrt());
        for mut row in features.rows_mut() {
            Zip::from(&mut row).and(&mean).and(&scale).for_each(|v, &mean, &scale| {
                *v = ((f64::from(*v) - mean) * scale) as f32;
            });
        }
        Zip::from(&mut self.mean)
            .and(&mean)
            .for_each(|running, &mean| *running += MOMENTUM * (mean as f32 - *running));
        Zip::from(&mut self.variance).and(&squares).for_each(|running, &squares| {
            *running += MOMENTUM * ((squares / (count - 1.0)) as f32 - *running);
        });
    }

    /// Features normalised by the running mean and variance.
    pub(crate) fn applied(&self, features: ArrayView2<f32>) -> Array2<f32> {
        let mut features = features.to_owned();
        self.apply(&mut features);
        features
    }

    /// Normalises features `[N, D]` by the running mean and variance.
    fn apply(&self, features: &mut Array2<f32>) {
        for mut row in features.rows_mut() {
            Zip::from(&mut row).and(&self.mean).and(&self.variance).for_each(|v, &mean, &variance| {
                *v = (*v - mean) / (variance + EPS).sqrt();
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn initial_weights_are_uniform_within_their_bound() {
        let model = LinearModel::initial(400, 50, false, 3);
        let bound: f32 = 1.0 / 20.0;
        assert!(model.weight.iter().chain(&model.bias).all(|v| v.abs() <= bound));
        let mean_square = model.weight.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / 20_000.0;
        assert!((mean_square * 3.0 * 400.0 - 1.0).abs() < 0.03, "{mean_square}");
        assert_eq!(model, LinearModel::initial(400, 50, false, 3));
        assert_ne!(model, LinearModel::initial(400, 50, false, 4));
    }

    #[test]
    fn batch_norm_keeps_running_statistics() {
        let mut norm = BatchNorm::new(1);
        let mut batch = array![[1.0], [3.0]];
        norm.train(&mut batch);
        assert!((batch[[0, 0]] + 1.0).abs() < 1e-6 && (batch[[1, 0]] - 1.0).abs() < 1e-6, "{batch}");
        // Mean 2, variance without bias 2.
        assert!((norm.mean[0] - 0.2).abs() < 1e-6 && (norm.variance[0] - 1.1).abs() < 1e-6, "{norm:?}");
        let mut test = array![[0.2], [0.2 + 1.1_f32.sqrt()]];
        norm.apply(&mut test);
        assert!(test[[0, 0]].abs() < 1e-5 && (test[[1, 0]] - 1.0).abs() < 1e-5, "{test}");
    }
}
