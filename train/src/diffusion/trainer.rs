//! Everything that changes while a diffusion model is trained, and the step that changes it.

use ddae_data::loader::Batch;
use ddae_data::random::{Purpose, Rng, stream};
use ddae_model::checkpoint::{Checkpoint, TrainingState, WeightSet};
use ddae_model::config::{Config, ProcessConfig};
use ddae_model::diffusion::edm;
use ddae_model::graph::Graph;
use ddae_model::networks::unet_graph;
use ddae_model::tensor::Tensor as Array;
use ddae_model::weights::Weights;
use tch::{Device, Kind, Tensor};

use super::loss::DiffusionLoss;
use crate::grad_scaler::GradScaler;
use crate::optimizer::Optimizer;
use crate::torch::{Layout, Mode, Network, Parameters, Precision, TorchError, convert};
use crate::{TrainError, ema};

/// The network in training: its label input is there if the configuration has one, so that a checkpoint always holds
/// every published parameter.
///
/// # Errors
/// When the configuration cannot be built.
pub fn training_graph(config: &Config) -> Result<Graph, TrainError> {
    Ok(unet_graph(&config.network, config.network.augment_dim > 0)?)
}

/// A network in training, with its average and its optimiser.
#[derive(Debug)]
pub struct Trainer {
    graph: Graph,
    network: Network,
    loss: DiffusionLoss,
    weights: Parameters,
    average: Parameters,
    optimizer: Optimizer,
    device: Device,
    mode: Mode,
    seed: u64,
    beta: f64,
    picture: [usize; 3],
    label_size: usize,
}

/// What a step gives: scalars on the device, so that it is not waited for.
#[derive(Debug)]
pub struct StepResult {
    /// The loss.
    pub loss: Tensor,
    /// The norm of the gradients before they were clipped.
    pub norm: Tensor,
}

impl Trainer {
    /// A network that starts with `weights`.
    ///
    /// # Errors
    /// When the weights are not the network's, or libtorch refuses.
    pub fn new(
        config: &Config,
        weights: &Weights,
        seed: u64,
        device: Device,
        layout: Layout,
        precision: Precision,
    ) -> Result<Trainer, TrainError> {
        let graph = training_graph(config)?;
        let weights = Parameters::new(&graph, weights, device, Kind::Float, layout, true)?;
        let scaler = match precision {
            Precision::Fp16 => Some(GradScaler::new(GradScaler::INITIAL_SCALE, 0, device)?),
            _ => None,
        };
        let (optim, arguments) = (config.training.optim, config.training.optim_args.clone());
        Ok(Trainer {
            network: Network::new(&graph, device, Kind::Float, layout)?,
            loss: DiffusionLoss::new(&config.process, device),
            average: weights.copy()?,
            optimizer: Optimizer::new(optim, arguments, &weights, device, scaler)?,
            graph,
            weights,
            device,
            mode: Mode { train: true, precision },
            seed,
            beta: config.training.ema,
            picture: config.network.image_shape,
            label_size: config.network.augment_dim,
        })
    }

    /// One step on a batch; `step` counts from 0 over the whole run. Timesteps, noise and dropout depend on the seed and
    /// the step alone.
    ///
    /// # Errors
    /// libtorch's.
    pub fn step(&mut self, batch: &Batch, step: u64, learning_rate: f64) -> Result<StepResult, TorchError> {
        tch::manual_seed(stream(self.seed, Purpose::Training, step, 0).next_u64() as i64);
        let images = self.images(batch)?;
        let label = self.label(batch)?;
        let draws = self.loss.draw(&images)?;
        let loss = self.loss.loss(&images, &draws, |x, t| {
            let mut inputs = vec![("x", x), ("t", t)];
            inputs.extend(label.as_ref().map(|label| ("augment_label", label)));
            self.network.forward(&self.weights, &inputs, self.mode).map(|mut results| results.remove(0))
        })?;
        let norm = self.optimizer.step(&loss, &self.weights, learning_rate)?;
        ema::update(&self.average, &self.weights, step, self.beta)?;
        Ok(StepResult { loss: loss.detach(), norm })
    }

    fn images(&self, batch: &Batch) -> Result<Tensor, TorchError> {
        let [c, h, w] = self.picture.map(|n| n as i64);
        Tensor::f_from_slice(&batch.images)
            .and_then(|flat| flat.f_reshape([-1, c, h, w])?.f_to_device(self.device))
            .map_err(|e| TorchError::at("pictures", e))
    }

