//! Classifiers of noised images as a [`Method`] of training.

use std::path::Path;

use ddae_base::random::{Purpose, stream};
use ddae_data::augment::Augmentation;
use ddae_data::loader::{Batch, Images, Loader, LoaderOptions};
use ddae_data::{DataError, OpenOptions, Split, datasets};
use ddae_model::config::{ClassifierRun, ProcessConfig};
use ddae_model::diffusion::{edm, loss_graph};
use ddae_model::networks::{BlockDepths, Classifier};
use ddae_model::tensor::Tensor as Array;
use ddae_model::weights::Weights;
use serde_json::json;
use tch::{Device, Tensor};

use super::accuracy::Accuracy;
use crate::TrainError;
use crate::diffusion::draws;
use crate::ranks::{Division, Part, Shares};
use crate::torch::{Parameters, TorchError};
use crate::training::method::{Epoch, Recorder};
use crate::training::validation::FixedImages;
use crate::training::{Evaluation, Method, Options, Scores, Summary, TrainingPlan, record, train};

/// A training run of a classifier.
#[derive(Debug)]
pub struct ClassifierTraining {
    /// The run.
    pub plan: TrainingPlan,
    config: ClassifierRun,
    /// What accuracies are measured on, if there are such images.
    measured: Option<Split>,
    timesteps_every: u64,
}

impl ClassifierTraining {
    /// Opens the data set in the folder `data_root` as `opening` says, builds the network and counts the steps, shared out as
    /// said. Accuracies by timestep are measured every `timesteps_every` epochs (0 for at the end).
    ///
    /// # Errors
    /// When one of them cannot be had, or the images have no labels, or other classes than the configuration says.
    pub fn new(
        config: ClassifierRun,
        data_root: Option<&Path>,
        opening: &OpenOptions,
        timesteps_every: u64,
        shares: Shares,
    ) -> Result<ClassifierTraining, TrainError> {
        let graph = loss_graph(&config.clone().into(), true)?;
        let data = datasets::open_with(&config.dataset, data_root, opening)?;
        let mut plan = TrainingPlan::new(config.clone().into(), &data, graph, shares)?;
        check_training_classes(&plan.train, config.classes)?;
        plan.validate_only_where(|images| check_classes(images, config.classes));
        let unseen = plan.unseen();
        let refusal = match unseen.is_empty() {
            true => Some("there are no test images, and none are held out (--hold-out)".to_string()),
            false => check_classes(unseen, config.classes).err().map(|error| error.to_string()),
        };
        let measured = refusal.is_none().then(|| unseen.clone());
        plan.notes.extend(refusal.map(|reason| format!("no accuracies: {reason}")));
        Ok(ClassifierTraining { plan, config, measured, timesteps_every })
    }

    /// Trains until the last epoch.
    ///
    /// # Errors
    /// Those of [`train()`].
    pub fn train(&self, options: &Options) -> Result<Summary, TrainError> {
        train(options, &self.plan, |place| {
            let batch = self.plan.batch.pass;
            let accuracy = match &self.measured {
                Some(images) => Some(Accuracy::new(&self.config, images.clone(), batch, place)?),
                None => None,
            };
            Ok(Classification {
                takes_level: self
                    .config
                    .network
                    .classifier()
                    .is_ok_and(|network| network.timestep().is_none()),
                depths: BlockDepths::of(&self.plan.graph),
                config: self.config.clone(),
                accuracy,
                timesteps_every: self.timesteps_every,
                device: place.device,
            })
        })
    }
}

/// Refuses images without labels, or of another number of classes.
fn check_classes(images: &Split, classes: usize) -> Result<(), TrainError> {
    images.check_labels("training a classifier")?;
    let found = images.classes().len();
    if found == classes {
        return Ok(());
    }
    Err(TrainError::Argument(format!(
        "{} has images of {found} classes, and the configuration says classes: {classes}",
        images.name()
    )))
}

/// The same for the images that are trained on: their number of classes is what the configuration is to say.
fn check_training_classes(images: &Split, classes: usize) -> Result<(), TrainError> {
    check_classes(images, classes).map_err(|error| match error {
        TrainError::Argument(message) => {
            TrainError::Argument(format!("{message}: set classes to {}", images.classes().len()))
        }
        other => other,
    })
}

/// Training of a classifier.
#[derive(Debug)]
struct Classification {
    config: ClassifierRun,
    /// Whether images are noised to levels that are drawn, rather than to one timestep.
    takes_level: bool,
    depths: BlockDepths,
    accuracy: Option<Accuracy>,
    timesteps_every: u64,
    device: Device,
}

impl Classification {
    /// The inputs of the loss: `drawn` are level and noise.
    fn noised(
        &self,
        image: Tensor,
        drawn: [Tensor; 2],
        labels: &[i64],
    ) -> Result<Vec<(&'static str, Tensor)>, TorchError> {
        let [level, noise] = drawn;
        let label = Tensor::f_from_slice(labels).map_err(|e| TorchError::at("labels", e))?;
        let mut inputs = vec![("image", image), ("noise", noise)];
        if self.takes_level {
            inputs.push(("level", level));
        }
        inputs.push(("label", draws::uploaded(&label, self.device)?));
        Ok(inputs)
    }
}

