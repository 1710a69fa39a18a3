//! The published noise-conditional head: classes from a feature and the timestep it was taken at (DDAE, arXiv
//! 2303.09769):
//!
//! `Linear(2 D -> K)(SiLU(Linear(D -> 2 D)(x + embedding(t))))`, where the embedding is `Linear(D -> D)(SiLU(Linear(D / 4 ->
//! D)([sin(t f), cos(t f)])))` with D / 8 frequencies from 1 down to 1 / 10,000.
//!
//! It is trained as the linear probe is ([`crate::linear`]).

use std::collections::HashMap;

use ndarray::{Array2, ArrayView2, s};

use crate::error::{ClassifyError, Result};
use crate::linear::trainer::{AdamStep, cross_entropy};
use crate::linear::{Learner, LinearOptions, TrainingRows, TrainingSummary, fit};
use crate::mlp::{Layer, LayerMoments, layer_gradient, silu, silu_slope};
use crate::product::product;
use crate::ranking::Ranks;

/// The head.
#[derive(Clone, Debug, PartialEq)]
pub struct NoiseMlpModel {
    /// The embedding's layers, `[D, D / 4]` and `[D, D]` (`time_emb.lin1`, `time_emb.lin2`).
    pub embedding: [Layer; 2],
    /// `[2 D, D]` (`cls.0`).
    pub hidden: Layer,
    /// `[K, 2 D]` (`cls.2`).
    pub output: Layer,
}

/// What is remembered of a pass for its gradient, `[N, ...]` each.
struct Pass {
    sinusoids: Array2<f32>,
    before_embedding: Array2<f32>,
    inner_embedding: Array2<f32>,
    /// Features with the embedding added.
    inputs: Array2<f32>,
    before_hidden: Array2<f32>,
    inner: Array2<f32>,
    scores: Array2<f32>,
}

impl NoiseMlpModel {
    /// The initial head: PyTorch's weights of each layer, drawn by `seed`.
    ///
    /// # Errors
    /// When `dim` is no multiple of 8 of at least 16: the published embedding has no other widths.
    pub fn initial(dim: usize, classes: usize, seed: u64) -> Result<Self> {
        if dim < 16 || !dim.is_multiple_of(8) {
            return Err(ClassifyError::EmbeddingWidth { dim });
        }
        Ok(Self {
            embedding: [Layer::initial(dim / 4, dim, seed, 0), Layer::initial(dim, dim, seed, 1)],
            hidden: Layer::initial(dim, 2 * dim, seed, 2),
            output: Layer::initial(2 * dim, classes, seed, 3),
        })
    }

    fn pass(&self, features: ArrayView2<f32>, timesteps: &[i64]) -> Pass {
        let [first, second] = &self.embedding;
        let sinusoids = sinusoids(timesteps, first.weight.ncols());
        let before_embedding = first.apply(sinusoids.view());
        let inner_embedding = before_embedding.mapv(silu);
        let inputs = second.apply(inner_embedding.view()) + features;
        let before_hidden = self.hidden.apply(inputs.view());
        let inner = before_hidden.mapv(silu);
        let scores = self.output.apply(inner.view());
        Pass { sinusoids, before_embedding, inner_embedding, inputs, before_hidden, inner, scores }
    }

    /// Scores `[N, K]` of features `[N, D]`, each taken at its timestep.
    ///
    /// # Panics
    /// When there is not one timestep for each row.
    pub fn logits(&self, features: ArrayView2<f32>, timesteps: &[i64]) -> Array2<f32> {
        assert_eq!(features.nrows(), timesteps.len(), "one timestep per row");
        self.pass(features, timesteps).scores
    }

    /// Adds the best classes of each row, all taken at the same timestep, to `ranks`.
    pub fn rank(&self, features: ArrayView2<f32>, timestep: i64, ranks: &mut Ranks) {
        for row in self.logits(features, &vec![timestep; features.nrows()]).rows() {
            ranks.push(row.iter().map(|&score| f64::from(score)), f64::NEG_INFINITY);
        }
    }

