//! A head of two layers, `Linear(H -> K)(SiLU(Linear(D -> H)(x)))`: the published head on DDAE features without its
//! timestep, trained as the linear probe is ([`crate::linear`]).

use ddae_base::random::{Purpose, Stream, stream};
use ndarray::{Array1, Array2, ArrayView2, Axis, Ix1, Ix2};

use crate::error::{ClassifyError, Result};
use crate::linear::model::BatchNorm;
use crate::linear::trainer::{AdamStep, Moments, cross_entropy};
use crate::linear::{Learner, LinearOptions, TrainingRows, TrainingSummary, all_finite, fit};
use crate::product::product;
use crate::ranking::Ranks;

/// A linear layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// `[out, in]`.
    pub weight: Array2<f32>,
    /// `[out]`.
    pub bias: Array1<f32>,
}

impl Layer {
    /// PyTorch's initial `Linear`: weights and biases uniform within one over the root of the inputs. `number` tells the
    /// layers of a model apart.
    pub fn initial(inputs: usize, outputs: usize, seed: u64, number: u64) -> Self {
        let bound = 1.0 / (inputs.max(1) as f64).sqrt();
        let draw = |stream: &mut Stream| ((2.0 * stream.uniform() - 1.0) * bound) as f32;
        let mut of_weight = stream(seed, Purpose::Initialise, 2 * number, 0);
        let mut of_bias = stream(seed, Purpose::Initialise, 2 * number + 1, 0);
        Self {
            weight: Array2::from_shape_simple_fn((outputs, inputs), || draw(&mut of_weight)),
            bias: Array1::from_shape_simple_fn(outputs, || draw(&mut of_bias)),
        }
    }

    /// Whether all weights are finite.
    pub(crate) fn is_finite(&self) -> bool {
        all_finite(self.weight.iter().chain(&self.bias))
    }

    /// `[N, out]` of `[N, in]`.
    pub(crate) fn apply(&self, rows: ArrayView2<f32>) -> Array2<f32> {
        product(rows, self.weight.t()) + &self.bias
    }
}

/// The gradient of a layer by its weights, given that by its outputs `[N, out]` and its inputs `[N, in]`.
pub(crate) fn layer_gradient(by_outputs: &Array2<f32>, inputs: ArrayView2<f32>) -> Layer {
    Layer { weight: product(by_outputs.t(), inputs), bias: by_outputs.sum_axis(Axis(0)) }
}

pub(crate) fn silu(x: f32) -> f32 {
    x / (1.0 + (-x).exp())
}

/// The slope of [`silu`].
pub(crate) fn silu_slope(x: f32) -> f32 {
    let sigmoid = 1.0 / (1.0 + (-x).exp());
    sigmoid * (1.0 + x * (1.0 - sigmoid))
}

/// Adam's memory of a layer.
pub(crate) struct LayerMoments(Moments<Ix2>, Moments<Ix1>);

impl LayerMoments {
    pub(crate) fn new(layer: &Layer) -> Self {
        Self(Moments::new(layer.weight.raw_dim()), Moments::new(layer.bias.raw_dim()))
    }

    pub(crate) fn step(&mut self, layer: &mut Layer, gradient: &Layer, step: &AdamStep) {
        self.0.step(&mut layer.weight, gradient.weight.view(), step);
        self.1.step(&mut layer.bias, gradient.bias.view(), step);
    }
}

/// Two layers with the classes' scores as their output.
#[derive(Clone, Debug, PartialEq)]
pub struct MlpModel {
    /// `[H, D]` and `[H]`.
    pub hidden: Layer,
    /// `[K, H]` and `[K]`.
    pub output: Layer,
    /// What is done to features before, if anything.
    pub batch_norm: Option<BatchNorm>,
}

impl MlpModel {
    /// The initial model for features `[N, dim]`, `hidden` wide inside.
    pub fn initial(dim: usize, hidden: usize, classes: usize, batch_norm: bool, seed: u64) -> Self {
        Self {
            hidden: Layer::initial(dim, hidden, seed, 0),
            output: Layer::initial(hidden, classes, seed, 1),
            batch_norm: batch_norm.then(|| BatchNorm::new(dim)),
        }
    }

    /// Scores `[N, K]` of features `[N, D]`, with the running statistics where there is batch normalisation.
    pub fn logits(&self, features: ArrayView2<f32>) -> Array2<f32> {
        let normalised = self.batch_norm.as_ref().map(|norm| norm.applied(features));
        let features = normalised.as_ref().map_or(features, |rows| rows.view());
        let inner = self.hidden.apply(features).mapv_into(silu);
        self.output.apply(inner.view())
    }

    /// Adds the best classes of each row to `ranks`.
    pub fn rank(&self, features: ArrayView2<f32>, ranks: &mut Ranks) {
        for row in self.logits(features).rows() {
            ranks.push(row.iter().map(|&score| f64::from(score)), f64::NEG_INFINITY);
        }
    }
}

/// The mean cross-entropy of a batch, normalised already, and its gradient by the hidden and the output layer.
fn differentiate(model: &MlpModel, features: ArrayView2<f32>, classes: &[usize]) -> (f64, [Layer; 2]) {
    let before = model.hidden.apply(features);
    let inner = before.mapv(silu);
    let (loss, by_scores) = cross_entropy(model.output.apply(inner.view()), classes);
    let mut by_inner = product(by_scores.view(), model.output.weight.view());
    by_inner.zip_mut_with(&before, |gradient, &x| *gradient *= silu_slope(x));
    (loss, [layer_gradient(&by_inner, features), layer_gradient(&by_scores, inner.view())])
}

