//! Everything that changes while a network is trained, and the step that changes it.

use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use ddae_base::random::{Purpose, Rng, stream};
use ddae_checkpoint::{Checkpoint, TrainingState, WeightSet};
use ddae_model::graph::{Graph, Op};
use ddae_model::weights::Weights;
use tch::{Device, Kind, Tensor};

use super::capture::Captures;
use super::method::{Method, Place};
use super::plan::TrainingPlan;
use crate::TrainError;
use crate::ema::Ema;
use crate::grad_scaler::GradScaler;
use crate::optimizer::Optimizer;
use crate::ranks::{Part, Ranks, StepBatch};
use crate::run::writer::{Named, Snapshot};
use crate::torch::shim::ranks::{Group, Overlap, Reducer};
use crate::torch::{Mode, Network, Parameters, Precision, Share, TorchError, shim};

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
    /// The images of a step.
    batch: StepBatch,
}

/// What a trainer begins with.
pub struct Beginning<'a> {
    /// Where it computes.
    pub place: Place,
    /// The weights.
    pub weights: &'a Weights,
    /// Where the run stands.
    pub state: &'a TrainingState,
    /// What the rest is loaded from when a run goes on.
    pub checkpoint: Option<&'a Checkpoint>,
    /// Whether steps are recorded and replayed.
    pub captures: bool,
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
    /// Among several ranks: who sums over them, and gradients.
    ranks: Option<(Arc<Group>, Reducer)>,
    /// How the sums went, of all steps.
    overlap: Overlap,
    /// A checkpoint is being copied from the tensors here; until it is, they must not change.
    copying: Option<Receiver<()>>,
    /// How long the last one was waited for.
    waited_for_copy: Duration,
}

impl Learner {
    /// One step on the inputs of the loss graph. On a GPU it reads nothing back, so that it can be recorded.
    fn step(&mut self, inputs: &[(&str, Tensor)]) -> Result<StepResult, TorchError> {
        let inputs: Vec<(&str, &Tensor)> = inputs.iter().map(|(name, tensor)| (*name, tensor)).collect();
        let losses = self.network.forward(&self.weights, &inputs, self.mode)?;
        let loss = losses[0].f_mean(Kind::Float).map_err(|e| TorchError::at("loss", e))?;
        self.optimizer.backward(&loss)?;
        self.update(loss.detach())
    }

    /// One pass of a step in several, over a part of its images: adds to the gradients, which after the last pass are those of all
    /// ranks. Gives the part's addition to the loss.
    fn pass(&mut self, inputs: &[(&str, Tensor)], part: Part, is_last: bool) -> Result<Tensor, TorchError> {
        let inputs: Vec<(&str, &Tensor)> = inputs.iter().map(|(name, tensor)| (*name, tensor)).collect();
        let group = self.ranks.as_ref().map(|(group, _)| Arc::clone(group));
        let share = Share { first: part.first, total: part.total, group };
        let losses = self.network.forward_share(&self.weights, &inputs, self.mode, Some(&share))?;
        // Parts may be of different sizes: the sum over them is the mean over the step.
        let loss = losses[0].f_mean(Kind::Float).and_then(|loss| loss.f_mul_scalar(part.weight()));
        let loss = loss.map_err(|e| TorchError::at("loss", e))?;
        match &self.ranks {
            Some((_, reducer)) if is_last => {
                let found = reducer.sum_during(|| self.optimizer.backward(&loss))?;
                self.overlap.early += found.early;
                self.overlap.buckets += found.buckets;
                self.overlap.waited += found.waited;
            }
            _ => self.optimizer.backward(&loss)?,
        }
        Ok(loss.detach())
    }

    /// Moves the weights by their gradients, and the average after them.
    fn update(&mut self, loss: Tensor) -> Result<StepResult, TorchError> {
        if let Some(copying) = self.copying.take() {
            let start = Instant::now();
            // One that failed meanwhile says why itself.
            let _ = copying.recv();
            self.waited_for_copy = start.elapsed();
        }
        let norm = self.optimizer.update(&self.weights)?;
        self.ema.update(&self.average, &self.weights)?;
        Ok(StepResult { loss, norm })
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
    pub(crate) fn new(
        plan: &TrainingPlan,
        method: M,
        start: Beginning<'_>,
        ranks: Option<&Ranks>,
    ) -> Result<Trainer<M>, TrainError> {
        let Place { device, layout, precision } = start.place;
        let graph = plan.graph.clone();
        let weights = Parameters::new(&graph, start.weights, device, Kind::Float, layout, true)?;
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
            ranks: None,
            overlap: Overlap::default(),
            copying: None,
            waited_for_copy: Duration::ZERO,
        };
        let captures = (start.captures && learner.ema.is_on_device()).then(Captures::default);
        let (seed, batch) = (start.state.seed, plan.batch);
        let mut trainer = Trainer { method, graph, learner, captures, device, seed, batch };
        if let Some(checkpoint) = &start.checkpoint {
            trainer.load(checkpoint)?;
        }
        trainer.set_counters(start.state)?;
        if let Some(ranks) = ranks {
            trainer.share(ranks, start.state.step)?;
        }
        Ok(trainer)
    }

