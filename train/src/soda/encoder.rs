//! Latents of images.

use ddae_base::Stop;
use ddae_data::augment::Augmentation;
use ddae_data::loader::{Loader, LoaderOptions};
use ddae_data::split::Split;
use ddae_model::config::ChannelStatistics;
use ddae_model::networks::{EncoderConfig, resnet_graph};
use ddae_model::tensor::Tensor as Array;
use ndarray::Array2;
use tch::{Kind, Tensor};

use crate::TrainError;
use crate::torch::{Mode, Network, Parameters, TorchError, convert};
use crate::training::Place;

/// The encoder, as it is used after training: batch norms take their running statistics.
#[derive(Debug)]
pub struct Encoder {
    network: Network,
    image: [usize; 3],
    width: usize,
    place: Place,
    stop: Stop,
}

/// Latents and labels of a split's images, in its order.
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
        Ok(Encoder { network, image, width, place, stop: Stop::new() })
    }

    /// The same, ending between two batches where `stop` is requested.
    pub fn stopped_by(self, stop: &Stop) -> Encoder {
        Encoder { stop: stop.clone(), ..self }
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

    /// The latents of a whole split. `None` if it was to [stop](Encoder::stopped_by).
    ///
    /// # Errors
    /// When an image cannot be read, or libtorch's.
    pub fn split(
        &self,
        weights: &Parameters,
        split: &Split,
        preparation: &Preparation,
    ) -> Result<Option<Latents>, TrainError> {
        let (seed, epoch) = preparation.crops.unwrap_or_default();
        let options = LoaderOptions {
            batch: preparation.batch,
            seed,
            epoch,
            workers: preparation.workers,
            ..LoaderOptions::default()
        };
        let augmentation = preparation.crops.map_or(Augmentation::NONE, |_| Augmentation::ResizedCrop);
        let mut latents = Array2::zeros((split.len(), self.width));
        let mut rows = latents.rows_mut().into_iter();
        let mut labels = Vec::with_capacity(split.len());
        for batch in Loader::normalised(split, &options, augmentation, preparation.normalisation)? {
            if self.stop.is_requested() {
                return Ok(None);
            }
            let batch = batch?;
            let z = self.images(weights, &batch.images)?;
            for (z, mut row) in z.as_f32().unwrap_or_default().chunks_exact(self.width).zip(&mut rows) {
                row.iter_mut().zip(z).for_each(|(to, from)| *to = *from);
            }
            labels.extend(batch.labels);
        }
        Ok(Some(Latents { latents, labels }))
    }
}
