//! Adam, AdamW and gradient descent with momentum, with state that we own, so that a checkpoint can hold all of it.

use std::ops::Range;

use ddae_model::config::{Optim, OptimArgs, TrainingConfig};
use tch::{Device, Kind, TchError, Tensor};

use crate::grad_scaler::GradScaler;
use crate::torch::shim::cuda::Scalar;
use crate::torch::shim::{self, AdamStep, AdamTensors, Rate, Scaled, SgdStep};
use crate::torch::{Parameters, TorchError};

/// What an optimiser remembers of a network's gradients.
#[derive(Debug)]
pub struct Moments {
    /// The name in checkpoints, PyTorch's: `exp_avg`, `exp_avg_sq`, `momentum_buffer`.
    pub name: &'static str,
    /// Of each parameter.
    pub values: Parameters,
}

/// The names of what a run's optimiser remembers.
pub fn moment_names(config: &TrainingConfig) -> &'static [&'static str] {
    match config.optim {
        // Moving averages of the gradients and of their squares.
        Optim::Adam | Optim::AdamW => &["exp_avg", "exp_avg_sq"],
        Optim::Sgd if config.optim_args.momentum() == 0.0 => &[],
        // The decaying sum of the gradients.
        Optim::Sgd => &["momentum_buffer"],
    }
}

/// Adam (arXiv 1412.6980), AdamW (arXiv 1711.05101) or gradient descent with momentum over a network's parameters.
#[derive(Debug)]
pub struct Optimizer {
    kind: Optim,
    arguments: OptimArgs,
    /// Largest joint norm of the gradients.
    max_norm: f64,
    /// Parameters in a row that learn at the same multiple of the learning rate, and the multiple.
    groups: Vec<(Range<usize>, f64)>,
    rate: LearningRate,
    /// In the order of [`moment_names`].
    moments: Vec<Moments>,
    /// The number of steps taken, once per parameter as Adam's fused kernel wants it. All are one tensor.
    steps: Vec<Tensor>,
    /// Only under fp16.
    scaler: Option<GradScaler>,
}

/// The learning rate of the next step.
#[derive(Debug)]
enum LearningRate {
    /// As a number.
    Number(f64),
    /// On the device, of each group of parameters: a step that is replayed reads it there.
    Scalars(Vec<Scalar>),
}

impl Optimizer {
    /// A fresh optimiser for `weights`. `rate_ratio` gives each parameter's learning rate in multiples of that of
    /// [`Optimizer::step`].
    ///
    /// # Errors
    /// libtorch's, as for lack of memory.
    pub fn new(
        config: &TrainingConfig,
        weights: &Parameters,
        rate_ratio: impl Fn(&str) -> f64,
        device: Device,
        scaler: Option<GradScaler>,
    ) -> Result<Optimizer, TorchError> {
        let groups = groups(weights.names().iter().map(|name| rate_ratio(name)));
        let rate = if device.is_cuda() {
            let scalars = groups.iter().map(|_| Scalar::new(device));
            LearningRate::Scalars(scalars.collect::<Result<_, _>>()?)
        } else {
            LearningRate::Number(0.0)
        };
        let mut optimizer = Optimizer {
            kind: config.optim,
            arguments: config.optim_args.clone(),
            max_norm: config.grad_clip_norm,
            groups,
            rate,
            moments: moment_names(config)
                .iter()
                .map(|&name| Ok(Moments { name, values: weights.zeros_like()? }))
                .collect::<Result<_, TorchError>>()?,
            steps: Vec::new(),
            scaler,
        };
        optimizer.set_steps(0, device)?;
        Ok(optimizer)
    }

    /// Sets the number of steps taken, as when a run resumes.
    ///
    /// # Errors
    /// libtorch's.
    pub fn set_steps(&mut self, steps: u64, device: Device) -> Result<(), TorchError> {
        let count = Tensor::f_full([], steps as f64, (Kind::Float, device));
        let count = count.map_err(|e| TorchError::at("optimiser", e))?;
        let parameters = self.groups.last().map_or(0, |(range, _)| range.end);
        self.steps = (0..parameters).map(|_| count.shallow_clone()).collect();
        Ok(())
    }

    /// The number of steps taken; those that the gradient scaler left out are not among them. Waits for the device.
    ///
    /// # Errors
    /// libtorch's.
    pub fn steps(&self) -> Result<u64, TorchError> {
        let count = self.steps.first().map_or(Ok(0.0), |count| count.f_double_value(&[]));
        count.map(|count| count as u64).map_err(|e| TorchError::at("optimiser", e))
    }