    /// Makes this rank's tensors those of rank 0, and has its gradients summed with those of the others.
    fn share(&mut self, ranks: &Ranks, step: u64) -> Result<(), TrainError> {
        let group = ranks.gradients(self.device)?;
        let Learner { weights, average, optimizer, .. } = &self.learner;
        let moments = optimizer.moments().iter().map(|moments| &moments.values);
        for state in [weights, average].into_iter().chain(moments) {
            group.broadcast(state.state())?;
        }
        let reducer = Reducer::new(Arc::clone(&group), weights.tensors())?;
        self.learner.ranks = Some((group, reducer));
        self.compare(ranks, step)
    }

    /// Compares weights and averages of all ranks, which all call this.
    ///
    /// # Errors
    /// [`TrainError::Ranks`] where a bit differs.
    pub fn compare(&self, ranks: &Ranks, step: u64) -> Result<(), TrainError> {
        let (names, tensors) = compared(&self.learner.weights, &self.learner.average);
        ranks.compare(&tensors, &names, step)
    }

    /// How long a step waited until the last [snapshot](Trainer::snapshot) was copied.
    pub fn waited_for_copy(&self) -> Duration {
        self.learner.waited_for_copy
    }

    /// How the sums of gradients over ranks went, of all steps.
    pub fn overlap(&self) -> Overlap {
        self.learner.overlap
    }