/// What a network gives for two images of noise at two noise levels.
fn recorded(config: &ClassifierRun, average: &Weights) -> Result<Vec<(String, Array)>, TrainError> {
    let [c, h, w] = config.image_shape();
    let mut x = vec![0f32; 2 * c * h * w];
    stream(0, Purpose::Noise, 0, 0).fill_normal(&mut x);
    let is_preconditioned = config.network.classifier().is_ok_and(Classifier::is_preconditioned);
    let t = match &config.process {
        ProcessConfig::Ddpm(_) => [0.01, 0.5],
        ProcessConfig::Edm(edm) => [edm.sigma_min as f32, 1.0].map(|sigma| match is_preconditioned {
            true => edm::Preconditioning::at(edm, sigma).c_noise,
            false => sigma.ln(),
        }),
    };
    let inputs = [("x", Array::f32(&[2, c, h, w], x)), ("t", Array::f32(&[2], t.to_vec()))];
    let y = record::output(&config.network.network_graph(false)?, average, &inputs)?;
    Ok(record::named("record.", inputs.into_iter().chain([("y", y)])).collect())
}

impl Method for Classification {
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
        let padding = Some(self.config.crop).filter(|padding| *padding > 0);
        let augmentation = Augmentation::Crop { padding, flip: self.config.flip };
        Loader::images(&plan.train, &options, augmentation, None)
    }

    fn inputs(&self, batch: &Batch<Images>, part: Part) -> Result<Vec<(&'static str, Tensor)>, TorchError> {
        let (shape, device) = (self.config.image_shape(), self.device);
        let image = match &batch.images {
            Images::Bytes(images) => draws::images(images, shape, device)?,
            Images::Edm { images, .. } => draws::images(images, shape, device)?,
        };
        let drawn = draws::of_process(&self.config.process, part, shape, device)?;
        self.noised(image, drawn, &batch.labels)
    }

    fn fixed_inputs(&self, images: &FixedImages) -> Result<Vec<(&'static str, Tensor)>, TrainError> {
        let (shape, device) = (self.config.image_shape(), self.device);
        let image = draws::images(&images.pixels()?, shape, device)?;
        let drawn = draws::fixed(&self.config.process, images, shape, device)?;
        Ok(self.noised(image, drawn, &images.labels())?)
    }

    fn rate_ratio(&self, parameter: &str) -> f64 {
        // No rounding of a ratio that is 1.
        match self.config.layer_decay {
            1.0 => 1.0,
            decay => decay.powi(self.depths.after(parameter) as i32),
        }
    }

    fn recorder(&self) -> Recorder {
        let config = self.config.clone();
        Box::new(move |average| recorded(&config, average))
    }

    fn has_scores(&self) -> bool {
        self.accuracy.is_some()
    }

    /// Those by timestep, which are measured with the others.
    fn wants_scores(&self, epoch: u64) -> bool {
        let has_timesteps = self.accuracy.as_ref().is_some_and(Accuracy::has_timesteps);
        let every = self.timesteps_every;
        has_timesteps && every > 0 && epoch > 0 && epoch.is_multiple_of(every)
    }

    fn evaluate(
        &self,
        _plan: &TrainingPlan,
        average: &Parameters,
        wanted: &Evaluation,
        among: Division,
    ) -> Result<Option<Scores>, TrainError> {
        let Some(accuracy) = self.accuracy.as_ref().filter(|_| wanted.scores) else {
            return Ok(Some(Scores::default()));
        };
        let Some(count) = accuracy.in_training(average, among)? else { return Ok(None) };
        let by_timestep = match wanted.by_timestep && accuracy.has_timesteps() {
            true => match accuracy.by_timestep(average, among)? {
                Some(found) => found,
                None => return Ok(None),
            },
            false => Vec::new(),
        };
        let level = match self.config.network.classifier().ok().and_then(Classifier::timestep) {
            Some(timestep) => json!(timestep),
            None => json!("spread evenly over those of training"),
        };
        let protocol = json!({
            "images": accuracy.images.name(),
            "number": count.images,
            "noise": "one draw for each image, the same every time",
            "noise_level": level,
            "weights": match self.config.training.ema {
                0.0 => "those in training",
                _ => "the moving average",
            },
        });
        let values = vec![("accuracy", count.accuracy())];
        Ok(Some(Scores { values, count: Some(count), by_timestep, protocol, notes: Vec::new() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_classes_are_refused() {
        let split = |labels: Vec<u32>, classes: &[&str]| {
            let classes: Vec<String> = classes.iter().map(ToString::to_string).collect();
            let levels = vec![0; labels.len()];
            Split::in_memory("data", classes, labels, [1, 1, 1], levels).expect("a split")
        };
        assert!(check_classes(&split(vec![0, 1], &["a", "b"]), 2).is_ok());
        let error = check_classes(&split(vec![0, 1], &["a", "b"]), 10).expect_err("10 classes").to_string();
        assert!(
            error.ends_with("has images of 2 classes, and the configuration says classes: 10"),
            "{error}"
        );
        let error = check_training_classes(&split(vec![0, 1], &["a", "b"]), 10).expect_err("10 classes");
        assert!(error.to_string().ends_with("says classes: 10: set classes to 2"), "{error}");
    }
}
