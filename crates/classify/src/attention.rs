//! An attention-pooled head for maps, the field's attentive probe: one learned query looks over all places of a map, and a
//! linear layer classifies what it gathers (multi-head cross-attention as in AIM, arXiv 2401.08541, section 3.3; before it
//! CAE, arXiv 2202.03026, and with more layers V-JEPA, arXiv 2404.08471).
//!
//! With the places' features `p_i [D]`, H heads of d = D / H, keys `K_h [d, D]`, values `V_h [d, D]` and queries `q_h [d]`:
//!
//! - `a_hi` is the softmax over i of `q_h · K_h p_i / sqrt(d)`,
//! - `z_h = sum_i a_hi V_h p_i`, and the scores are `W [z_1 … z_H] + b`.
//!
//! There is one query, so that neither keys nor values of places need be computed: `q_h · K_h p_i = (K_h^T q_h) · p_i`, and
//! `z_h = V_h (sum_i a_hi p_i)`. A sample costs as much as H averages over its map and one product with V.
//!
//! It is trained as the linear probe is ([`crate::linear`]).

use ddae_base::random::{Purpose, stream};
use ndarray::{Array1, Array2, Array3, ArrayView2, Axis, Ix1, Ix2, s};

use crate::error::{ClassifyError, Result};
use crate::linear::model::BatchNorm;
use crate::linear::trainer::{AdamStep, Moments, cross_entropy};
use crate::linear::{Learner, LinearOptions, TrainingRows, TrainingSummary, all_finite, fit};
use crate::mlp::{Layer, LayerMoments, layer_gradient};
use crate::product::product;
use crate::ranking::Ranks;

/// Standard deviation of the initial query: small, so that a head begins with the average over the map (CAE, AIM).
const QUERY_STD: f64 = 0.02;

/// Features of a head where nobody says how many heads there are: those of the transformers that such probes measure.
const USUAL_HEAD: usize = 64;

/// The number of heads for `dim` features: one for every 64, as far as they divide it, and at least one.
pub fn usual_heads(dim: usize) -> usize {
    (1..=dim / USUAL_HEAD).rev().find(|&heads| dim.is_multiple_of(heads)).unwrap_or(1)
}

/// The head. Rows that it sees are maps, place after place: `[N, T D]` for T places.
#[derive(Clone, Debug, PartialEq)]
pub struct AttentionModel {
    /// `[D]`: those of the heads, one after the other.
    pub query: Array1<f32>,
    /// `[D, D]`.
    pub keys: Array2<f32>,
    /// `[D, D]`.
    pub values: Array2<f32>,
    /// `[K, D]` and `[K]`.
    pub output: Layer,
    /// Number of heads.
    pub heads: usize,
    /// What is done to the features of every place before, if anything.
    pub batch_norm: Option<BatchNorm>,
}

/// The gradient of a loss by the parameters of a model.
struct Gradient {
    query: Array1<f32>,
    keys: Array2<f32>,
    values: Array2<f32>,
    output: Layer,
}

/// What is remembered of a pass for its gradient.
struct Pass {
    /// `[N T, H]`.
    attention: Array2<f32>,
    /// Features averaged by it, `[H, N, D]`.
    pooled: Array3<f32>,
    /// `[N, D]`.
    gathered: Array2<f32>,
    /// `[N, K]`.
    scores: Array2<f32>,
}

impl AttentionModel {
    /// The initial model for maps of `dim` features: PyTorch's weights for the linear layers and a query near 0, drawn by `seed`.
    ///
    /// # Errors
    /// When `heads` does not divide `dim`.
    pub fn initial(dim: usize, heads: usize, classes: usize, batch_norm: bool, seed: u64) -> Result<Self> {
        if heads == 0 || !dim.is_multiple_of(heads) {
            return Err(ClassifyError::Heads { dim, heads });
        }
        let mut of_query = stream(seed, Purpose::Initialise, 6, 0);
        Ok(Self {
            query: Array1::from_shape_simple_fn(dim, || (QUERY_STD * of_query.normal()) as f32),
            keys: Layer::initial(dim, dim, seed, 0).weight,
            values: Layer::initial(dim, dim, seed, 1).weight,
            output: Layer::initial(dim, classes, seed, 2),
            heads,
            batch_norm: batch_norm.then(|| BatchNorm::new(dim)),
        })
    }