    /// One step on `images` images, of which `batches` are this rank's, one for each pass; `step` counts from 0 over the whole run. Whatever is random in it depends on the seed and the
    /// step alone.
    ///
    /// # Errors
    /// libtorch's.
    pub fn step(
        &mut self,
        batches: &[M::Batch],
        step: u64,
        images: usize,
        learning_rate: f64,
    ) -> Result<StepResult, TorchError> {
        let seed = stream(self.seed, Purpose::Training, step, 0).next_u64() as i64;
        self.learner.optimizer.set_rate(learning_rate)?;
        self.learner.ema.set_step(step)?;
        let [batch] = batches else { return self.step_in_parts(batches, seed, images) };
        if self.batch.parts() > 1 {
            return self.step_in_parts(batches, seed, images);
        }
        tch::manual_seed(seed);
        let inputs = self.method.inputs(batch, Part::whole(images))?;
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

    /// A step in several passes or on several ranks. Every pass draws for the whole step and takes its part.
    fn step_in_parts(
        &mut self,
        batches: &[M::Batch],
        seed: i64,
        images: usize,
    ) -> Result<StepResult, TorchError> {
        let mut losses = Vec::with_capacity(batches.len());
        for (turn, batch) in batches.iter().enumerate() {
            let part = self.batch.part(turn, images);
            tch::manual_seed(seed);
            let inputs = self.method.inputs(batch, part)?;
            losses.push(self.learner.pass(&inputs, part, turn + 1 == batches.len())?);
        }
        let loss = Tensor::f_stack(&losses, 0).and_then(|losses| losses.f_sum(Kind::Float));
        let loss = loss.map_err(|e| TorchError::at("loss", e))?;
        if let Some((group, _)) = &self.learner.ranks {
            group.sum(&loss)?;
        }
        self.learner.update(loss)
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

    /// What a checkpoint holds. On the CPU it is copied by who writes it, while the next step's gradients are computed: what a
    /// forward pass changes is copied here.
    ///
    /// # Errors
    /// libtorch's.
    pub fn snapshot(&mut self) -> Result<Snapshot, TorchError> {
        let Learner { weights, average, optimizer, .. } = &self.learner;
        let forward_normalises =
            self.graph.nodes().iter().any(|node| matches!(node.op, Op::WeightNorm { .. }));
        let on_cpu = self.device == Device::Cpu;
        let trained = weights.names().len();
        let of =
            |parameters: &Parameters, prefix: &str, first_kept: usize| -> Result<Vec<Named>, TorchError> {
                let named = parameters.named().enumerate().map(|(at, (name, tensor))| {
                    let tensor = tensor.detach();
                    let tensor = match on_cpu && at < first_kept {
                        true => tensor,
                        false => copied(&tensor).map_err(|e| TorchError::at(name, e))?,
                    };
                    Ok((format!("{prefix}{name}"), tensor))
                });
                named.collect()
            };
        let (copied, copying) = Snapshot::channel();
        let mut moments = Vec::new();
        for of_optimizer in optimizer.moments() {
            moments.extend(of(&of_optimizer.values, &moment_prefix(of_optimizer.name), usize::MAX)?);
        }
        let snapshot = Snapshot {
            weights: of(weights, "", if forward_normalises { 0 } else { trained })?,
            average: of(average, "", usize::MAX)?,
            moments,
            recorder: self.method.recorder(),
            copied,
        };
        self.learner.copying = on_cpu.then_some(copying);
        self.learner.waited_for_copy = Duration::ZERO;
        Ok(snapshot)
    }

    /// Takes over everything from a training checkpoint.
    fn load(&mut self, checkpoint: &Checkpoint) -> Result<(), TrainError> {
        self.learner.weights.load(&checkpoint.weights(WeightSet::Model, &self.graph)?)?;
        self.learner.average.load(&checkpoint.weights(WeightSet::Ema, &self.graph)?)?;
        for moments in self.learner.optimizer.moments() {
            moments.values.load(&checkpoint.tensors_with_prefix(&moment_prefix(moments.name))?)?;
        }
        Ok(())
    }

    /// Sets what is counted and scaled as a run's state has it.
    fn set_counters(&mut self, state: &TrainingState) -> Result<(), TrainError> {
        if state.step == 0 {
            return Ok(());
        }
        self.learner.optimizer.set_steps(state.step.saturating_sub(state.skipped_steps), self.device)?;
        if self.learner.mode.precision == Precision::Fp16 {
            let scaler = GradScaler::new(state.loss_scale, state.loss_scale_steps, self.device)?;
            self.learner.optimizer.set_scaler(scaler);
        }
        Ok(())
    }
}

/// What must be the same on all ranks, with names: the weights that they train, and the averages that they evaluate.
fn compared(weights: &Parameters, average: &Parameters) -> (Vec<String>, Vec<Tensor>) {
    let of_weights = weights.named().map(|(name, tensor)| (name.to_string(), tensor.shallow_clone()));
    let of_average =
        average.named().map(|(name, tensor)| (format!("average.{name}"), tensor.shallow_clone()));
    of_weights.chain(of_average).unzip()
}

/// What the names of an optimiser's moments begin with in a checkpoint.
fn moment_prefix(name: &str) -> String {
    format!("optimizer.{name}.")
}

/// A copy of a tensor, on the CPU.
fn copied(tensor: &Tensor) -> Result<Tensor, tch::TchError> {
    if tensor.device() != Device::Cpu {
        return tensor.f_to_device(Device::Cpu);
    }
    let mut copy = tensor.f_empty_like()?;
    copy.f_copy_(tensor)?;
    Ok(copy)
}

#[cfg(test)]
mod tests {
    use ddae_model::graph::{Conv, Path, Shape};
    use ddae_model::tensor::DType;

    use super::*;
    use crate::ranks::group::fingerprints;
    use crate::torch::Layout;

    /// An average that drifted on one rank would give losses and pixels of another network.
    #[test]
    fn averages_are_compared_as_weights_are() {
        let mut graph = Graph::new();
        let x = graph.input("x", DType::F32, Shape::batch(&[3, 8, 8])).expect("x");
        let y = graph.conv2d(&Path::root().at("conv"), x, Conv::same(4, 3)).expect("a convolution");
        let y = graph.batch_norm(&Path::root().at("norm"), y, 1e-5).expect("a norm");
        graph.output("y", y);
        let weights = Weights::initial(&graph, 0);
        let parameters = || {
            Parameters::new(&graph, &weights, Device::Cpu, Kind::Float, Layout::Contiguous, false)
                .expect("parameters")
        };
        let (trained, average) = (parameters(), parameters());
        let sums = || {
            let (names, tensors) = compared(&trained, &average);
            let sums = fingerprints(&tensors).expect("sums");
            (names, Vec::<i64>::try_from(sums).expect("numbers"))
        };
        let (names, before) = sums();
        assert_eq!(names.len(), 2 * trained.state().len());
        for (of, name) in [(&average, "average.norm.running_mean"), (&trained, "conv.weight")] {
            let tensor = of.get(name.trim_start_matches("average.")).expect(name);
            let _changed = tch::no_grad(|| tensor.shallow_clone().f_add_scalar_(0.5)).expect("a sum");
        }
        let (_, after) = sums();
        let differs = before.iter().zip(&after).zip(&names).filter(|((a, b), _)| a != b);
        let differs: Vec<&str> = differs.map(|(_, name)| name.as_str()).collect();
        assert_eq!(differs, ["conv.weight", "average.norm.running_mean"]);
    }
}
