//! DDPM and EDM as a [`Method`] of training.

use std::path::Path;

use ddae_base::random::{Purpose, stream};
use ddae_data::loader::{Batch, Loader, LoaderOptions};
use ddae_data::{DataError, datasets};
use ddae_model::config::{Config, ProcessConfig};
use ddae_model::diffusion::{self, edm};
use ddae_model::graph::Graph;
use ddae_model::networks::unet_graph;
use ddae_model::tensor::Tensor as Array;
use ddae_model::weights::Weights;
use tch::{Device, Kind, Tensor};

use super::loss::DiffusionLoss;
use super::sheet;
use crate::TrainError;
use crate::sampler::Sampler;
use crate::torch::{Parameters, TorchError};
use crate::training::method::{Epoch, Forward};
use crate::training::{Evaluation, Method, Options, Plan, Scores, Summary, record, train};

/// A training run of a diffusion model.
#[derive(Debug)]
pub struct DiffusionRun {
    /// The run.
    pub plan: Plan,
    config: Config,
    /// How the images of a sheet are sampled.
    sampler: diffusion::Plan,
}

impl DiffusionRun {
    /// Opens the data set in the folder `data_root`, builds the network and counts the steps. Sheets are sampled in
    /// `sample_steps`, or in the process's own number.
    ///
    /// # Errors
    /// When one of them cannot be had, or the process cannot be sampled in so many steps.
    pub fn new(
        config: Config,
        data_root: Option<&Path>,
        sample_steps: Option<usize>,
    ) -> Result<DiffusionRun, TrainError> {
        let graph = training_graph(&config)?;
        let data = datasets::open(&config.dataset, data_root)?;
        let plan = Plan::new(config.clone().into(), &data, graph)?;
        let sampler = sheet::plan(&config, sample_steps)?;
        Ok(DiffusionRun { plan, config, sampler })
    }

    /// Trains until the last epoch.
    ///
    /// # Errors
    /// Those of [`train()`].
    pub fn train(&self, options: &Options) -> Result<Summary, TrainError> {
        train(options, &self.plan, |place| {
            let step = diffusion::sampler_graph(&self.config)?;
            let image = self.config.network.image_shape;
            let sampler = Sampler::new(&step, self.sampler.clone(), image, place)?;
            let loss = DiffusionLoss::new(&self.config.process, place.device);
            Ok(Diffusion { config: self.config.clone(), loss, sampler, device: place.device })
        })
    }
}

/// The network in training: its label input is there if the configuration has one, so that a checkpoint always holds
/// every published parameter.
///
/// # Errors
/// When the configuration cannot be built.
pub fn training_graph(config: &Config) -> Result<Graph, TrainError> {
    Ok(unet_graph(&config.network, config.network.augment_dim > 0)?)
}

/// Training of a DDPM or EDM.
#[derive(Debug)]
struct Diffusion {
    config: Config,
    loss: DiffusionLoss,
    sampler: Sampler,
    device: Device,
}

impl Diffusion {
    fn images(&self, batch: &Batch) -> Result<Tensor, TorchError> {
        let [c, h, w] = self.config.network.image_shape.map(|n| n as i64);
        Tensor::f_from_slice(&batch.images)
            .and_then(|flat| flat.f_reshape([-1, c, h, w])?.f_to_device(self.device))
            .map_err(|e| TorchError::at("images", e))
    }

    /// The labels of EDM's augmentation, zeros for images that were not augmented.
    fn label(&self, batch: &Batch) -> Result<Option<Tensor>, TorchError> {
        if self.config.network.augment_dim == 0 {
            return Ok(None);
        }
        let size = [batch.len() as i64, self.config.network.augment_dim as i64];
        let label = match &batch.augment_labels {
            Some(labels) => Tensor::f_from_slice(labels).and_then(|flat| flat.f_reshape(size)),
            None => Tensor::f_zeros(size, (Kind::Float, Device::Cpu)),
        };
        let label = label.and_then(|label| label.f_to_device(self.device));
        label.map(Some).map_err(|e| TorchError::at("augmentation labels", e))
    }
}

impl Method for Diffusion {
    type Batch = Batch;
    type Batches = Loader;

    fn batches(&self, plan: &Plan, epoch: Epoch) -> Result<Loader, DataError> {
        let augment = match &self.config.process {
            ProcessConfig::Edm(edm) if edm.augment_prob > 0.0 => Some(edm.augment_prob),
            _ => None,
        };
        let options = LoaderOptions {
            batch: self.config.training.batch_size,
            shuffle: true,
            seed: epoch.seed,
            epoch: epoch.number,
            start_batch: epoch.start as usize,
            drop_last: true,
            flip: self.config.flip,
            edm_augment: augment,
            workers: epoch.workers,
            ..LoaderOptions::default()
        };
        Loader::new(&plan.train, options)
    }

    fn loss(&self, batch: &Batch, network: &mut Forward) -> Result<Tensor, TorchError> {
        let images = self.images(batch)?;
        let label = self.label(batch)?;
        let draws = self.loss.draw(&images)?;
        self.loss.loss(&images, &draws, |x, t| {
            let mut inputs = vec![("x", x), ("t", t)];
            inputs.extend(label.as_ref().map(|label| ("augment_label", label)));
            network(&inputs)
        })
    }

    /// Two images of noise at two noise levels.
    fn record(&self, average: &Weights) -> Result<Vec<(String, Array)>, TrainError> {
        let [c, h, w] = self.config.network.image_shape;
        let mut x = vec![0f32; 2 * c * h * w];
        stream(0, Purpose::Noise, 0, 0).fill_normal(&mut x);
        let t = match &self.config.process {
            ProcessConfig::Ddpm(_) => [0.01, 0.5],
            ProcessConfig::Edm(edm) => {
                [edm.sigma_min as f32, 1.0].map(|sigma| edm::Preconditioning::at(edm, sigma).c_noise)
            }
        };
        let inputs = [("x", Array::f32(&[2, c, h, w], x)), ("t", Array::f32(&[2], t.to_vec()))];
        let y = record::output(&unet_graph(&self.config.network, false)?, average, &inputs)?;
        Ok(record::named("record.", inputs.into_iter().chain([("y", y)])).collect())
    }

    fn evaluate(
        &self,
        plan: &Plan,
        average: &Parameters,
        wanted: &Evaluation,
    ) -> Result<Option<Scores>, TrainError> {
        let Some(path) = &wanted.sheet else { return Ok(Some(Scores::default())) };
        let training = &self.config.training;
        let (count, batch) = (training.n_sample, training.batch_size);
        let whole = sheet::write(&self.sampler, average, count, batch, wanted.seed, &plan.train, path)?;
        Ok(whole.then(Scores::default))
    }
}
