//! Images through a graph that gives features of them.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use ddae_data::resize::Rule;
use ddae_data::split::Split;
use ddae_model::networks::Architecture;
use ddae_model::tensor::Tensor;
use ddae_onnx::metadata::{GraphDescription, GraphKind, Pixels, Precision};
use ndarray::Array2;

use super::collected::{Collected, Found, InOrder, Seen, Wanted};
use super::convention::Convention;
use super::network::{Network, Way};
use super::{LOGITS, TAP};
use crate::engine::{Engine, Keep, Value};
use crate::error::InferError;
use crate::images::image_input;
use crate::model_file::ModelFile;
use crate::workers::Workers;

/// Height and width of what Inception sees.
pub const INCEPTION_SIZE: [usize; 2] = [299; 2];

/// Numbers of the layer that distances are computed on.
pub const INCEPTION_FEATURES: usize = 2048;

/// A graph that gives features of images, as a job runs it.
#[derive(Clone, Debug)]
pub struct ImageGraph {
    /// The file.
    pub path: PathBuf,
    /// Shape of its images, `[C, H, W]`.
    pub shape: [usize; 3],
    /// What tells it, with the way that images come to it, from other networks.
    pub network: Network,
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

impl ImageGraph {
    /// Finds in the file of Inception what distances need. Images are resized as `convention` says: within the graph for
    /// images of another size than Inception's own, which is pytorch-fid's way; before it otherwise. With a `rule`, and where
    /// the graph takes bytes of Inception's own size, images come to it in its size.
    ///
    /// # Errors
    /// When it is another network, does not give the layer `pool`, or resizes in another way.
    pub fn inception(
        model: &ModelFile,
        convention: Convention,
        rule: Option<Rule>,
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
        let as_it_is = Preparation::AsItIs { bytes };
        let (preparation, way) = match rule {
            // Of images that have the size, nothing is left to resize.
            Some(rule) if has_own_size && rule != Rule::None => (as_it_is, Way::Rule(rule.to_string())),
            Some(_) => (as_it_is, Way::AsTheyAre),
            None if has_own_size && !bytes => {
                let divisor = convention.scale();
                let (mean, deviation) = ([0.0; 3], [1.0; 3]);
                let preparation = Preparation::Resized { convention, divisor, mean, deviation };
                (preparation, Way::of_inception(convention))
            }
            None if convention == Convention::PytorchFid => (as_it_is, Way::AsTheyAre),
            None if has_own_size => {
                let message = format!("it takes bytes, and {convention} gives numbers between them");
                return Err(unusable(message, "299x299"));
            }
            None => {
                let [_, height, width] = shape;
                let message = format!(
                    "it resizes images of {height}x{width} within, as pytorch-fid does, and {convention} does it otherwise"
                );
                return Err(unusable(message, "299x299"));
            }
        };
        let network = model_network(model, None, way);
        let logits = has(LOGITS).then(|| LOGITS.to_string());
        let features = TAP.to_string();
        let (path, input) = (model.path.clone(), "image".to_string());
        Ok(ImageGraph { path, shape, network, input, preparation, features, logits, batch: None })
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
            network: model_network(model, Some(format!("t0/{}", tap.name)), Way::AsTheyAre),
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

    /// Whether images must have Inception's own size, because nothing brings them to it as a tool would.
    pub fn wants_own_size(&self) -> bool {
        let has_own_size = self.network.is_inception() && self.shape[1..] == INCEPTION_SIZE;
        has_own_size && !self.resizes() && self.network.rule().is_none()
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
        collected.finish(&self.network)
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
            let (width, tokens) = match *shape {
                [found, width] if found == batch => (width, None),
                [found, tokens, width] if found == batch && tokens > 0 => (width, Some(tokens)),
                _ => {
                    let message = format!(
                        "its output {name} is {shape:?} for {batch} images; wanted is [{batch}, D], or tokens [{batch}, N, D]"
                    );
                    return Err(engine.unusable(message));
                }
            };
            let row = tokens.unwrap_or(1) * width;
            let rows: Vec<f32> =
                (0..count).flat_map(|image| &values[image * row..image * row + width]).copied().collect();
            let rows = Array2::from_shape_vec((count, width), rows);
            Ok((rows.map_err(|error| engine.unusable(error.to_string()))?, tokens))
        };
        let logits = self.logits.as_deref().filter(|_| logits).map(of_output).transpose()?;
        let (features, tokens) = of_output(&self.features)?;
        Ok(Found { features, tokens, logits: logits.map(|(logits, _)| logits) })
    }
}

/// What tells the features of a file of ours; `layer` is none for Inception's.
fn model_network(model: &ModelFile, layer: Option<String>, way: Way) -> Network {
    let description = &model.description;
    let precision = Some(description.precision).filter(|&precision| precision != Precision::F32);
    Network {
        checkpoint: description.digest.clone(),
        precision: precision.map(|precision| precision.name().to_string()),
        edited: model.is_edited.then(|| model.graph_digest.clone()),
        layer,
        way,
    }
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
