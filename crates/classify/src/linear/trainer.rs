//! Steps of training: cross-entropy and Adam.

use ndarray::{Array, Array2, ArrayView, Axis, Dimension, Ix1, Ix2, Zip};
use rayon::prelude::*;

use super::model::LinearModel;

/// Numbers of a parameter that are stepped together.
const PART: usize = 1 << 14;

/// Adam's decay of the gradient's mean and of its square's, and what keeps its denominator from 0: PyTorch's defaults.
pub const ADAM: (f64, f64, f64) = (0.9, 0.999, 1e-8);

/// A model in training.
pub struct Trainer {
    model: LinearModel,
    weight: Moments<Ix2>,
    bias: Moments<Ix1>,
    steps: i32,
}

impl Trainer {
    /// Begins with `model`.
    pub fn new(model: LinearModel) -> Self {
        let weight = Moments::new(model.weight.raw_dim());
        let bias = Moments::new(model.bias.raw_dim());
        Self { model, weight, bias, steps: 0 }
    }

    /// One step of Adam on the mean cross-entropy of a batch: features `[N, D]` with their classes, indices below K.
    /// With batch normalisation N is at least 2.
    ///
    /// Returns the loss before the step, in nats.
    ///
    /// # Panics
    /// When a class is not below K, or there is not one for each row.
    pub fn step(&mut self, mut features: Array2<f32>, classes: &[usize], learning_rate: f64) -> f64 {
        assert_eq!(features.nrows(), classes.len(), "one class per row");
        if let Some(norm) = &mut self.model.batch_norm {
            norm.train(&mut features);
        }
        let (loss, gradient) = cross_entropy(self.model.scores(features.view()), classes);
        self.steps = self.steps.saturating_add(1);
        let step = AdamStep::new(self.steps, learning_rate);
        self.weight.step(&mut self.model.weight, gradient.t().dot(&features).view(), &step);
        self.bias.step(&mut self.model.bias, gradient.sum_axis(Axis(0)).view(), &step);
        loss
    }

    /// The model as it is now.
    pub fn model(&self) -> &LinearModel {
        &self.model
    }

    /// The trained model.
    pub fn finish(self) -> LinearModel {
        self.model
    }
}

/// The mean cross-entropy of scores `[N, K]` and its gradient by them.
pub(crate) fn cross_entropy(mut scores: Array2<f32>, classes: &[usize]) -> (f64, Array2<f32>) {
    let count = classes.len() as f32;
    let mut loss = 0.0;
    for (mut row, &class) in scores.rows_mut().into_iter().zip(classes) {
        let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        loss -= f64::from(row[class] - largest);
        row.mapv_inplace(|score| (score - largest).exp());
        let sum: f32 = row.sum();
        loss += f64::from(sum.ln());
        row /= sum;
        row[class] -= 1.0;
        row /= count;
    }
    (loss / f64::from(count), scores)
}

/// What is the same for all parameters in one step.
pub(crate) struct AdamStep {
    /// The learning rate over the first correction of bias.
    size: f32,
    /// Square root of the second correction.
    root: f32,
}

impl AdamStep {
    /// Of step number `step`, counted from 1.
    pub(crate) fn new(step: i32, learning_rate: f64) -> Self {
        let (first, second, _) = ADAM;
        Self {
            size: (learning_rate / (1.0 - first.powi(step))) as f32,
            root: (1.0 - second.powi(step)).sqrt() as f32,
        }
    }
}

impl AdamStep {
    /// Adam (arXiv 1412.6980, algorithm 1), as PyTorch orders its operations.
    #[inline]
    fn apply(&self, parameter: &mut f32, first: &mut f32, second: &mut f32, gradient: f32) {
        let (first_decay, second_decay, eps) = (ADAM.0 as f32, ADAM.1 as f32, ADAM.2 as f32);
        *first += (gradient - *first) * (1.0 - first_decay);
        *second = *second * second_decay + gradient * gradient * (1.0 - second_decay);
        *parameter -= self.size * *first / (second.sqrt() / self.root + eps);
    }
}

