//! Images through a graph that gives features of them.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use ddae_base::memory;
use ddae_data::split::Split;
use ddae_model::networks::Architecture;
use ddae_model::tensor::Tensor;
use ddae_onnx::metadata::{GraphDescription, GraphKind, Pixels};
use ndarray::Array2;

use super::convention::Convention;
use super::statistics::{Accumulator, Statistics};
use super::{LOGITS, TAP};
use crate::engine::{Engine, Keep, Value};
use crate::error::InferError;
use crate::images::image_input;
use crate::model_file::ModelFile;
use crate::workers::Workers;

/// Height and width of what Inception sees.
pub const INCEPTION_SIZE: [usize; 2] = [299; 2];

/// A graph that gives features of images, as a job runs it.
#[derive(Clone, Debug)]
pub struct ImageGraph {
    /// The file.
    pub path: PathBuf,
    /// Shape of its images, `[C, H, W]`.
    pub shape: [usize; 3],
    /// What tells it, with the way that images come to it, from other networks ([`network`]).
    pub digest: String,
    /// The name of its input.
    pub(super) input: String,
    pub(super) preparation: Preparation,
    /// The output that distances are computed on.
    pub(super) features: String,
    /// The output of logits, where there is one.
    pub(super) logits: Option<String>,
    /// Images in a run, where the graph does not leave that open.
    pub(super) batch: Option<usize>,
}

/// How an image becomes the graph's input.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Preparation {
    /// It has the graph's size.
    AsItIs {
        /// Whether the graph takes bytes, rather than floats in [0, 1].
        bytes: bool,
    },
    /// It is resized; of a level x the graph sees (x / divisor - mean) / deviation.
    Resized { convention: Convention, divisor: f32, mean: [f32; 3], deviation: [f32; 3] },
}

/// What is wanted of images besides their mean and covariance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The features of each.
    pub features: bool,
    /// Inception's logits of each.
    pub logits: bool,
}

/// What is known of a set of images.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Mean and covariance of the features.
    pub statistics: Statistics,
    /// The features, `[N, D]`, where they were wanted.
    pub features: Option<Array2<f32>>,
    /// The logits, `[N, K]`, where they were wanted.
    pub logits: Option<Array2<f32>>,
}

/// What tells a network from others, whatever the size of its images: the SHA-256 of its checkpoint, the precision of its
/// ONNX file unless that is float32, as of files that do not say it, the digest of the graph of an edited one, the layer
/// unless it is Inception's, and the convention of resizing unless it is pytorch-fid's.
pub(crate) fn network<'a>(
    checkpoint: &'a str,
    precision: Option<&'a str>,
    others: impl IntoIterator<Item = &'a str>,
) -> String {
    let precision = precision.filter(|&precision| precision != "f32");
    let parts = [Some(checkpoint), precision].into_iter().flatten().chain(others);
    parts.collect::<Vec<_>>().join("/")
}

impl ImageGraph {
    /// Finds in the file of Inception what distances need. Images are resized as `convention` says: within the graph for
    /// images of another size than Inception's own, which is pytorch-fid's way; before it otherwise, if they are `resized`.
    ///
    /// # Errors
    /// When it is another network, does not give the layer `pool`, or resizes in another way.
    pub fn inception(
        model: &ModelFile,
        convention: Convention,
        resized: bool,
    ) -> Result<ImageGraph, InferError> {
        let unusable = |message: String, size: &str| InferError::Model {
            path: model.path.clone(),
            message: format!(
                "{message}; export it with `ddae-export pt_inception-2015-12-05-6726825d.pth --graph features \
                 --image-size {size}`"
            ),
        };
        let architecture = &model.model.architecture;
        let (Architecture::Inception(_), Some(shape)) = (architecture, architecture.image_shape()) else {
            let message = format!("it is {}, and distances are those of Inception", architecture.name());
            return Err(unusable(message, "HxW"));
        };
        let description = &model.description;
        let has = |layer: &str| description.taps.iter().any(|tap| tap.name == layer);
        if !has(TAP) {
            return Err(unusable(format!("it does not give the layer {TAP}"), "HxW"));
        }
        let bytes = description.pixels == Pixels::Bytes;
        let has_own_size = shape[1..] == INCEPTION_SIZE;
        let preparation = match has_own_size && !bytes && resized {
            true => Preparation::Resized {
                convention,
                divisor: convention.scale(),
                mean: [0.0; 3],
                deviation: [1.0; 3],
            },
            false if convention == Convention::PytorchFid => Preparation::AsItIs { bytes },
            false if has_own_size && bytes => {
                let message = format!("it takes bytes, and {convention} gives numbers between them");
                return Err(unusable(message, "299x299"));
            }
            false => {
                let [_, height, width] = shape;
                let message = format!(
                    "it resizes images of {height}x{width} within, as pytorch-fid does, and {convention} does it otherwise"
                );
                return Err(unusable(message, "299x299"));
            }
        };
        let convention = Some(convention).filter(|&convention| convention != Convention::PytorchFid);
        let convention = convention.map(|convention| convention.to_string());
        let digest = model_network(model, convention.as_deref());
        let logits = has(LOGITS).then(|| LOGITS.to_string());
        let features = TAP.to_string();
        let (path, input) = (model.path.clone(), "image".to_string());
        Ok(ImageGraph { path, shape, digest, input, preparation, features, logits, batch: None })
    }

