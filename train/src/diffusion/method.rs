//! DDPM and EDM as a [`Method`] of training.

use std::path::Path;

use ddae_base::random::{Purpose, stream};
use ddae_data::augment::Augmentation;
use ddae_data::loader::{Batch, Images, Loader, LoaderOptions};
use ddae_data::{DataError, OpenOptions, Split, datasets};
use ddae_model::config::{Config, ProcessConfig};
use ddae_model::diffusion::{self, SamplerPlan, edm, loss_graph};
use ddae_model::networks::Denoiser;
use ddae_model::tensor::Tensor as Array;
use ddae_model::weights::Weights;
use tch::{Device, Kind, Tensor};

use super::draws;
use super::sheet::{self, Draws, SheetPlan};
use crate::TrainError;
use crate::ranks::{Division, Part, Shares};
use crate::sampler::Sampler;
use crate::torch::{Parameters, TorchError};
use crate::training::method::{Epoch, Recorder};
use crate::training::validation::FixedImages;
use crate::training::{Evaluation, Method, Options, Scores, Summary, TrainingPlan, record, train};

/// A training run of a diffusion model.
#[derive(Debug)]
pub struct DiffusionRun {
    /// The run.
    pub plan: TrainingPlan,
    config: Config,
    /// How the images of a sheet are sampled.
    sampler: SamplerPlan,
}

impl DiffusionRun {
    /// Opens the data set in the folder `data_root` as `opening` says, builds the network and counts the steps, shared out as
    /// said. Sheets are sampled in
    /// `sample_steps`, or in the process's own number.
    ///
    /// # Errors
    /// When one of them cannot be had, or the process cannot be sampled in so many steps.
    pub fn new(
        config: Config,
        data_root: Option<&Path>,
        opening: &OpenOptions,
        sample_steps: Option<usize>,
        shares: Shares,
    ) -> Result<DiffusionRun, TrainError> {
        let graph = loss_graph(&config.clone().into(), edm_augment(&config).is_none())?;
        let data = datasets::open_with(&config.dataset, data_root, opening)?;
        let mut plan = TrainingPlan::new(config.clone().into(), &data, graph, shares)?;
        let classes = config.network.denoiser().map_or(0, Denoiser::classes);
        if classes > 0 {
            check_classes(&plan.train, classes)?;
            plan.validate_only_where(|images| check_classes(images, classes));
        }
        let SheetPlan { sampler, description } = sheet::plan(&config.process, sample_steps)?;
        plan.sheets = description;
        plan.notes.extend(sheet::note(&config.process));
        Ok(DiffusionRun { plan, config, sampler })
    }

    /// Trains until the last epoch.
    ///
    /// # Errors
    /// Those of [`train()`].
    pub fn train(&self, options: &Options) -> Result<Summary, TrainError> {
        train(options, &self.plan, |place| {
            let step = diffusion::sampler_graph(&self.config)?;
            let sampler = Sampler::new(&step, self.sampler.clone(), self.config.image_shape(), place)?;
            let sampler = sampler.stopped_by(&options.stop);
            Ok(Diffusion { config: self.config.clone(), sampler, device: place.device })
        })
    }
}

/// Refuses images without labels, or with labels that a network does not know that is told one of so many classes.
fn check_classes(images: &Split, classes: usize) -> Result<(), TrainError> {
    images.check_labels("a network that is told the class (label_dim, classes)")?;
    let largest = (0..images.len()).map(|position| images.label(position)).max();
    match largest.filter(|&label| label >= classes) {
        None => Ok(()),
        Some(label) => Err(TrainError::Argument(format!(
            "{} has images of class {label}, counted from 0, and the network is told one of {classes}: set its number of \
             classes (label_dim) to {} at least",
            images.name(),
            label + 1
        ))),
    }
}

/// The probability of EDM's augmentation, which resamples images; without it they stay bytes.
fn edm_augment(config: &Config) -> Option<f64> {
    match &config.process {
        ProcessConfig::Edm(edm) if edm.augment_prob > 0.0 => Some(edm.augment_prob),
        _ => None,
    }
}

/// Training of a DDPM or EDM.
#[derive(Debug)]
struct Diffusion {
    config: Config,
    sampler: Sampler,
    device: Device,
}

impl Diffusion {
    /// Number of classes that the network is told of; 0 for none.
    fn classes(&self) -> usize {
        self.config.network.denoiser().map_or(0, Denoiser::classes)
    }