/// Running means of a parameter's gradient and of its square.
pub(crate) struct Moments<D: Dimension> {
    first: Array<f32, D>,
    second: Array<f32, D>,
}

impl<D: Dimension> Moments<D> {
    pub(crate) fn new(shape: D) -> Self {
        Self { first: Array::zeros(shape.clone()), second: Array::zeros(shape) }
    }

    /// One step of a parameter; large ones in parts side by side.
    pub(crate) fn step(
        &mut self,
        parameter: &mut Array<f32, D>,
        gradient: ArrayView<f32, D>,
        step: &AdamStep,
    ) {
        let slices = (self.first.as_slice_mut(), self.second.as_slice_mut());
        if let ((Some(first), Some(second)), Some(parameter), Some(gradient)) =
            (slices, parameter.as_slice_mut(), gradient.as_slice())
        {
            let parts = parameter.par_chunks_mut(PART).zip(first.par_chunks_mut(PART));
            let parts = parts.zip(second.par_chunks_mut(PART).zip(gradient.par_chunks(PART)));
            parts.for_each(|((parameter, first), (second, gradient))| {
                let moments = first.iter_mut().zip(second);
                for ((parameter, (first, second)), &gradient) in
                    parameter.iter_mut().zip(moments).zip(gradient)
                {
                    step.apply(parameter, first, second, gradient);
                }
            });
            return;
        }
        Zip::from(parameter)
            .and(&mut self.first)
            .and(&mut self.second)
            .and(gradient)
            .for_each(|parameter, first, second, &gradient| step.apply(parameter, first, second, gradient));
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array1, array};

    use super::*;

    #[test]
    fn the_gradient_is_that_of_the_loss() {
        let scores = array![[0.3_f32, -1.2, 2.0], [4.0, 4.0, -3.0]];
        let classes = [1, 0];
        let (loss, gradient) = cross_entropy(scores.clone(), &classes);
        let h = 1e-2;
        for row in 0..2 {
            for column in 0..3 {
                let mut moved = scores.clone();
                moved[[row, column]] += h;
                let (up, _) = cross_entropy(moved.clone(), &classes);
                moved[[row, column]] -= 2.0 * h;
                let (down, _) = cross_entropy(moved, &classes);
                let expected = (up - down) / (2.0 * f64::from(h));
                assert!((f64::from(gradient[[row, column]]) - expected).abs() < 1e-4);
            }
        }
        let by_hand = -(0.5 * ((-1.2_f64).exp() / (0.3_f64.exp() + (-1.2_f64).exp() + 2_f64.exp())).ln()
            + 0.5 * (4_f64.exp() / (2.0 * 4_f64.exp() + (-3_f64).exp())).ln());
        assert!((loss - by_hand).abs() < 1e-6, "{loss} {by_hand}");
    }

    /// Scores so large that their exponentials overflow.
    #[test]
    fn large_scores_have_a_finite_loss() {
        let (loss, gradient) = cross_entropy(array![[500.0, -500.0]], &[1]);
        assert!((loss - 1000.0).abs() < 1e-3, "{loss}");
        assert_eq!(gradient, array![[1.0, -1.0]]);
    }

    /// Adam's first step is the learning rate in the direction of the gradient's sign.
    #[test]
    fn the_first_step_has_the_length_of_the_learning_rate() {
        let mut moments = Moments::new(Ix1(2));
        let mut parameter: Array1<f32> = array![1.0, 1.0];
        moments.step(&mut parameter, array![0.25, -40.0].view(), &AdamStep::new(1, 0.01));
        assert!((parameter[0] - 0.99).abs() < 1e-6 && (parameter[1] - 1.01).abs() < 1e-6, "{parameter}");
    }
}
