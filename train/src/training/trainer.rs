//! Everything that changes while a network is trained, and the step that changes it.

use ddae_base::random::{Purpose, Rng, stream};
use ddae_checkpoint::{Checkpoint, TrainingState, WeightSet};
use ddae_model::graph::Graph;
use ddae_model::tensor::Tensor as Array;
use tch::{Device, Kind, Tensor};

use super::capture::Captures;
use super::method::{Method, Place};
use super::plan::TrainingPlan;
use super::start::StartingPoint;
use crate::TrainError;
use crate::ema::Ema;
use crate::grad_scaler::GradScaler;
use crate::optimizer::Optimizer;
use crate::torch::{Mode, Network, Parameters, Precision, TorchError, shim};

/// A network in training, with its average and its optimiser.
#[derive(Debug)]
pub struct Trainer<M> {
    method: M,
    graph: Graph,
    learner: Learner,
    /// On a GPU, the steps that were recorded.
    captures: Option<Captures>,
    device: Device,
    seed: u64,
}

/// What a step computes with and changes.
#[derive(Debug)]
struct Learner {
    network: Network,
    weights: Parameters,
    average: Parameters,
    ema: Ema,
    optimizer: Optimizer,
    mode: Mode,
}

impl Learner {
    /// One step on the inputs of the loss graph. On a GPU it reads nothing back, so that it can be recorded.
    fn step(&mut self, inputs: &[(&str, Tensor)]) -> Result<StepResult, TorchError> {
        let inputs: Vec<(&str, &Tensor)> = inputs.iter().map(|(name, tensor)| (*name, tensor)).collect();
        let losses = self.network.forward(&self.weights, &inputs, self.mode)?;
        let loss = losses[0].f_mean(Kind::Float).map_err(|e| TorchError::at("loss", e))?;
        let norm = self.optimizer.apply(&loss, &self.weights)?;
        self.ema.update(&self.average, &self.weights)?;
        Ok(StepResult { loss: loss.detach(), norm })
    }
}

/// What a step gives: scalars on the device, so that it is not waited for.
#[derive(Debug)]
pub struct StepResult {
    /// The loss.
    pub loss: Tensor,
    /// The norm of the gradients before they were clipped.
    pub norm: Tensor,
}

/// How the loss is scaled under fp16.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossScale {
    /// The factor; 1 otherwise.
    pub scale: f64,
    /// Steps since it changed.
    pub steps: u64,
    /// Steps that were left out because of an overflow.
    pub skipped: u64,
}

impl LossScale {
    /// Keeps it in what a checkpoint says of its run.
    pub fn keep(self, state: &mut TrainingState) {
        let LossScale { scale, steps, skipped } = self;
        (state.loss_scale, state.loss_scale_steps, state.skipped_steps) = (scale, steps, skipped);
    }
}

impl<M: Method> Trainer<M> {
    /// The plan's network, trained by `method` from a starting point on.
    ///
    /// # Errors
    /// When the weights are not the network's, or libtorch refuses.
    pub(super) fn new(
        plan: &TrainingPlan,
        method: M,
        start: &StartingPoint,
    ) -> Result<Trainer<M>, TrainError> {
        let Place { device, layout, precision } = start.place;
        let graph = plan.graph.clone();
        let weights = Parameters::new(&graph, &start.weights, device, Kind::Float, layout, true)?;
        let scaler = match precision {
            Precision::Fp16 => Some(GradScaler::new(GradScaler::INITIAL_SCALE, 0, device)?),
            Precision::Full | Precision::Bf16 => None,
        };
        let ratio = |name: &str| method.rate_ratio(name);
        let average = weights.copy()?;
        let learner = Learner {
            network: Network::new(&graph, device, Kind::Float, layout)?,
            ema: Ema::new(&average, &weights, plan.config.training().ema, device)?,
            optimizer: Optimizer::new(plan.config.training(), &weights, ratio, device, scaler)?,
            mode: Mode { train: true, precision },
            weights,
            average,
        };
        let captures = (start.captures && learner.ema.is_on_device()).then(Captures::default);
        let mut trainer = Trainer { method, graph, learner, captures, device, seed: start.state.seed };
        if let Some(checkpoint) = &start.checkpoint {
            trainer.load(checkpoint, &start.state)?;
        }
        Ok(trainer)
    }

