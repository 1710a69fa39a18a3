//! The features of one batch of pictures.

use ddae_data::augment::{random_crop, random_flip};
use ddae_data::features::FeatureKey;
use ddae_data::random::{Purpose, stream};
use ddae_data::split::Split;
use ndarray::Array2;
use ort::value::{DynValue, Tensor};

use crate::engine::{Engine, Keep};
use crate::error::InferError;

/// How a picture looks from one view to the next. Every view has noise of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Views {
    /// Number of views.
    pub count: usize,
    /// Zeros around the picture before it is cropped at random, 0 for no crop.
    pub crop_padding: usize,
    /// Whether it is mirrored at random.
    pub flip: bool,
}

/// What is extracted from each picture.
pub struct Extraction {
    /// The pictures, in the network's shape.
    pub split: Split,
    /// The timesteps.
    pub timesteps: Vec<i64>,
    /// Whether the graph has its timestep built in.
    pub fixed: bool,
    /// Whether the graph takes bytes.
    pub bytes: bool,
    /// The layers, in the order of the graph's outputs, with their widths.
    pub taps: Vec<(String, usize)>,
    /// The views.
    pub views: Views,
    /// Seed of augmentation and noise.
    pub seed: u64,
    /// Pictures per run of the graph. Incomplete batches are padded, so that a feature does not depend on where its
    /// picture stands.
    pub batch: usize,
}

/// The features of consecutive rows.
pub struct BatchFeatures {
    /// The first row.
    pub first: usize,
    /// Their labels.
    pub labels: Vec<i64>,
    /// For each view and key the features `[rows, D]`.
    pub features: Vec<(usize, FeatureKey, Array2<f32>)>,
}

impl Extraction {
    /// The datasets of the feature file, by timestep, then layer.
    pub fn keys(&self) -> Vec<(FeatureKey, usize)> {
        let keys = |t: &i64| {
            self.taps.iter().map(|(tap, width)| (FeatureKey::new(*t, tap), *width)).collect::<Vec<_>>()
        };
        self.timesteps.iter().flat_map(keys).collect()
    }

    /// Computes the features of the rows `first..first + count`, `count` at most a batch.
    ///
    /// # Errors
    /// When a picture cannot be read or the runtime fails.
    pub fn run(&self, engine: &mut Engine, first: usize, count: usize) -> Result<BatchFeatures, InferError> {
        let labels = (first..first + count).map(|row| self.split.label(row) as i64).collect();
        let mut features = Vec::new();
        for view in 0..self.views.count {
            let pictures = self.pictures(first, count, view)?;
            let image = self.image_input(&pictures)?;
            for &timestep in &self.timesteps {
                let noise = self.noise(first, count, view, timestep);
                let results = self.run_graph(engine, &image, noise, timestep)?;
                for ((tap, width), result) in self.taps.iter().zip(results) {
                    let rows = rows_of(&result, count, *width)?;
                    features.push((view, FeatureKey::new(timestep, tap), rows));
                }
            }
        }
        Ok(BatchFeatures { first, labels, features })
    }

    /// The pictures of a view as levels `[batch, C, H, W]`, padded with black ones.
    fn pictures(&self, first: usize, count: usize, view: usize) -> Result<Vec<u8>, InferError> {
        let (shape, size) = (self.split.shape(), self.split.picture_len());
        let mut levels = vec![0; self.batch * size];
        for (row, picture) in (first..first + count).zip(levels.chunks_exact_mut(size)) {
            self.split.read(row, picture)?;
            let mut draws = stream(self.seed, Purpose::Augment, self.split.id(row), view as u64);
            if self.views.crop_padding > 0 {
                random_crop(picture, shape, self.views.crop_padding, &mut draws);
            }
            if self.views.flip {
                random_flip(picture, shape, &mut draws);
            }
        }
        Ok(levels)
    }

    fn image_input(&self, levels: &[u8]) -> Result<DynValue, InferError> {
        let [c, h, w] = self.split.shape();
        let input = if self.bytes {
            let mut interleaved = Vec::with_capacity(levels.len());
            for picture in levels.chunks_exact(c * h * w) {
                interleaved.extend(
                    (0..h * w).flat_map(|pixel| (0..c).map(move |plane| picture[plane * h * w + pixel])),
                );
            }
            Tensor::from_array(([self.batch, h, w, c], interleaved)).map(Tensor::into_dyn)
        } else {
            let floats: Vec<f32> = levels.iter().map(|&level| f32::from(level) / 255.0).collect();
            Tensor::from_array(([self.batch, c, h, w], floats)).map(Tensor::into_dyn)
        };
        input.map_err(refused)
    }

    /// Noise of `[batch, C, H, W]`: a function of the seed, the picture, the view and the timestep.
    fn noise(&self, first: usize, count: usize, view: usize, timestep: i64) -> Vec<f32> {
        let size = self.split.picture_len();
        let mut noise = vec![0.0; self.batch * size];
        for (row, values) in (first..first + count).zip(noise.chunks_exact_mut(size)) {
            let variant = (view as u64) << 32 | timestep as u64;
            stream(self.seed, Purpose::Noise, self.split.id(row), variant).fill_normal(values);
        }
        noise
    }

    fn run_graph(
        &self,
        engine: &mut Engine,
        image: &DynValue,
        noise: Vec<f32>,
        timestep: i64,
    ) -> Result<Vec<DynValue>, InferError> {
        let [c, h, w] = self.split.shape();
        let noise = Tensor::from_array(([self.batch, c, h, w], noise)).map_err(refused)?.into_dyn();
        let timesteps =
            Tensor::from_array(([self.batch], vec![timestep; self.batch])).map_err(refused)?.into_dyn();
        let mut inputs = vec![("image", image), ("noise", &noise)];
        if !self.fixed {
            inputs.push(("timestep", &timesteps));
        }
        engine.run(&inputs, Keep::Host)
    }
}

fn refused(error: ort::Error) -> InferError {
    InferError::Settings(format!("ONNX Runtime refuses a value: {error}"))
}

/// The first `count` rows of a result `[batch, width]`.
fn rows_of(result: &DynValue, count: usize, width: usize) -> Result<Array2<f32>, InferError> {
    let (_, values) = result.try_extract_tensor::<f32>().map_err(refused)?;
    values
        .get(..count * width)
        .and_then(|rows| Array2::from_shape_vec((count, width), rows.to_vec()).ok())
        .ok_or_else(|| {
            InferError::Settings(format!("the graph gave {} features for {count} x {width}", values.len()))
        })
}