    /// The parts of `[D]` that are the heads'.
    fn parts(&self) -> impl Iterator<Item = std::ops::Range<usize>> + use<> {
        let width = self.query.len() / self.heads;
        (0..self.heads).map(move |head| head * width..(head + 1) * width)
    }

    /// One over the root of a head's width.
    fn scale(&self) -> f32 {
        1.0 / ((self.query.len() / self.heads) as f32).sqrt()
    }

    /// `[H, D]`: what a place's features are multiplied with for its attention.
    fn looks(&self) -> Array2<f32> {
        let mut looks = Array2::zeros((self.heads, self.query.len()));
        for (mut look, part) in looks.rows_mut().into_iter().zip(self.parts()) {
            let of_head = self.query.slice(s![part.clone()]).dot(&self.keys.slice(s![part, ..]));
            look.assign(&(of_head * self.scale()));
        }
        looks
    }

    /// The model's view of maps that are normalised already: `places [N T, D]` of `count` samples.
    fn pass(&self, places: ArrayView2<f32>, count: usize) -> Pass {
        let (dim, tokens) = (self.query.len(), places.nrows() / count.max(1));
        let mut attention = product(places, self.looks().t());
        let mut pooled = Array3::zeros((self.heads, count, dim));
        for sample in 0..count {
            let range = sample * tokens..(sample + 1) * tokens;
            let mut of_sample = attention.slice_mut(s![range.clone(), ..]);
            of_sample.columns_mut().into_iter().for_each(softmax);
            let averages = of_sample.t().dot(&places.slice(s![range, ..]));
            pooled.slice_mut(s![.., sample, ..]).assign(&averages);
        }
        let mut gathered = Array2::zeros((count, dim));
        for (head, part) in self.parts().enumerate() {
            let values = self.values.slice(s![part.clone(), ..]);
            gathered.slice_mut(s![.., part]).assign(&product(pooled.index_axis(Axis(0), head), values.t()));
        }
        let scores = self.output.apply(gathered.view());
        Pass { attention, pooled, gathered, scores }
    }

    /// Scores `[N, K]` of maps `[N, T D]`, with the running statistics where there is batch normalisation.
    ///
    /// # Panics
    /// When the rows are not made of whole places.
    pub fn logits(&self, maps: ArrayView2<f32>) -> Array2<f32> {
        let count = maps.nrows();
        let places = places(maps.as_standard_layout().into_owned(), self.query.len());
        let places = match &self.batch_norm {
            None => places,
            Some(norm) => norm.applied(places.view()),
        };
        self.pass(places.view(), count).scores
    }

    /// Adds the best classes of each map to `ranks`.
    pub fn rank(&self, maps: ArrayView2<f32>, ranks: &mut Ranks) {
        for row in self.logits(maps).rows() {
            ranks.push(row.iter().map(|&score| f64::from(score)), f64::NEG_INFINITY);
        }
    }

    /// The mean cross-entropy of a batch of maps, normalised already and place by place, and its gradient.
    fn differentiate(&self, places: ArrayView2<f32>, classes: &[usize]) -> (f64, Gradient) {
        let (count, dim) = (classes.len(), self.query.len());
        let tokens = places.nrows() / count.max(1);
        let pass = self.pass(places, count);
        let (loss, by_scores) = cross_entropy(pass.scores, classes);
        let output = layer_gradient(&by_scores, pass.gathered.view());
        let by_gathered = product(by_scores.view(), self.output.weight.view());
        let mut values = Array2::zeros((dim, dim));
        let mut by_pooled = Array3::zeros((self.heads, count, dim));
        for (head, part) in self.parts().enumerate() {
            let by_part = by_gathered.slice(s![.., part.clone()]);
            let pooled = pass.pooled.index_axis(Axis(0), head);
            values.slice_mut(s![part.clone(), ..]).assign(&product(by_part.t(), pooled));
            let through = product(by_part, self.values.slice(s![part, ..]));
            by_pooled.index_axis_mut(Axis(0), head).assign(&through);
        }
        // By what stands before the softmax, in the place of what came out of it.
        let mut by_attention = pass.attention;
        for sample in 0..count {
            let range = sample * tokens..(sample + 1) * tokens;
            let by_weights =
                places.slice(s![range.clone(), ..]).dot(&by_pooled.slice(s![.., sample, ..]).t());
            let mut of_sample = by_attention.slice_mut(s![range, ..]);
            for (mut weights, by_weights) in of_sample.columns_mut().into_iter().zip(by_weights.columns()) {
                let mean = weights.dot(&by_weights);
                weights.zip_mut_with(&by_weights, |weight, &by| *weight *= by - mean);
            }
        }
        let by_looks = product(by_attention.t(), places) * self.scale();
        let (mut query, mut keys) = (Array1::zeros(dim), Array2::zeros((dim, dim)));
        for (by_look, part) in by_looks.rows().into_iter().zip(self.parts()) {
            query.slice_mut(s![part.clone()]).assign(&self.keys.slice(s![part.clone(), ..]).dot(&by_look));
            for place in part {
                keys.row_mut(place).assign(&(&by_look * self.query[place]));
            }
        }
        (loss, Gradient { query, keys, values, output })
    }
}