    /// The mean cross-entropy of a batch and its gradient by the layers, in the order of [`Self::layers`].
    fn differentiate(
        &self,
        features: ArrayView2<f32>,
        timesteps: &[i64],
        classes: &[usize],
    ) -> (f64, [Layer; 4]) {
        let pass = self.pass(features, timesteps);
        let (loss, by_scores) = cross_entropy(pass.scores, classes);
        let through =
            |by_outputs: &Array2<f32>, layer: &Layer| product(by_outputs.view(), layer.weight.view());
        let mut by_hidden = through(&by_scores, &self.output);
        by_hidden.zip_mut_with(&pass.before_hidden, |gradient, &x| *gradient *= silu_slope(x));
        let by_inputs = through(&by_hidden, &self.hidden);
        let mut by_embedding = through(&by_inputs, &self.embedding[1]);
        by_embedding.zip_mut_with(&pass.before_embedding, |gradient, &x| *gradient *= silu_slope(x));
        let gradients = [
            layer_gradient(&by_embedding, pass.sinusoids.view()),
            layer_gradient(&by_inputs, pass.inner_embedding.view()),
            layer_gradient(&by_hidden, pass.inputs.view()),
            layer_gradient(&by_scores, pass.inner.view()),
        ];
        (loss, gradients)
    }

    fn layers(&mut self) -> [&mut Layer; 4] {
        let [first, second] = &mut self.embedding;
        [first, second, &mut self.hidden, &mut self.output]
    }
}

/// `[sin(t f), cos(t f)]` of each timestep, `width` numbers; `f = exp(-k ln(10,000) / (width / 2 - 1))`.
fn sinusoids(timesteps: &[i64], width: usize) -> Array2<f32> {
    let half = width / 2;
    let mut known: HashMap<i64, Vec<f32>> = HashMap::new();
    let mut values = Array2::zeros((timesteps.len(), width));
    for (mut row, &timestep) in values.rows_mut().into_iter().zip(timesteps) {
        let of_timestep = known.entry(timestep).or_insert_with(|| {
            let angle = |k: usize| {
                let frequency = (-(k as f32) * (10_000_f32.ln() / (half as f32 - 1.0))).exp();
                timestep as f32 * frequency
            };
            let sines = (0..half).map(|k| angle(k).sin());
            sines.chain((0..half).map(|k| angle(k).cos())).collect()
        });
        row.iter_mut().zip(of_timestep.iter()).for_each(|(value, &known)| *value = known);
    }
    values
}

struct NoiseMlpTrainer {
    model: NoiseMlpModel,
    moments: [LayerMoments; 4],
    steps: i32,
}

impl Learner for NoiseMlpTrainer {
    fn step(&mut self, rows: Array2<f32>, classes: &[usize], learning_rate: f64) -> f64 {
        let last = rows.ncols() - 1;
        let timesteps: Vec<i64> = rows.column(last).iter().map(|&timestep| timestep as i64).collect();
        let features = rows.slice(s![.., ..last]).as_standard_layout().into_owned();
        let (loss, gradients) = self.model.differentiate(features.view(), &timesteps, classes);
        self.steps = self.steps.saturating_add(1);
        let step = AdamStep::new(self.steps, learning_rate);
        for ((layer, gradient), moments) in
            self.model.layers().into_iter().zip(&gradients).zip(&mut self.moments)
        {
            moments.step(layer, gradient, &step);
        }
        loss
    }

    fn is_finite(&self) -> bool {
        let NoiseMlpModel { embedding, hidden, output, .. } = &self.model;
        embedding.iter().chain([hidden, output]).all(Layer::is_finite)
    }
}