    /// The labels of EDM's augmentation, zeros for pictures that were not augmented.
    fn label(&self, batch: &Batch) -> Result<Option<Tensor>, TorchError> {
        if self.label_size == 0 {
            return Ok(None);
        }
        let size = [batch.len() as i64, self.label_size as i64];
        let label = match &batch.augment_labels {
            Some(labels) => Tensor::f_from_slice(labels).and_then(|flat| flat.f_reshape(size)),
            None => Tensor::f_zeros(size, (Kind::Float, Device::Cpu)),
        };
        let label = label.and_then(|label| label.f_to_device(self.device));
        label.map(Some).map_err(|e| TorchError::at("augmentation labels", e))
    }

    /// The moving average of the weights.
    pub fn average(&self) -> &Parameters {
        &self.average
    }

    /// Scale of the loss, steps since it changed and number of left-out steps among `step`; 1, 0, 0 unless fp16.
    ///
    /// # Errors
    /// libtorch's.
    pub fn loss_scale(&self, step: u64) -> Result<(f64, u64, u64), TorchError> {
        match self.optimizer.scaler() {
            None => Ok((1.0, 0, 0)),
            Some(scaler) => {
                let (scale, steps) = scaler.state()?;
                Ok((scale, steps, step.saturating_sub(self.optimizer.steps()?)))
            }
        }
    }

    /// All tensors of a checkpoint, under the names of [`ddae_model::checkpoint`].
    ///
    /// # Errors
    /// libtorch's.
    pub fn to_tensors(&self, config: &Config) -> Result<Vec<(String, Array)>, TrainError> {
        let parts = [
            (WeightSet::Model.prefix(), &self.weights),
            (WeightSet::Ema.prefix(), &self.average),
            ("optimizer.exp_avg.", &self.optimizer.exp_avg),
            ("optimizer.exp_avg_sq.", &self.optimizer.exp_avg_sq),
        ];
        let mut tensors = self.record(config)?;
        for (prefix, part) in parts {
            for (name, array) in part.to_weights()? {
                tensors.push((format!("{prefix}{name}"), array));
            }
        }
        Ok(tensors)
    }

    /// What the average gives for a fixed input: two pictures of noise at two noise levels. On the CPU in float32,
    /// whatever the run trains on, so that an export can be held against it.
    fn record(&self, config: &Config) -> Result<Vec<(String, Array)>, TrainError> {
        let [c, h, w] = self.picture;
        let mut x = vec![0f32; 2 * c * h * w];
        stream(0, Purpose::Noise, 0, 0).fill_normal(&mut x);
        let t = match &config.process {
            ProcessConfig::Ddpm(_) => [0.01, 0.5],
            ProcessConfig::Edm(edm) => {
                [edm.sigma_min as f32, 1.0].map(|sigma| edm::Preconditioning::at(edm, sigma).c_noise)
            }
        };
        let (x, t) = (Array::f32(&[2, c, h, w], x), Array::f32(&[2], t.to_vec()));
        let graph = unet_graph(&config.network, false)?;
        let (cpu, kind, layout) = (Device::Cpu, Kind::Float, Layout::Contiguous);
        let average = Parameters::new(&graph, &self.average.to_weights()?, cpu, kind, layout, false)?;
        let network = Network::new(&graph, cpu, kind, layout)?;
        let (input, level) = (convert::to_torch(&x)?, convert::to_torch(&t)?);
        let inputs = [("x", &input), ("t", &level)];
        let y = tch::no_grad(|| network.forward(&average, &inputs, Mode::EVALUATION))?;
        let y = convert::from_torch(&y[0])?;
        Ok([("x", x), ("t", t), ("y", y)].map(|(name, array)| (format!("record.{name}"), array)).into())
    }

    /// Takes over everything from a training checkpoint.
    ///
    /// # Errors
    /// When a tensor is missing or of another shape.
    pub fn load(&mut self, checkpoint: &Checkpoint, state: &TrainingState) -> Result<(), TrainError> {
        self.weights.load(&checkpoint.weights(WeightSet::Model, &self.graph)?)?;
        self.average.load(&checkpoint.weights(WeightSet::Ema, &self.graph)?)?;
        self.optimizer.exp_avg.load(&checkpoint.tensors_with_prefix("optimizer.exp_avg.")?)?;
        self.optimizer.exp_avg_sq.load(&checkpoint.tensors_with_prefix("optimizer.exp_avg_sq.")?)?;
        self.optimizer.set_steps(state.step.saturating_sub(state.skipped_steps), self.device)?;
        if self.mode.precision == Precision::Fp16 {
            let scaler = GradScaler::new(state.loss_scale, state.loss_scale_steps, self.device)?;
            self.optimizer.set_scaler(scaler);
        }
        Ok(())
    }
}
