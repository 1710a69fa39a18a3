//! Where the rows of a job come from: images, or latents that an earlier job stored.

use std::path::Path;
use std::sync::Arc;

use ddae_base::random::{ImageKey, Purpose};
use ddae_data::augment::Augmenter;
use ddae_data::resize::Rule;
use ddae_data::split::Split;
use ddae_store::{FeatureFile, FeatureKey, Provenance};
use ndarray::Array2;

use crate::error::InferError;

/// The layer of a file of latents: the output of a graph of kind `latent`.
pub const LATENT: &str = "latent";

/// The rows of a job, with their labels.
#[derive(Clone, Debug)]
pub enum Source {
    /// Images.
    Images(Images),
    /// Latents of images in a feature file.
    Latents(Arc<StoredLatents>),
}

/// Images in the shape that a graph takes.
#[derive(Clone, Debug)]
pub struct Images {
    /// The images, in the network's shape, or in that of the graph that makes latents of them.
    pub split: Split,
    /// The same at their own size, where they are cropped and mirrored before they are resized.
    pub own: Option<OwnSize>,
}

/// Images at their own size.
#[derive(Clone, Debug)]
pub struct OwnSize {
    /// The images, with the channels that the graph takes.
    pub split: Split,
    /// How they are resized.
    pub rule: Rule,
}

impl From<Split> for Source {
    fn from(split: Split) -> Source {
        Source::Images(Images { split, own: None })
    }
}

impl Source {
    /// Data set and split, such as `cifar10/train`.
    pub fn name(&self) -> &str {
        match self {
            Source::Images(images) => images.split.name(),
            Source::Latents(latents) => latents.provenance().data_set.as_deref().unwrap_or_default(),
        }
    }

    /// The images, where they are the rows.
    pub fn images(&self) -> Option<&Split> {
        match self {
            Source::Images(images) => Some(&images.split),
            Source::Latents(_) => None,
        }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        match self {
            Source::Images(images) => images.split.len(),
            Source::Latents(latents) => latents.file.len(),
        }
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Shape of what is read for a row: the image in the graph's shape, or the latent.
    pub fn shape(&self) -> [usize; 3] {
        match self {
            Source::Images(images) => images.split.shape(),
            Source::Latents(latents) => latents.shape,
        }
    }

    /// Number of a row's image in its split.
    pub(super) fn id(&self, row: usize) -> u64 {
        match self {
            Source::Images(images) => images.split.id(row),
            Source::Latents(latents) => latents.indices[row],
        }
    }

    /// Label of a row.
    pub(super) fn label(&self, row: usize) -> i64 {
        match self {
            Source::Images(images) => images.split.label(row) as i64,
            Source::Latents(latents) => latents.labels[row],
        }
    }

    /// What tells a row's image from others: its path, its name in an archive, or its number.
    pub(super) fn key(&self, row: usize) -> String {
        match self {
            Source::Images(images) => images.split.key(row),
            Source::Latents(latents) => latents.paths[row].clone(),
        }
    }
}

impl Images {
    /// The shape in which images are augmented.
    pub(super) fn augmented_shape(&self) -> [usize; 3] {
        self.own.as_ref().map_or(self.split.shape(), |own| own.split.shape())
    }

    /// Reads the image of a row, augmented for `view`, into `out`. Returns what its draws are keyed by: the image in the graph's
    /// shape as it is.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn read(
        &self,
        row: usize,
        augmenter: &mut Augmenter,
        seed: u64,
        view: usize,
        out: &mut [u8],
    ) -> Result<ImageKey, InferError> {
        self.split.read(row, out)?;
        let key = ImageKey::new(self.split.name(), self.split.id(row), out);
        let mut draws = key.stream(seed, Purpose::Augment, view as u64);
        let Some(OwnSize { split, rule }) = &self.own else {
            augmenter.apply(out, &mut draws);
            return Ok(key);
        };
        let mut levels = vec![0; split.image_len()];
        split.read(row, &mut levels)?;
        augmenter.apply(&mut levels, &mut draws);
        let [_, height, width] = self.split.shape();
        let resized = rule.apply(&levels, split.shape(), [height, width]).ok_or_else(|| {
            InferError::Argument(format!("--before-resize: --resize {rule} leaves images at their own size"))
        })?;
        out.copy_from_slice(&resized);
        Ok(key)
    }
}

/// The latents of a feature file that a graph of kind `latent` gave: `[views, N, C H W]`.
#[derive(Debug)]
pub struct StoredLatents {
    file: FeatureFile,
    key: FeatureKey,
    shape: [usize; 3],
    labels: Vec<i64>,
    indices: Vec<u64>,
    paths: Vec<String>,
    image_keys: Vec<ImageKey>,
}

impl StoredLatents {
    /// Opens a whole file of latents. What is in memory is all but the latents, about 200 bytes an image.
    ///
    /// # Errors
    /// When it cannot be read, is a shard, or holds something else.
    pub fn open(path: &Path) -> Result<StoredLatents, InferError> {
        let file = FeatureFile::open(path)?;
        let wrong = |message: String| InferError::Model { path: path.to_path_buf(), message };
        let provenance = file.provenance();
        let graph = provenance.graph.as_deref().unwrap_or("features");
        if graph != LATENT {
            return Err(wrong(format!(
                "it holds features of a graph of kind '{graph}', and --latents wants those of one of kind 'latent': \
                 `ddae-infer features LATENT.onnx -o latents` makes them"
            )));
        }
        let (rows, total) = (file.rows(), file.layout().total);
        if rows.len() < total {
            return Err(wrong(format!(
                "it is a shard with rows {} to {} of {total}: join all shards with `ddae-infer merge`",
                rows.start,
                rows.end - 1
            )));
        }
        let (key, shape) = match file.keys() {
            [key] => (key.clone(), file.map_shape(key).and_then(|shape| <[usize; 3]>::try_from(shape).ok())),
            _ => (FeatureKey::new(0, LATENT), None),
        };
        let Some(shape) = shape else {
            return Err(wrong("it does not say the shape of its latents: make it again".to_string()));
        };
        if !file.has_image_keys() || !file.has_paths() {
            return Err(wrong(
                "it does not say what the noise of its images is keyed by: make it again".to_string(),
            ));
        }
        let image_keys = file.image_keys(0..file.len())?.into_iter().enumerate().map(|(row, text)| {
            text.parse::<ImageKey>()
                .map_err(|reason| wrong(format!("the key of image {row} is '{text}': {reason}")))
        });
        let image_keys = image_keys.collect::<Result<_, _>>()?;
        let (labels, indices, paths) = (file.labels()?, file.indices()?, file.paths(0..file.len())?);
        Ok(StoredLatents { file, key, shape, labels, indices, paths, image_keys })
    }

    /// `[C, H, W]` of a latent.
    pub fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// Copies of each image.
    pub fn views(&self) -> usize {
        self.file.views()
    }

    /// How they are stored: `f32` or `f16`.
    pub fn dtype(&self) -> String {
        self.file.dtype().to_string()
    }

    /// How they were made.
    pub fn provenance(&self) -> &Provenance {
        self.file.provenance()
    }

    /// The latents of some rows in one view, `[rows, C H W]`, and what the draws for their images are keyed by.
    ///
    /// # Errors
    /// When the file is damaged.
    pub(super) fn read(
        &self,
        rows: std::ops::Range<usize>,
        view: usize,
    ) -> Result<(Array2<f32>, &[ImageKey]), InferError> {
        Ok((self.file.read(&self.key, view, rows.clone())?, &self.image_keys[rows]))
    }
}