/// Trains a head on `rows` `[N, D + 1]`, whose last column is the timestep that a row was taken at (whole, at most 2^24),
/// with one class index below `class_count` for each. `progress` is told the number of rows after each step. Batch
/// normalisation is no part of the head.
///
/// # Errors
/// As [`NoiseMlpModel::initial`] and [`crate::linear::train`].
///
/// # Panics
/// When there is not one class for each row, or batch normalisation is asked for.
pub fn train(
    rows: &mut impl TrainingRows,
    classes: &[usize],
    class_count: usize,
    options: &LinearOptions,
    progress: &mut dyn FnMut(u64),
) -> Result<(NoiseMlpModel, TrainingSummary)> {
    assert!(!options.batch_norm, "the head has no batch normalisation");
    let dim = rows.size()[1] - 1;
    let mut model = NoiseMlpModel::initial(dim, class_count, options.seed)?;
    let moments = model.layers().map(|layer| LayerMoments::new(layer));
    let mut trainer = NoiseMlpTrainer { model, moments, steps: 0 };
    let summary = fit(&mut trainer, rows, classes, options, progress)?;
    Ok((trainer.model, summary))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linear::Preset;

    fn features(rows: usize, dim: usize) -> Array2<f32> {
        Array2::from_shape_fn((rows, dim), |(i, j)| ((i * 31 + j * 17) % 23) as f32 / 11.0 - 1.0)
    }

    #[test]
    fn the_gradient_is_that_of_the_loss() {
        let model = NoiseMlpModel::initial(16, 3, 5).expect("a head");
        let (features, timesteps, classes) = (features(4, 16), [1, 500, 999, 3], [1, 0, 2, 1]);
        let (_, gradients) = model.differentiate(features.view(), &timesteps, &classes);
        let h = 1e-2;
        for (layer, gradient) in gradients.iter().enumerate() {
            for place in [[0, 0], [2, 1], [1, 3]] {
                let at = |by: f32| {
                    let mut moved = model.clone();
                    moved.layers()[layer].weight[place] += by;
                    moved.differentiate(features.view(), &timesteps, &classes).0
                };
                let expected = ((at(h) - at(-h)) / (2.0 * f64::from(h))) as f32;
                assert!((gradient.weight[place] - expected).abs() < 3e-4, "layer {layer} {place:?}");
            }
            let at = |by: f32| {
                let mut moved = model.clone();
                moved.layers()[layer].bias[1] += by;
                moved.differentiate(features.view(), &timesteps, &classes).0
            };
            let expected = ((at(h) - at(-h)) / (2.0 * f64::from(h))) as f32;
            assert!((gradient.bias[1] - expected).abs() < 3e-4, "layer {layer}");
        }
    }

    /// The same features mean one class at one timestep and the other at another.
    #[test]
    fn the_timestep_has_a_say() {
        let mut rows = Array2::zeros((200, 17));
        let sign = |row: usize| if row.is_multiple_of(2) { 1.0 } else { -1.0 };
        let timestep = |row: usize| if row % 4 < 2 { 1.0 } else { 300.0 };
        for row in 0..200 {
            rows[[row, 0]] = sign(row) + (row % 7) as f32 * 0.01;
            rows[[row, 16]] = timestep(row);
        }
        let classes: Vec<usize> =
            (0..200).map(|row| usize::from((sign(row) > 0.0) == (row % 4 < 2))).collect();
        let options = LinearOptions { epochs: 40, batch: 20, learning_rate: 0.01, ..Preset::Ddae.options() };
        let (model, summary) = train(&mut rows, &classes, 2, &options, &mut |_| {}).expect("trained");
        for (row, &class) in classes.iter().enumerate() {
            let mut ranks = Ranks::new(1);
            let features = rows.slice(s![row..=row, ..16]);
            model.rank(features, rows[[row, 16]] as i64, &mut ranks);
            assert_eq!(ranks.best(), [class], "row {row}: {summary:?}");
        }
    }

    #[test]
    fn widths_without_a_published_embedding_are_refused() {
        for dim in [8, 20] {
            let error = NoiseMlpModel::initial(dim, 2, 0).expect_err("no head").to_string();
            assert!(error.starts_with(&format!("{dim} features: the noise-conditional head")), "{error}");
        }
    }
}