/// A model in training.
struct MlpTrainer {
    model: MlpModel,
    moments: [LayerMoments; 2],
    steps: i32,
}

impl MlpTrainer {
    fn new(model: MlpModel) -> Self {
        let moments = [LayerMoments::new(&model.hidden), LayerMoments::new(&model.output)];
        Self { model, moments, steps: 0 }
    }
}

impl Learner for MlpTrainer {
    fn step(&mut self, mut features: Array2<f32>, classes: &[usize], learning_rate: f64) -> f64 {
        if let Some(norm) = &mut self.model.batch_norm {
            norm.train(&mut features);
        }
        let (loss, gradients) = differentiate(&self.model, features.view(), classes);
        self.steps = self.steps.saturating_add(1);
        let step = AdamStep::new(self.steps, learning_rate);
        let layers = [&mut self.model.hidden, &mut self.model.output];
        for ((layer, gradient), moments) in layers.into_iter().zip(&gradients).zip(&mut self.moments) {
            moments.step(layer, gradient, &step);
        }
        loss
    }

    fn is_finite(&self) -> bool {
        self.model.hidden.is_finite() && self.model.output.is_finite()
    }
}

/// Trains two layers on `rows`, the inner one `hidden` wide, with one class index below `class_count` for each row.
/// `progress` is told the number of rows after each step.
///
/// # Errors
/// As [`crate::linear::train`], and when the layers do not fit into memory.
///
/// # Panics
/// When there is not one class for each row.
pub fn train(
    rows: &mut impl TrainingRows,
    classes: &[usize],
    class_count: usize,
    hidden: usize,
    options: &LinearOptions,
    progress: &mut dyn FnMut(u64),
) -> Result<(MlpModel, TrainingSummary)> {
    let [_, dim] = rows.size();
    // Weights, their gradient and two moments.
    let needed = (hidden as u64).saturating_mul(16 * (dim + class_count) as u64);
    ddae_base::memory::check(
        format_args!("a hidden layer of {hidden} units"),
        needed,
        "give a smaller --hidden",
    )
    .map_err(|error| ClassifyError::Rows(Box::new(error)))?;
    let model = MlpModel::initial(dim, hidden, class_count, options.batch_norm, options.seed);
    let mut trainer = MlpTrainer::new(model);
    let summary = fit(&mut trainer, rows, classes, options, progress)?;
    Ok((trainer.model, summary))
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;
    use crate::linear::Preset;

    #[test]
    fn the_gradient_is_that_of_the_loss() {
        let model = MlpModel::initial(3, 4, 2, false, 5);
        let features = array![[0.5_f32, -1.0, 2.0], [1.5, 0.3, -0.7], [-2.0, 0.1, 0.4]];
        let classes = [1, 0, 1];
        let (_, [hidden, output]) = differentiate(&model, features.view(), &classes);
        let h = 1e-2;
        let slope = |change: &dyn Fn(&mut MlpModel, f32)| {
            let at = |by: f32| {
                let mut moved = model.clone();
                change(&mut moved, by);
                differentiate(&moved, features.view(), &classes).0
            };
            ((at(h) - at(-h)) / (2.0 * f64::from(h))) as f32
        };
        for row in 0..4 {
            for column in 0..3 {
                let expected = slope(&|model, by| model.hidden.weight[[row, column]] += by);
                assert!((hidden.weight[[row, column]] - expected).abs() < 2e-4);
            }
            let expected = slope(&|model, by| model.hidden.bias[row] += by);
            assert!((hidden.bias[row] - expected).abs() < 2e-4);
            let expected = slope(&|model, by| model.output.weight[[1, row]] += by);
            assert!((output.weight[[1, row]] - expected).abs() < 2e-4);
        }
        assert!((output.bias[0] - slope(&|model, by| model.output.bias[0] += by)).abs() < 2e-4);
    }

    /// What no single layer can tell: whether two signs agree.
    #[test]
    fn two_layers_learn_what_one_cannot() {
        let row = |i: usize| [if i & 1 == 0 { -1.0_f32 } else { 1.0 }, if i & 2 == 0 { -1.0 } else { 1.0 }];
        let mut rows =
            Array2::from_shape_fn((400, 2), |(i, j)| row(i)[j] + ((i * 7 + j * 3) % 11) as f32 * 0.02);
        let classes: Vec<usize> = (0..400).map(|i| usize::from(row(i)[0] == row(i)[1])).collect();
        let options = LinearOptions { epochs: 60, batch: 50, learning_rate: 0.02, ..Preset::Ddae.options() };
        let (model, summary) = train(&mut rows, &classes, 2, 16, &options, &mut |_| {}).expect("trained");
        let mut ranks = Ranks::new(2);
        model.rank(rows.view(), &mut ranks);
        assert_eq!(ranks.best(), classes, "{summary:?}");
        let (again, _) = train(&mut rows, &classes, 2, 16, &options, &mut |_| {}).expect("trained");
        assert_eq!(again, model);
        let (linear, _) =
            crate::linear::train(&mut rows, &classes, 2, &options, &mut |_| {}).expect("trained");
        let right = linear.predict(rows.view()).iter().zip(&classes).filter(|(a, b)| a == b).count();
        assert!(right < 320, "{right}");
    }

    #[test]
    fn a_layer_that_does_not_fit_is_refused() {
        let options = Preset::Ddae.options();
        let mut rows = Array2::zeros((4, 1 << 20));
        let error =
            train(&mut rows, &[0, 1, 0, 1], 2, 1 << 40, &options, &mut |_| {}).expect_err("too large");
        assert!(
            error.to_string().ends_with("give a smaller --hidden (where that is wrong, set DDAE_MEMORY)"),
            "{error}"
        );
    }
}