    /// The graph of an encoder of ours ([`GraphKind::Encoder`]), which sees images of its own size.
    ///
    /// # Errors
    /// When it is of another kind or gives nothing.
    pub fn encoder(model: &ModelFile) -> Result<ImageGraph, InferError> {
        let GraphDescription { kind, taps, pixels, .. } = &model.description;
        let shape = model.model.architecture.image_shape();
        let (GraphKind::Encoder, Some(shape), Some(tap)) = (kind, shape, taps.first()) else {
            return Err(InferError::Model {
                path: model.path.clone(),
                message: "it is no encoder of images; extract features with `ddae-infer features`, and give the .h5 files \
                          with --layer"
                    .to_string(),
            });
        };
        Ok(ImageGraph {
            path: model.path.clone(),
            shape,
            digest: model_network(model, Some(&format!("t0/{}", tap.name))),
            input: "image".to_string(),
            preparation: Preparation::AsItIs { bytes: *pixels == Pixels::Bytes },
            features: tap.name.clone(),
            logits: None,
            batch: None,
        })
    }

    /// Whether images of any size are brought to the graph's.
    pub fn resizes(&self) -> bool {
        matches!(self.preparation, Preparation::Resized { .. })
    }

    /// Whether it gives the logits that Inception scores are computed on.
    pub fn has_logits(&self) -> bool {
        self.logits.is_some()
    }

    /// The layer that distances are computed on.
    pub fn layer(&self) -> &str {
        &self.features
    }

    /// Sees all images of `split` in runs of `batch`; they have the graph's shape unless it [resizes](ImageGraph::resizes)
    /// them. `progress` is told of every run (its images).
    ///
    /// Sums are taken in the order of the images: on the CPU they are the same, bit for bit, whatever the batch and the
    /// number of sessions.
    ///
    /// # Errors
    /// When an image cannot be read, the runtime fails, a feature is no number, there are fewer than two images or too many
    /// for the memory, or `stop` was set ([`InferError::Interrupted`]).
    pub fn see(
        &self,
        split: &Split,
        wanted: Wanted,
        batch: usize,
        workers: &mut Workers,
        stop: &AtomicBool,
        progress: impl Fn(usize),
    ) -> Result<Seen, InferError> {
        let batch = self.batch.unwrap_or(batch.min(split.len()).max(1));
        let mut collected = Collected::new(split.len(), wanted);
        let mut in_order = InOrder::default();
        workers.run(
            split.len().div_ceil(batch),
            stop,
            |index| {
                let rows = index * batch..split.len().min((index + 1) * batch);
                Ok((rows.len(), Value::from(self.input(split, rows, batch)?)))
            },
            |engine, (count, image)| self.compute(engine, &image, count, batch, wanted.logits),
            |index, found| {
                progress(found.features.nrows());
                in_order.put(index, found, |found| collected.add(found))
            },
        )?;
        collected.finish(&self.digest)
    }

    /// The images `rows` as the graph takes them, followed by black ones up to `batch`.
    fn input(&self, split: &Split, rows: Range<usize>, batch: usize) -> Result<Tensor, InferError> {
        let [channels, height, width] = self.shape;
        let shape = [batch, channels, height, width];
        let size = channels * height * width;
        let &Preparation::Resized { convention, divisor, mean, deviation } = &self.preparation else {
            let mut levels = vec![0; batch * size];
            for (row, image) in rows.zip(levels.chunks_exact_mut(size)) {
                split.read(row, image)?;
            }
            let bytes = matches!(self.preparation, Preparation::AsItIs { bytes: true });
            return Ok(image_input(&levels, shape, bytes));
        };
        let mut values = vec![0.0; batch * size];
        for (row, values) in rows.zip(values.chunks_exact_mut(size)) {
            let (levels, own) = as_stored(split, row)?;
            let resized = convention.resized(&levels, own, [height, width]);
            let planes = values.chunks_exact_mut(height * width).zip(resized.chunks_exact(height * width));
            for ((values, levels), (mean, deviation)) in planes.zip(mean.iter().zip(deviation)) {
                for (value, level) in values.iter_mut().zip(levels) {
                    *value = (level / divisor - mean) / deviation;
                }
            }
        }
        Ok(Tensor::f32(&shape, values))
    }