    /// What it remembers of the gradients, in the order of [`moment_names`].
    pub fn moments(&self) -> &[Moments] {
        &self.moments
    }

    /// The scaler of fp16.
    pub fn scaler(&self) -> Option<&GradScaler> {
        self.scaler.as_ref()
    }

    /// Replaces the scaler, as when a run resumes.
    pub fn set_scaler(&mut self, scaler: GradScaler) {
        self.scaler = Some(scaler);
    }

    /// [`Optimizer::set_rate`] and [`Optimizer::apply`].
    ///
    /// # Errors
    /// libtorch's.
    pub fn step(
        &mut self,
        loss: &Tensor,
        weights: &Parameters,
        learning_rate: f64,
    ) -> Result<Tensor, TorchError> {
        self.set_rate(learning_rate)?;
        self.apply(loss, weights)
    }

    /// Sets the learning rate of the steps to come; on a GPU it is rounded to float32.
    ///
    /// # Errors
    /// libtorch's.
    pub fn set_rate(&mut self, learning_rate: f64) -> Result<(), TorchError> {
        match &mut self.rate {
            LearningRate::Number(number) => *number = learning_rate,
            LearningRate::Scalars(scalars) => {
                for ((_, ratio), scalar) in self.groups.iter().zip(scalars) {
                    scalar.set(ratio * learning_rate)?;
                }
            }
        }
        Ok(())
    }

    /// Propagates `loss` back and moves `weights`, their gradients clipped to a joint norm of `grad_clip_norm`. Gives the
    /// norm before the clipping, a scalar tensor, so that a GPU is not waited for: on one, all of it can be recorded.
    ///
    /// Under fp16, a step whose gradients are not finite moves nothing and lowers the scale; its norm is not finite.
    ///
    /// # Errors
    /// libtorch's.
    pub fn apply(&mut self, loss: &Tensor, weights: &Parameters) -> Result<Tensor, TorchError> {
        self.backward(loss)?;
        self.update(weights)
    }

    /// The first half of [`Optimizer::apply`]: propagates `loss` back, scaled under fp16. The gradients of several calls add up.
    ///
    /// # Errors
    /// libtorch's.
    pub fn backward(&self, loss: &Tensor) -> Result<(), TorchError> {
        match &self.scaler {
            Some(scaler) => loss.f_mul(&scaler.scale).and_then(|scaled| scaled.f_backward()),
            None => loss.f_backward(),
        }
        .map_err(|e| TorchError::at("backward", e))
    }

    /// The second half: moves `weights` by their gradients, which are gone then.
    ///
    /// # Errors
    /// libtorch's.
    pub fn update(&mut self, weights: &Parameters) -> Result<Tensor, TorchError> {
        let gradients = weights.gradients()?;
        let found_inf = self.scaler.as_ref().map(|scaler| scaler.unscale(&gradients)).transpose()?;
        let norm = shim::clip_gradients(&gradients, self.max_norm)?;

        // The kernel wants the count with this step; one that is left out is taken back below.
        self.count(|count| count.f_add_scalar_(1.0))?;
        for (at, (range, ratio)) in self.groups.clone().into_iter().enumerate() {
            let learning_rate = match &self.rate {
                LearningRate::Number(number) => Rate::Number(ratio * number),
                LearningRate::Scalars(scalars) => Rate::Tensor(scalars[at].tensor()),
            };
            // The gradients are unscaled already: they were clipped.
            let scaled = self.scaler.as_ref().zip(found_inf.as_ref());
            let scaled = scaled.map(|(scaler, found_inf)| Scaled { scale: &scaler.one, found_inf });
            let parameters = &weights.tensors()[range.clone()];
            let gradients = &gradients[range.clone()];
            let moments = |at: usize| &self.moments[at].values.tensors()[range.clone()];
            if self.kind == Optim::Sgd {
                let (momentum, weight_decay) = (self.arguments.momentum(), self.arguments.weight_decay);
                let step = SgdStep { learning_rate, momentum, weight_decay };
                let momenta = if self.moments.is_empty() { &[] } else { moments(0) };
                shim::sgd_step(step, parameters, gradients, momenta, scaled)?;
                continue;
            }
            let [beta1, beta2] = self.arguments.betas();
            let step = AdamStep {
                learning_rate,
                beta1,
                beta2,
                eps: self.arguments.eps(),
                weight_decay: self.arguments.weight_decay,
                decoupled: self.kind == Optim::AdamW,
            };
            let tensors = AdamTensors {
                parameters,
                gradients,
                first_moments: moments(0),
                second_moments: moments(1),
                steps: &self.steps[range.clone()],
            };
            shim::adam_step(step, &tensors, scaled)?;
        }
        if let (Some(scaler), Some(found_inf)) = (&mut self.scaler, &found_inf) {
            scaler.update(found_inf)?;
            self.count(|count| count.f_sub_(found_inf))?;
        }
        shim::clear_gradients(weights.tensors())?;
        Ok(norm)
    }

