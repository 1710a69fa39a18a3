//! How many images of a split are classified correctly.

use ddae_data::Split;
use ddae_model::config::{ClassifierRun, ProcessConfig};
use ddae_model::diffusion::{ClassifierOptions, classifier_graph, feature_timesteps, training_logits_graph};
use ddae_model::graph::Graph;
use tch::{Kind, Tensor};

use crate::TrainError;
use crate::diffusion::draws;
use crate::ranks::Division;
use crate::run::stats::{Count, TimestepAccuracy};
use crate::torch::{Mode, Network, Parameters, TorchError};
use crate::training::Place;
use crate::training::validation::{FixedImages, quantiles};

/// How many timesteps of a DDPM accuracies are measured at: of 1,000 those of the published code, 1, 51, …, 951.
const TIMESTEPS: usize = 20;

/// The noise levels at which accuracies are measured: a twentieth of a DDPM's timesteps apart, every step of an EDM's grid.
pub fn timesteps(process: &ProcessConfig) -> Vec<i64> {
    let all = feature_timesteps(process);
    match process {
        ProcessConfig::Edm(_) => all.collect(),
        ProcessConfig::Ddpm(_) => {
            let count = all.clone().count();
            all.step_by((count / TIMESTEPS).max(1)).take(TIMESTEPS).collect()
        }
    }
}

/// Measures accuracies, always with the same noise for an image.
#[derive(Debug)]
pub struct Accuracy {
    /// The images.
    pub images: Split,
    /// Images noised as in training to logits.
    in_training: Network,
    /// Images and timesteps to logits; none where there is one timestep.
    at_timesteps: Option<Network>,
    timesteps: Vec<i64>,
    shape: [usize; 3],
    process: ProcessConfig,
    takes_level: bool,
    quantiles: Vec<f64>,
    place: Place,
    batch: usize,
}

impl Accuracy {
    /// That of a run's classifier on `images`, `batch` at a time.
    ///
    /// # Errors
    /// When the network cannot be built, or libtorch refuses.
    pub fn new(
        config: &ClassifierRun,
        images: Split,
        batch: usize,
        place: Place,
    ) -> Result<Accuracy, TrainError> {
        let network = |graph: &Graph| Network::new(graph, place.device, Kind::Float, place.layout);
        let takes_level = config.network.classifier().is_ok_and(|network| network.timestep().is_none());
        let options = ClassifierOptions { timestep: None, input_u8: true };
        let at_timesteps = match takes_level {
            true => Some(network(&classifier_graph(&config.model(), &options)?)?),
            false => None,
        };
        Ok(Accuracy {
            in_training: network(&training_logits_graph(config, true)?)?,
            at_timesteps,
            timesteps: timesteps(&config.process),
            shape: config.image_shape(),
            process: config.process.clone(),
            takes_level,
            quantiles: quantiles(images.len()),
            images,
            place,
            batch,
        })
    }

    /// Whether accuracies by timestep can be had.
    pub fn has_timesteps(&self) -> bool {
        self.at_timesteps.is_some()
    }

    /// How many of the images are classified correctly, noised as in training, their noise levels spread evenly over its
    /// distribution; divided among ranks. `None` if it was to stop.
    ///
    /// # Errors
    /// When an image cannot be read, and libtorch's.
    pub fn in_training(&self, weights: &Parameters, among: Division) -> Result<Option<Count>, TrainError> {
        let found = self.for_batches(1, among, |part, image, noise| {
            let level = draws::fixed_level(&self.process, part, self.place.device)?;
            let mut inputs = vec![("image", image), ("noise", noise)];
            if self.takes_level {
                inputs.push(("level", &level));
            }
            Ok(vec![self.are_correct(&self.in_training, weights, &inputs, part)?])
        })?;
        let count = |found: Vec<i64>| {
            Count::new(found.iter().filter(|&&correct| correct != 0).count(), self.images.len())
        };
        Ok(found.map(count))
    }