    /// Runs the graph on a batch of which `count` images are wanted.
    fn compute(
        &self,
        engine: &mut Engine,
        image: &Value,
        count: usize,
        batch: usize,
        logits: bool,
    ) -> Result<Found, InferError> {
        let results = engine.run(&[(&self.input, image)], Keep::Host)?;
        let of_output = |name: &str| {
            let place = engine.outputs().iter().position(|output| output == name);
            let Some(result) = place.and_then(|place| results.get(place)) else {
                let found = engine.outputs().join(", ");
                return Err(engine.unusable(format!("it gives {found}, and not {name}")));
            };
            let (shape, values) = result.floats()?;
            // Of tokens the first, which stands for the image.
            let (width, row) = match *shape {
                [found, width] if found == batch => (width, width),
                [found, tokens, width] if found == batch => (width, tokens * width),
                _ => {
                    let message = format!(
                        "its output {name} is {shape:?} for {batch} images; wanted is [{batch}, D], or tokens [{batch}, N, D]"
                    );
                    return Err(engine.unusable(message));
                }
            };
            let rows: Vec<f32> =
                (0..count).flat_map(|image| &values[image * row..image * row + width]).copied().collect();
            Array2::from_shape_vec((count, width), rows).map_err(|error| engine.unusable(error.to_string()))
        };
        let logits = self.logits.as_deref().filter(|_| logits).map(of_output).transpose()?;
        Ok(Found { features: of_output(&self.features)?, logits })
    }
}

/// What tells the network of a file of ours, and `other`.
fn model_network(model: &ModelFile, other: Option<&str>) -> String {
    let description = &model.description;
    let edited = model.is_edited.then_some(&*model.graph_digest);
    network(&description.digest, Some(description.precision.name()), edited.into_iter().chain(other))
}

/// An image in the size that it has by itself, and its shape.
fn as_stored(split: &Split, row: usize) -> Result<(Vec<u8>, [usize; 3]), InferError> {
    let [channels, height, width] = split.shape();
    let own = match split.stored_size(row)? {
        Some([height, width]) => [channels, height, width],
        None => [channels, height, width],
    };
    let mut levels = vec![0; own.iter().product()];
    match own == split.shape() {
        true => split.read(row, &mut levels)?,
        false => split.fit(own)?.read(row, &mut levels)?,
    }
    Ok((levels, own))
}

/// What one run gives.
struct Found {
    features: Array2<f32>,
    logits: Option<Array2<f32>>,
}

/// What all runs gave so far.
struct Collected {
    count: usize,
    wanted: Wanted,
    moments: Option<Accumulator>,
    features: Rows,
    logits: Rows,
}

/// Rows one after the other.
#[derive(Default)]
struct Rows {
    width: usize,
    values: Vec<f32>,
}

impl Rows {
    /// Adds some of `count` in all.
    fn add(&mut self, rows: &Array2<f32>, count: usize) -> Result<(), InferError> {
        if self.values.is_empty() {
            self.width = rows.ncols();
            let needed = 4 * (count as u64).saturating_mul(self.width as u64);
            let what = format!("{} features of each of {count} images", self.width);
            memory::check(what, needed, "measure fewer images with --limit, or the Fréchet distance alone")?;
            self.values.reserve_exact(count * self.width);
        }
        self.values.extend(rows);
        Ok(())
    }

    fn finish(self) -> Option<Array2<f32>> {
        let count = self.values.len().checked_div(self.width)?;
        Array2::from_shape_vec((count, self.width), self.values).ok()
    }
}

impl Collected {
    fn new(count: usize, wanted: Wanted) -> Collected {
        Collected { count, wanted, moments: None, features: Rows::default(), logits: Rows::default() }
    }

    fn add(&mut self, found: Found) -> Result<(), InferError> {
        let moments = self.moments.get_or_insert_with(|| Accumulator::new(found.features.ncols()));
        moments.add(found.features.view())?;
        if self.wanted.features {
            self.features.add(&found.features, self.count)?;
        }
        if let Some(logits) = &found.logits {
            self.logits.add(logits, self.count)?;
        }
        Ok(())
    }

    fn finish(self, network: &str) -> Result<Seen, InferError> {
        let statistics = self.moments.unwrap_or_else(|| Accumulator::new(0)).finish()?;
        let statistics = Statistics { network: Some(network.to_string()), ..statistics };
        Ok(Seen { statistics, features: self.features.finish(), logits: self.logits.finish() })
    }
}

/// Hands on in order what comes in any.
struct InOrder<T> {
    next: usize,
    waiting: BTreeMap<usize, T>,
}

impl<T> Default for InOrder<T> {
    fn default() -> InOrder<T> {
        InOrder { next: 0, waiting: BTreeMap::new() }
    }
}

impl<T> InOrder<T> {
    /// Takes number `index` and gives to `consume` all that are next.
    fn put(
        &mut self,
        index: usize,
        found: T,
        mut consume: impl FnMut(T) -> Result<(), InferError>,
    ) -> Result<(), InferError> {
        self.waiting.insert(index, found);
        while let Some(found) = self.waiting.remove(&self.next) {
            consume(found)?;
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
            let taken = in_order.put(index, index, |found| {
                seen.push(found);
                Ok(())
            });
            taken.expect("consumed");
            assert_eq!(seen.len(), after);
        }
        assert_eq!(seen, [0, 1, 2, 3, 4]);
    }
}
