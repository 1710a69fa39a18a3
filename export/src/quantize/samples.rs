//! Inputs of a graph as in use: images of a data set with noise at the timesteps of interest.

use std::ops::{Range, RangeInclusive};

use ddae_base::random::{Purpose, numbered_stream, stream};
use ddae_data::datasets::{self, DataError};
use ddae_data::split::Split;
use ddae_model::graph::{Graph, Node, Value};
use ddae_model::tensor::{DType, Tensor};

use crate::ExportError;
use crate::verify::{RANDOM, integers, random_values, tensor};

/// The seed of the choice of images and of the noise.
const SEED: u64 = 0;

/// Where images come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageSource {
    /// What was asked for: a data set by name, or the path of images (`ddae-data --help` lists them).
    pub asked: Option<String>,
    /// The data set that the network was trained on, by name.
    pub trained_on: Option<String>,
}

/// Inputs for a graph, as many as wanted, the same at every export.
pub struct Samples {
    images: Option<Images>,
    timesteps: Vec<i64>,
    range: RangeInclusive<i64>,
}

struct Images {
    split: Split,
    /// Positions in an order of their own, so that any few of them are of many classes.
    order: Vec<usize>,
}

impl Samples {
    /// Opens the images for a graph: those asked for, else those of the training data if they are here, else those
    /// built in. Where none fit, or the graph takes no images, its inputs are random. `timesteps` are used in turn;
    /// without any, inputs called `timestep` are drawn from `range`.
    ///
    /// # Errors
    /// When images were asked for that are not there or do not fit.
    pub fn open(
        graph: &Graph,
        source: &ImageSource,
        timesteps: Vec<i64>,
        range: RangeInclusive<i64>,
    ) -> Result<Samples, ExportError> {
        let shape =
            graph.inputs().find(|(_, node)| node.name == "image").and_then(|(_, node)| image_shape(node));
        let split = match (shape, &source.asked) {
            (None, None) => None,
            (None, Some(_)) => {
                let message = "--calibrate: this graph takes no images of a fixed size";
                return Err(ExportError::Argument(message.to_string()));
            }
            (Some(shape), Some(name)) => Some(open(name, shape)?),
            (Some(shape), None) => {
                let names = source.trained_on.iter().map(String::as_str).chain([datasets::DEFAULT_NAME]);
                names.filter(|name| *name != "folder").find_map(|name| open(name, shape).ok())
            }
        };
        let images = split.map(|split| {
            let mut order: Vec<usize> = (0..split.len()).collect();
            stream(SEED, Purpose::Calibrate, 0, 0).shuffle(&mut order);
            Images { split, order }
        });
        Ok(Samples { images, timesteps, range })
    }

    /// What the inputs are, for people and metadata: `fashion-sample/train`, or `random inputs`.
    pub fn name(&self) -> &str {
        self.images.as_ref().map_or(RANDOM, |images| images.split.name())
    }

    /// Whether the inputs are real images.
    pub fn has_images(&self) -> bool {
        self.images.is_some()
    }

    /// Number of different samples; there is no end to random ones.
    pub fn available(&self) -> usize {
        self.images.as_ref().map_or(usize::MAX, |images| images.order.len())
    }

    /// The timesteps that are used in turn.
    pub fn timesteps(&self) -> &[i64] {
        &self.timesteps
    }

    /// The inputs of `graph` for the samples of a range, which begins again after [`Samples::available`].
    ///
    /// # Errors
    /// When an image cannot be read.
    pub fn inputs(&self, graph: &Graph, range: Range<usize>) -> Result<Vec<(String, Tensor)>, ExportError> {
        let of_node = |value: Value, node: &Node| -> Result<Tensor, ExportError> {
            let random = |sample: usize| random_sample(node, &integers(graph, value, &self.range), sample);
            let values: Vec<f64> = match (node.name.as_str(), node.dtype, &self.images) {
                ("image", DType::F32 | DType::U8, Some(images)) => {
                    images.values(node.dtype, range.clone())?
                }
                ("timestep", DType::I64, _) if !self.timesteps.is_empty() => {
                    let timestep = |sample: usize| self.timesteps[sample % self.timesteps.len()] as f64;
                    range.clone().map(timestep).collect()
                }
                _ if node.shape.has_batch() => range.clone().flat_map(random).collect(),
                _ => random(0),
            };
            tensor(node, range.len(), values).ok_or_else(|| {
                let (name, shape) = (self.name(), node.shape.resolve(range.len()));
                let message = format!("{name} does not fill the graph's input {} {shape:?}", node.name);
                ExportError::Argument(message)
            })
        };
        graph.inputs().map(|(value, node)| Ok((node.name.clone(), of_node(value, node)?))).collect()
    }
}

/// Random values of an input for one sample, by a stream for every sample and input: a sample is the same in any batch.
fn random_sample(node: &Node, integers: &RangeInclusive<i64>, sample: usize) -> Vec<f64> {
    let of_name = |seed: u64, byte: u8| seed.wrapping_mul(31).wrapping_add(byte.into());
    let seed = node.name.bytes().fold(sample as u64, of_name);
    random_values(node, 1, integers, &mut numbered_stream(seed))
}

impl Images {
    /// Images as an input takes them: floats `[B,C,H,W]` in 0 to 1, or bytes `[B,H,W,C]`.
    fn values(&self, dtype: DType, range: Range<usize>) -> Result<Vec<f64>, ExportError> {
        let [channels, height, width] = self.split.shape();
        let pixels = height * width;
        let mut levels = vec![0; self.split.image_len()];
        let mut values = Vec::new();
        for sample in range {
            self.split.read(self.order[sample % self.order.len()], &mut levels)?;
            match dtype {
                DType::U8 => values.extend(
                    (0..pixels)
                        .flat_map(|pixel| (0..channels).map(move |c| c * pixels + pixel))
                        .map(|i| f64::from(levels[i])),
                ),
                _ => values.extend(levels.iter().map(|&level| f64::from(f32::from(level) / 255.0))),
            }
        }
        Ok(values)
    }
}

/// `[C, H, W]` of an input of images.
fn image_shape(node: &Node) -> Option<[usize; 3]> {
    let [a, b, c] = [node.shape.size(1)?, node.shape.size(2)?, node.shape.size(3)?];
    Some(if node.dtype == DType::U8 { [c, a, b] } else { [a, b, c] })
}

/// The training images of a data set, by name or path, in the network's shape.
fn open(name: &str, shape: [usize; 3]) -> Result<Split, DataError> {
    let set = datasets::open(name, None)?;
    set.split(None, "train")?.split.fit(shape)
}
