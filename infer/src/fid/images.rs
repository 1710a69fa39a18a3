//! Statistics of images, through the graph of Inception.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

use ddae_data::split::Split;
use ddae_model::networks::Architecture;
use ddae_onnx::metadata::Pixels;
use ndarray::Array2;

use super::TAP;
use super::statistics::{Accumulator, Statistics};
use crate::error::InferError;
use crate::features::{Extraction, NoiseSource, Noising, Views};
use crate::model_file::ModelFile;
use crate::workers::Workers;

/// Inception as a job runs it.
#[derive(Clone, Debug)]
pub struct Inception {
    /// Shape of its images, `[C, H, W]`.
    pub shape: [usize; 3],
    /// Whether it takes bytes.
    bytes: bool,
    /// Its outputs, in order, with their widths.
    taps: Vec<(String, usize)>,
    /// Which of them distances are computed on.
    place: usize,
    /// What tells it from other networks ([`network`]), and from edited files of the same.
    digest: String,
}

/// What tells a network from others, whatever the size of its images: the SHA-256 of its checkpoint, the precision of its
/// ONNX file unless that is float32, as of files that do not say it, and the digest of the graph of an edited one.
pub(crate) fn network(checkpoint: &str, precision: Option<&str>, edited: Option<&str>) -> String {
    let precision = precision.filter(|&precision| precision != "f32");
    [Some(checkpoint), precision, edited].into_iter().flatten().collect::<Vec<_>>().join("/")
}

impl Inception {
    /// Finds in the file what distances need.
    ///
    /// # Errors
    /// When it is another network, or does not give the layer `pool`.
    pub fn new(model: &ModelFile) -> Result<Inception, InferError> {
        let unusable = |message: &str| InferError::Model {
            path: model.path.clone(),
            message: format!(
                "{message}; export it with `ddae-export pt_inception-2015-12-05-6726825d.pth --graph features \
                 --image-size HxW`"
            ),
        };
        let network = &model.model.architecture;
        let (Architecture::Inception(_), Some(shape)) = (network, network.image_shape()) else {
            let message =
                format!("it is {}, and distances are those of Inception", model.model.architecture.name());
            return Err(unusable(&message));
        };
        let taps: Vec<(String, usize)> =
            model.description.taps.iter().map(|tap| (tap.name.clone(), tap.shape.iter().product())).collect();
        let place = taps.iter().position(|(name, _)| name == TAP);
        let place = place.ok_or_else(|| unusable(&format!("it does not give the layer {TAP}")))?;
        let bytes = model.description.pixels == Pixels::Bytes;
        let description = &model.description;
        let edited = model.is_edited.then_some(&*model.graph_digest);
        let digest = self::network(&description.digest, Some(description.precision.name()), edited);
        Ok(Inception { shape, bytes, taps, place, digest })
    }

    /// The statistics of all images of `split`, which have the graph's shape, in runs of `batch`. `progress` is told of
    /// every run (its images).
    ///
    /// The sums are taken in the order of the images: on the CPU they are the same, bit for bit, whatever the batch and
    /// the number of sessions.
    ///
    /// # Errors
    /// When an image cannot be read, the runtime fails, a feature is no number, there are fewer than two images, or
    /// `stop` was set ([`InferError::Interrupted`]).
    pub fn statistics(
        &self,
        split: &Split,
        batch: usize,
        workers: &mut Workers,
        stop: &AtomicBool,
        progress: impl Fn(usize),
    ) -> Result<Statistics, InferError> {
        let extraction = Extraction {
            split: split.clone(),
            latents: None,
            timesteps: vec![0],
            noising: Noising::None,
            noise: NoiseSource::default(),
            bytes: self.bytes,
            taps: self.taps.clone(),
            views: Views { count: 1, ..Views::default() },
            seed: 0,
            batch: batch.min(split.len()).max(1),
            draw_on_device: false,
        };
        let rows = 0..split.len();
        let mut accumulator = Accumulator::new(self.taps[self.place].1);
        let mut in_order = InOrder::default();
        workers.run(
            extraction.passes(rows.len()),
            stop,
            |index| extraction.inputs(extraction.pass(&rows, index)),
            |engine, inputs| Ok(extraction.compute(engine, inputs)?.swap_remove(self.place)),
            |index, features| {
                progress(features.nrows());
                in_order.put(index, features, |features| Ok(accumulator.add(features.view())?))
            },
        )?;
        let statistics = accumulator.finish()?;
        Ok(Statistics { network: Some(self.digest.clone()), ..statistics })
    }
}

/// Hands on in order what comes in any.
#[derive(Default)]
struct InOrder {
    next: usize,
    waiting: BTreeMap<usize, Array2<f32>>,
}

impl InOrder {
    /// Takes number `index` and gives to `consume` all that are next.
    fn put(
        &mut self,
        index: usize,
        features: Array2<f32>,
        mut consume: impl FnMut(Array2<f32>) -> Result<(), InferError>,
    ) -> Result<(), InferError> {
        self.waiting.insert(index, features);
        while let Some(features) = self.waiting.remove(&self.next) {
            consume(features)?;
            self.next += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_early_waits() {
        let mut in_order = InOrder::default();
        let mut seen = Vec::new();
        for (index, after) in [(2, 0), (1, 0), (0, 3), (4, 3), (3, 5)] {
            let features = Array2::from_elem((1, 1), index as f32);
            let taken = in_order.put(index, features, |features| {
                seen.push(features[[0, 0]]);
                Ok(())
            });
            taken.expect("consumed");
            assert_eq!(seen.len(), after);
        }
        assert_eq!(seen, [0.0, 1.0, 2.0, 3.0, 4.0]);
    }
}