    /// The labels of EDM's augmentation, zeros for images that were not augmented.
    fn label(&self, batch: &Batch<Images>) -> Result<Option<Tensor>, TorchError> {
        let dim = self.config.augment_dim();
        if dim == 0 {
            return Ok(None);
        }
        let size = [batch.len() as i64, dim as i64];
        let label = match &batch.images {
            Images::Edm { labels, .. } => Tensor::f_from_slice(labels).and_then(|flat| flat.f_reshape(size)),
            Images::Bytes(_) => Tensor::f_zeros(size, (Kind::Float, Device::Cpu)),
        };
        let label = label.map_err(|e| TorchError::at("augmentation labels", e))?;
        draws::uploaded(&label, self.device).map(Some)
    }
}

/// What a network gives for two images of noise at two noise levels.
fn recorded(config: &Config, average: &Weights) -> Result<Vec<(String, Array)>, TrainError> {
    let [c, h, w] = config.image_shape();
    let mut x = vec![0f32; 2 * c * h * w];
    stream(0, Purpose::Noise, 0, 0).fill_normal(&mut x);
    let t = match &config.process {
        ProcessConfig::Ddpm(_) => [0.01, 0.5],
        ProcessConfig::Edm(edm) => {
            [edm.sigma_min as f32, 1.0].map(|sigma| edm::Preconditioning::at(edm, sigma).c_noise)
        }
    };
    let inputs = [("x", Array::f32(&[2, c, h, w], x)), ("t", Array::f32(&[2], t.to_vec()))];
    let y = record::output(&config.network.network_graph(false)?, average, &inputs)?;
    Ok(record::named("record.", inputs.into_iter().chain([("y", y)])).collect())
}

impl Method for Diffusion {
    type Batch = Batch<Images>;
    type Batches = Loader<Images>;

    fn batches(&self, plan: &TrainingPlan, epoch: Epoch) -> Result<Loader<Images>, DataError> {
        let options = LoaderOptions {
            batch: plan.batch.total,
            shuffle: true,
            seed: epoch.seed,
            epoch: epoch.number,
            start_batch: epoch.start as usize,
            drop_last: self.config.training.drops_last(),
            workers: epoch.workers,
            parts: plan.batch.loader_parts(),
        };
        let augmentation = Augmentation::Crop { padding: None, flip: self.config.flip };
        Loader::images(&plan.train, &options, augmentation, edm_augment(&self.config))
    }

    fn inputs(&self, batch: &Batch<Images>, part: Part) -> Result<Vec<(&'static str, Tensor)>, TorchError> {
        let (shape, device) = (self.config.image_shape(), self.device);
        let image = match &batch.images {
            Images::Bytes(images) => draws::images(images, shape, device)?,
            Images::Edm { images, .. } => draws::images(images, shape, device)?,
        };
        let [level, noise] = draws::of_process(&self.config.process, part, shape, device)?;
        let mut inputs = vec![("image", image), ("level", level), ("noise", noise)];
        inputs.extend(self.label(batch)?.map(|label| ("augment_label", label)));
        if self.classes() > 0 {
            let label = Tensor::f_from_slice(&batch.labels).map_err(|e| TorchError::at("labels", e))?;
            inputs.push(("label", draws::uploaded(&label, device)?));
        }
        Ok(inputs)
    }

    fn fixed_inputs(&self, images: &FixedImages) -> Result<Vec<(&'static str, Tensor)>, TrainError> {
        let (shape, device) = (self.config.image_shape(), self.device);
        let image = draws::images(&images.pixels()?, shape, device)?;
        let [level, noise] = draws::fixed(&self.config.process, images, shape, device)?;
        let mut inputs = vec![("image", image), ("level", level), ("noise", noise)];
        let dim = self.config.augment_dim();
        if dim > 0 {
            let size = [images.len() as i64, dim as i64];
            let label = Tensor::f_zeros(size, (Kind::Float, device));
            inputs.push(("augment_label", label.map_err(|e| TorchError::at("augmentation labels", e))?));
        }
        if self.classes() > 0 {
            let label = Tensor::f_from_slice(&images.labels()).map_err(|e| TorchError::at("labels", e))?;
            inputs.push(("label", draws::uploaded(&label, device)?));
        }
        Ok(inputs)
    }

    fn recorder(&self) -> Recorder {
        let config = self.config.clone();
        Box::new(move |average| recorded(&config, average))
    }

    fn evaluate(
        &self,
        plan: &TrainingPlan,
        average: &Parameters,
        wanted: &Evaluation,
        among: Division,
    ) -> Result<Option<Scores>, TrainError> {
        let Some(path) = &wanted.sheet else { return Ok(Some(Scores::default())) };
        let training = &self.config.training;
        let count = training.n_sample;
        let batch = sheet::batch(count, plan.batch.pass, among.world(), self.device);
        let draws = Draws { count, batch, seed: wanted.seed, classes: self.classes() };
        let whole = sheet::write(&self.sampler, average, draws, among, &plan.train, path)?;
        Ok(whole.then(Scores::default))
    }
}