    /// One step on a batch; `step` counts from 0 over the whole run. Whatever is random in it depends on the seed and the
    /// step alone.
    ///
    /// # Errors
    /// libtorch's.
    pub fn step(
        &mut self,
        batch: &M::Batch,
        step: u64,
        learning_rate: f64,
    ) -> Result<StepResult, TorchError> {
        tch::manual_seed(stream(self.seed, Purpose::Training, step, 0).next_u64() as i64);
        let inputs = self.method.inputs(batch)?;
        self.learner.optimizer.set_rate(learning_rate)?;
        self.learner.ema.set_step(step)?;
        let Some(captures) = &mut self.captures else { return self.learner.step(&inputs) };
        let learner = &mut self.learner;
        captures.run(&inputs, &mut |inputs| {
            let result = learner.step(inputs);
            if result.is_err() {
                // Those of a step that could not be recorded.
                shim::clear_gradients(learner.weights.tensors())?;
            }
            result
        })
    }

    /// Why steps on a GPU are not replayed, if recording one failed.
    pub fn not_recorded(&self) -> Option<&str> {
        self.captures.as_ref()?.given_up()
    }

    /// What trains it.
    pub fn method(&self) -> &M {
        &self.method
    }

    /// The moving average of the weights.
    pub fn average(&self) -> &Parameters {
        &self.learner.average
    }

    /// How the loss is scaled after `step` steps.
    ///
    /// # Errors
    /// libtorch's.
    pub fn loss_scale(&self, step: u64) -> Result<LossScale, TorchError> {
        match self.learner.optimizer.scaler() {
            None => Ok(LossScale { scale: 1.0, steps: 0, skipped: 0 }),
            Some(scaler) => {
                let (scale, steps) = scaler.state()?;
                let skipped = step.saturating_sub(self.learner.optimizer.steps()?);
                Ok(LossScale { scale, steps, skipped })
            }
        }
    }

    /// All tensors of a checkpoint, under the names of [`ddae_checkpoint`].
    ///
    /// # Errors
    /// libtorch's.
    pub fn to_tensors(&self) -> Result<Vec<(String, Array)>, TrainError> {
        let average = self.learner.average.to_weights()?;
        let mut tensors = self.method.record(&average)?;
        let parts = [
            (WeightSet::Model.prefix(), self.learner.weights.to_weights()?),
            (WeightSet::Ema.prefix(), average),
            ("optimizer.exp_avg.", self.learner.optimizer.exp_avg.to_weights()?),
            ("optimizer.exp_avg_sq.", self.learner.optimizer.exp_avg_sq.to_weights()?),
        ];
        for (prefix, part) in parts {
            tensors.extend(part.into_iter().map(|(name, array)| (format!("{prefix}{name}"), array)));
        }
        Ok(tensors)
    }

    /// Takes over everything from a training checkpoint.
    fn load(&mut self, checkpoint: &Checkpoint, state: &TrainingState) -> Result<(), TrainError> {
        self.learner.weights.load(&checkpoint.weights(WeightSet::Model, &self.graph)?)?;
        self.learner.average.load(&checkpoint.weights(WeightSet::Ema, &self.graph)?)?;
        self.learner.optimizer.exp_avg.load(&checkpoint.tensors_with_prefix("optimizer.exp_avg.")?)?;
        self.learner.optimizer.exp_avg_sq.load(&checkpoint.tensors_with_prefix("optimizer.exp_avg_sq.")?)?;
        self.learner.optimizer.set_steps(state.step.saturating_sub(state.skipped_steps), self.device)?;
        if self.learner.mode.precision == Precision::Fp16 {
            let scaler = GradScaler::new(state.loss_scale, state.loss_scale_steps, self.device)?;
            self.learner.optimizer.set_scaler(scaler);
        }
        Ok(())
    }
}