    /// Changes the number of steps taken.
    fn count(&self, change: impl FnOnce(&mut Tensor) -> Result<Tensor, TchError>) -> Result<(), TorchError> {
        let Some(count) = self.steps.first() else { return Ok(()) };
        change(&mut count.shallow_clone()).map(|_| ()).map_err(|e| TorchError::at("optimiser", e))
    }
}

/// Equal values in a row.
fn groups(ratios: impl Iterator<Item = f64>) -> Vec<(Range<usize>, f64)> {
    let mut groups: Vec<(Range<usize>, f64)> = Vec::new();
    for (at, ratio) in ratios.enumerate() {
        match groups.last_mut() {
            Some((range, known)) if *known == ratio => range.end = at + 1,
            _ => groups.push((at..at + 1, ratio)),
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use ddae_model::config::Config;
    use ddae_model::graph::{Graph, Init, Path, Shape};
    use ddae_model::tensor::{DType, Tensor as Array};
    use ddae_model::weights::Weights;

    use super::*;
    use crate::torch::Layout;

    /// One parameter of two values.
    fn parameters(values: [f32; 2]) -> Parameters {
        several(&[("w", values)])
    }

    /// Parameters of two values each.
    fn several(named: &[(&str, [f32; 2])]) -> Parameters {
        let mut graph = Graph::new();
        let mut y = graph.input("x", DType::F32, Shape::batch(&[2])).expect("an input");
        for (name, _) in named {
            let w = graph.parameter(&Path::root().at(name), &[2], Init::Zeros).expect("a parameter");
            y = graph.add(y, w).expect("a sum");
        }
        graph.output("y", y);
        let weight =
            |(name, values): &(&str, [f32; 2])| (name.to_string(), Array::f32(&[2], values.to_vec()));
        let weights: Weights = named.iter().map(weight).collect();
        Parameters::new(&graph, &weights, Device::Cpu, Kind::Float, Layout::Contiguous, true)
            .expect("parameters")
    }

    fn values(parameters: &Parameters) -> Vec<f32> {
        Vec::try_from(parameters.tensors()[0].detach()).expect("values")
    }

    fn optimizer(
        kind: Optim,
        weight_decay: f64,
        weights: &Parameters,
        scaler: Option<GradScaler>,
    ) -> Optimizer {
        let config = TrainingConfig {
            optim: kind,
            optim_args: OptimArgs { weight_decay, ..OptimArgs::default() },
            ..demo()
        };
        Optimizer::new(&config, weights, |_| 1.0, Device::Cpu, scaler).expect("an optimiser")
    }

    fn demo() -> TrainingConfig {
        let demo = include_str!("../../configs/demo.yaml");
        Config::parse(demo, "demo.yaml", &[]).expect("the demo's configuration").training
    }

    /// The loss whose gradient is `gradient`.
    fn loss(weights: &Parameters, gradient: [f32; 2]) -> Tensor {
        (&weights.tensors()[0] * Tensor::from_slice(&gradient)).sum(Kind::Float)
    }

    #[test]
    fn the_first_step_is_as_long_as_the_learning_rate() {
        // With m / (1 - beta1) = g and v / (1 - beta2) = g^2 the first step is lr g / (|g| + eps).
        for (kind, weight_decay, expected) in [
            (Optim::Adam, 0.0, [1.9, -0.9]),
            // The decay joins the gradient: 0.3 + 0.5 * 2 and -0.4 - 0.5 * 1, whose signs are the same.
            (Optim::Adam, 0.5, [1.9, -0.9]),
            // The weights shrink by lr times the decay first.
            (Optim::AdamW, 0.5, [2.0 * 0.95 - 0.1, -0.95 + 0.1]),
        ] {
            let weights = parameters([2.0, -1.0]);
            let mut optimizer = optimizer(kind, weight_decay, &weights, None);
            let norm = optimizer.step(&loss(&weights, [0.3, -0.4]), &weights, 0.1).expect("a step");
            assert!((norm.double_value(&[]) - 0.5).abs() < 1e-6);
            for (ours, theirs) in values(&weights).into_iter().zip(expected) {
                assert!((ours - theirs).abs() < 1e-6, "{kind:?} {weight_decay}: {ours} instead of {theirs}");
            }
            assert_eq!(optimizer.steps().expect("steps"), 1);
        }
    }

    #[test]
    fn parameters_learn_at_multiples_of_the_learning_rate() {
        assert_eq!(groups([2.0, 2.0, 1.0].into_iter()), [(0..2, 2.0), (2..3, 1.0)]);
        let weights = several(&[("a", [0.0; 2]), ("b", [0.0; 2]), ("c", [0.0; 2])]);
        let ratio = |name: &str| if name == "c" { 1.0 } else { 2.0 };
        for (scaler, steps) in [(None, 1), (GradScaler::new(8.0, 0, Device::Cpu).ok(), 1)] {
            let config = TrainingConfig { optim_args: OptimArgs::default(), ..demo() };
            let mut optimizer =
                Optimizer::new(&config, &weights, ratio, Device::Cpu, scaler).expect("an optimiser");
            let before: Vec<Tensor> = weights.tensors().iter().map(|w| w.detach().copy()).collect();
            let loss: Tensor = weights.tensors().iter().map(|w| w.sum(Kind::Float)).sum();
            let _ = optimizer.step(&loss, &weights, 0.1).expect("a step");
            let moved: Vec<f64> = weights
                .tensors()
                .iter()
                .zip(&before)
                .map(|(w, before)| (before - w.detach()).double_value(&[0]))
                .collect();
            for (moved, expected) in moved.iter().zip([0.2, 0.2, 0.1]) {
                assert!((moved - expected).abs() < 1e-6, "{moved} instead of {expected}");
            }
            assert_eq!(optimizer.steps().expect("steps"), steps);
        }
    }

    #[test]
    fn long_gradients_are_clipped_to_norm_1_or_not_at_all() {
        for (grad_clip_norm, expected) in [(1.0, [0.06, -0.08]), (f64::INFINITY, [3.0, -4.0])] {
            let weights = parameters([0.0, 0.0]);
            let config = TrainingConfig { grad_clip_norm, ..demo() };
            let optimizer = Optimizer::new(&config, &weights, |_| 1.0, Device::Cpu, None);
            let mut optimizer = optimizer.expect("an optimiser");
            let norm = optimizer.step(&loss(&weights, [30.0, -40.0]), &weights, 0.1).expect("a step");
            assert_eq!(norm.double_value(&[]), 50.0);
            let moments = values(&optimizer.moments()[0].values);
            let is_close = |(ours, expected): (&f32, &f32)| (ours - expected).abs() < 1e-6;
            assert!(moments.iter().zip(&expected).all(is_close), "{moments:?} instead of {expected:?}");
        }
    }

    #[test]
    fn a_step_that_overflows_is_left_out_and_halves_the_scale() {
        let weights = parameters([2.0, -1.0]);
        let scaler = GradScaler::new(1024.0, 7, Device::Cpu).expect("a scaler");
        let mut optimizer = optimizer(Optim::Adam, 0.0, &weights, Some(scaler));
        let state = |optimizer: &Optimizer| {
            let scaler = optimizer.scaler().map(GradScaler::state);
            (scaler.expect("a scaler").expect("its state"), optimizer.steps().expect("steps"))
        };
        let norm = optimizer.step(&loss(&weights, [0.3, -0.4]), &weights, 0.1).expect("a step");
        assert!((norm.double_value(&[]) - 0.5).abs() < 1e-6, "the norm is that of the unscaled gradients");
        assert_eq!(state(&optimizer), ((1024.0, 8), 1));
        let before = values(&weights);
        let norm = optimizer.step(&loss(&weights, [f32::INFINITY, 0.0]), &weights, 0.1).expect("a step");
        assert!(!norm.double_value(&[]).is_finite());
        assert_eq!(values(&weights), before);
        assert_eq!(state(&optimizer), ((512.0, 0), 1));
    }

    #[test]
    fn the_scale_doubles_after_2000_steps_without_overflow() {
        let weights = parameters([2.0, -1.0]);
        let scaler = GradScaler::new(1024.0, 1999, Device::Cpu).expect("a scaler");
        let mut optimizer = optimizer(Optim::Adam, 0.0, &weights, Some(scaler));
        let _ = optimizer.step(&loss(&weights, [0.3, -0.4]), &weights, 0.1).expect("a step");
        let state = optimizer.scaler().expect("a scaler").state().expect("its state");
        assert_eq!(state, (2048.0, 0));
    }
}