/// Maps `[N, T D]` as their places `[N T, D]`.
fn places(maps: Array2<f32>, dim: usize) -> Array2<f32> {
    let (rows, columns) = maps.dim();
    assert!(columns.is_multiple_of(dim.max(1)), "maps of {columns} numbers have no places of {dim} features");
    let shape = (rows * (columns / dim.max(1)), dim);
    maps.into_shape_with_order(shape).expect("the same numbers in the same order")
}

/// The softmax of some numbers, in their place.
fn softmax(mut scores: ndarray::ArrayViewMut1<f32>) {
    let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    scores.mapv_inplace(|score| (score - largest).exp());
    let sum: f32 = scores.sum();
    scores /= sum;
}

/// A model in training.
struct AttentionTrainer {
    model: AttentionModel,
    query: Moments<Ix1>,
    keys: Moments<Ix2>,
    values: Moments<Ix2>,
    output: LayerMoments,
    steps: i32,
}

impl AttentionTrainer {
    fn new(model: AttentionModel) -> Self {
        let query = Moments::new(model.query.raw_dim());
        let [keys, values] = [&model.keys, &model.values].map(|weight| Moments::new(weight.raw_dim()));
        let output = LayerMoments::new(&model.output);
        Self { model, query, keys, values, output, steps: 0 }
    }
}

impl Learner for AttentionTrainer {
    fn step(&mut self, maps: Array2<f32>, classes: &[usize], learning_rate: f64) -> f64 {
        let mut places = places(maps, self.model.query.len());
        if let Some(norm) = &mut self.model.batch_norm {
            norm.train(&mut places);
        }
        let (loss, gradient) = self.model.differentiate(places.view(), classes);
        self.steps = self.steps.saturating_add(1);
        let (step, model) = (AdamStep::new(self.steps, learning_rate), &mut self.model);
        self.query.step(&mut model.query, gradient.query.view(), &step);
        self.keys.step(&mut model.keys, gradient.keys.view(), &step);
        self.values.step(&mut model.values, gradient.values.view(), &step);
        self.output.step(&mut model.output, &gradient.output, &step);
        loss
    }

    fn is_finite(&self) -> bool {
        let AttentionModel { query, keys, values, output, .. } = &self.model;
        all_finite(query.iter().chain(keys).chain(values)) && output.is_finite()
    }
}

/// Trains a head of `heads` heads on `maps`, `[N, T D]` with `dim` features a place, with one class index below `class_count`
/// for each map. `progress` is told the number of maps after each step.
///
/// # Errors
/// As [`crate::linear::train`], and when the heads do not divide the features.
///
/// # Panics
/// When there is not one class for each map, or maps are not made of whole places.
pub fn train(
    maps: &mut impl TrainingRows,
    classes: &[usize],
    class_count: usize,
    [dim, heads]: [usize; 2],
    options: &LinearOptions,
    progress: &mut dyn FnMut(u64),
) -> Result<(AttentionModel, TrainingSummary)> {
    let model = AttentionModel::initial(dim, heads, class_count, options.batch_norm, options.seed)?;
    let mut trainer = AttentionTrainer::new(model);
    let summary = fit(&mut trainer, maps, classes, options, progress)?;
    Ok((trainer.model, summary))
}

#[cfg(test)]
mod tests;