    /// How many of them are classified correctly at each of the timesteps, divided among ranks. `None` if it was to stop.
    ///
    /// # Errors
    /// When an image cannot be read, and libtorch's.
    pub fn by_timestep(
        &self,
        weights: &Parameters,
        among: Division,
    ) -> Result<Option<Vec<TimestepAccuracy>>, TrainError> {
        let Some(network) = &self.at_timesteps else { return Ok(Some(Vec::new())) };
        let width = self.timesteps.len();
        let found = self.for_batches(width, among, |part, image, noise| {
            let at = |&timestep: &i64| {
                let kind = (Kind::Int64, self.place.device);
                let timestep = Tensor::f_full([part.len() as i64], timestep, kind);
                let timestep = timestep.map_err(|e| TorchError::at("timesteps", e))?;
                self.are_correct(
                    network,
                    weights,
                    &[("image", image), ("noise", noise), ("timestep", &timestep)],
                    part,
                )
            };
            self.timesteps.iter().map(at).collect()
        })?;
        let Some(found) = found else { return Ok(None) };
        let images = self.images.len();
        let of_timestep = |(at, &timestep): (usize, &i64)| {
            let correct = found.iter().skip(at).step_by(width).filter(|&&correct| correct != 0).count();
            let count = Count::new(correct, images);
            TimestepAccuracy { timestep, accuracy: count.accuracy(), count }
        };
        Ok(Some(self.timesteps.iter().enumerate().map(of_timestep).collect()))
    }

    /// `width` answers for each image, in their order: `each` gives, of a batch, one list for each of the `width`.
    fn for_batches(
        &self,
        width: usize,
        among: Division,
        each: impl Fn(&FixedImages, &Tensor, &Tensor) -> Result<Vec<Vec<i64>>, TrainError>,
    ) -> Result<Option<Vec<i64>>, TrainError> {
        among.gathered([self.images.len(), width], self.batch, |positions| {
            let mut found = Vec::with_capacity(positions.len() * width);
            for first in positions.clone().step_by(self.batch) {
                if among.is_stopped() {
                    return Ok(None);
                }
                let part = first..(first + self.batch).min(positions.end);
                let part = FixedImages::of(&self.images, part, &self.quantiles);
                let image = draws::images(&part.pixels()?, self.shape, self.place.device)?;
                let noise = draws::images(&part.noise(), self.shape, self.place.device)?;
                let lists = each(&part, &image, &noise)?;
                found.extend((0..part.len()).flat_map(|i| lists.iter().map(move |list| list[i])));
            }
            Ok(Some(found))
        })
    }

    /// 1 for each image that has its largest logit at its class, 0 for the others.
    fn are_correct(
        &self,
        network: &Network,
        weights: &Parameters,
        inputs: &[(&str, &Tensor)],
        part: &FixedImages,
    ) -> Result<Vec<i64>, TrainError> {
        let mode = Mode { train: false, precision: self.place.precision };
        let logits = tch::no_grad(|| network.forward(weights, inputs, mode))?;
        let found = logits[0].f_argmax(1, false).and_then(|classes| Vec::<i64>::try_from(&classes));
        let found = found.map_err(|e| TorchError::at("classes", e))?;
        Ok(found.iter().zip(part.labels()).map(|(found, label)| i64::from(*found == label)).collect())
    }
}

#[cfg(test)]
mod tests {
    use ddae_model::config::{DdpmConfig, EdmConfig, Timesteps};

    use super::*;

    #[test]
    fn accuracies_are_measured_at_the_published_steps() {
        let ddpm = timesteps(&ProcessConfig::Ddpm(DdpmConfig::published(Timesteps::Fraction)));
        assert_eq!(ddpm, (0..20).map(|i| 1 + 50 * i).collect::<Vec<i64>>());
        assert_eq!(timesteps(&ProcessConfig::Edm(EdmConfig::published())), (1..=18).collect::<Vec<i64>>());
        let of = |n_t| {
            let config = DdpmConfig { n_t, ..DdpmConfig::published(Timesteps::Fraction) };
            timesteps(&ProcessConfig::Ddpm(config))
        };
        assert_eq!(of(3), [1, 2, 3]);
        assert_eq!((of(100).len(), of(100)[1], of(39).len(), of(39)[19]), (20, 6, 20, 20));
    }
}
