//! Latents of images.

use std::ops::Range;

use ddae_data::augment::Augmentation;
use ddae_data::loader::{Loader, LoaderOptions};
use ddae_data::split::Split;
use ddae_model::config::ChannelStatistics;
use ddae_model::networks::{EncoderConfig, resnet_graph};
use ddae_model::tensor::Tensor as Array;
use ndarray::Array2;
use tch::{Kind, Tensor};

use crate::TrainError;
use crate::ranks::Division;
use crate::torch::{Mode, Network, Parameters, TorchError, convert};
use crate::training::Place;

/// The encoder, as it is used after training: batch norms take their running statistics.
#[derive(Debug)]
pub struct Encoder {
    network: Network,
    image: [usize; 3],
    width: usize,
    place: Place,
}

/// Latents and labels of a split's images, in its order; of none on ranks other than 0.
#[derive(Clone, Debug, PartialEq)]
pub struct Latents {
    /// `[N, feature_dim]`.
    pub latents: Array2<f32>,
    /// `[N]`.
    pub labels: Vec<i64>,
}

/// How images are prepared for [`Encoder::split`].
#[derive(Clone, Debug)]
pub struct Preparation<'a> {
    /// By which they are normalised.
    pub normalisation: &'a ChannelStatistics,
    /// Seed and epoch of the random crops of the training images of probes; none leaves images as they are.
    pub crops: Option<(u64, u64)>,
    /// Images per batch.
    pub batch: usize,
    /// Threads that read ahead.
    pub workers: usize,
}

impl Encoder {
    /// The encoder of a configuration.
    ///
    /// # Errors
    /// When it cannot be built, or libtorch refuses.
    pub fn new(config: &EncoderConfig, place: Place) -> Result<Encoder, TrainError> {
        let network = Network::new(&resnet_graph(config)?, place.device, Kind::Float, place.layout)?;
        let (image, width) = (config.image_shape, config.feature_dim);
        Ok(Encoder { network, image, width, place })
    }

    /// The latents `[N, feature_dim]` of normalised images, `[C, H, W]` one after the other. `weights` may hold more
    /// than the encoder's.
    ///
    /// # Errors
    /// libtorch's.
    pub fn images(&self, weights: &Parameters, normalised: &[f32]) -> Result<Array, TrainError> {
        let [c, h, w] = self.image.map(|n| n as i64);
        let x = Tensor::f_from_slice(normalised)
            .and_then(|flat| flat.f_reshape([-1, c, h, w]))
            .map_err(|e| TorchError::at("images", e))?;
        let mode = Mode { train: false, precision: self.place.precision };
        let z = tch::no_grad(|| self.network.forward(weights, &[("x", &x)], mode))?;
        Ok(convert::from_torch(&z[0])?)
    }

    /// The latents of a whole split, of which every rank computes a part and rank 0 gets all. `None` if it was to stop.
    ///
    /// # Errors
    /// When an image cannot be read, libtorch's, and when another rank does not answer.
    pub fn split(
        &self,
        weights: &Parameters,
        split: &Split,
        preparation: &Preparation,
        among: Division,
    ) -> Result<Option<Latents>, TrainError> {
        let size = [split.len(), self.width];
        let of_part = |part| self.latents(weights, split, preparation, part, among);
        let Some(latents) = among.gathered(size, preparation.batch, of_part)? else { return Ok(None) };
        let count = if among.leads() { split.len() } else { 0 };
        let latents = Array2::from_shape_vec([count, self.width], latents);
        let latents = latents.map_err(|e| TorchError::Input(format!("latents: {e}")))?;
        let labels = (0..count).map(|position| split.label(position) as i64).collect();
        Ok(Some(Latents { latents, labels }))
    }

    /// The latents of the images at these positions, one after the other. `None` if this rank was to stop.
    fn latents(
        &self,
        weights: &Parameters,
        split: &Split,
        preparation: &Preparation,
        positions: Range<usize>,
        among: Division,
    ) -> Result<Option<Vec<f32>>, TrainError> {
        let part = split.subset(&positions.collect::<Vec<_>>())?;
        let (seed, epoch) = preparation.crops.unwrap_or_default();
        let options = LoaderOptions {
            batch: preparation.batch,
            seed,
            epoch,
            workers: preparation.workers,
            ..LoaderOptions::default()
        };
        let augmentation = preparation.crops.map_or(Augmentation::NONE, |_| Augmentation::ResizedCrop);
        let mut latents = Vec::with_capacity(part.len() * self.width);
        for batch in Loader::normalised(&part, &options, augmentation, preparation.normalisation)? {
            if among.is_stopped() {
                return Ok(None);
            }
            let z = self.images(weights, &batch?.images)?;
            latents.extend_from_slice(z.as_f32().unwrap_or_default());
        }
        Ok(Some(latents))
    }
}
