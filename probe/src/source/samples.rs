//! One split: features, labels, and where they come from.

use std::ops::Range;

use ddae_data::split::Split;
use ddae_store::{FeatureFile, FeatureKey, FeatureType, Provenance};
use ndarray::{Array2, s};
use rayon::prelude::*;
use serde_json::{Map, Value, json};

use super::feature_set::{FeatureSet, join};
use crate::error::{ProbeError, Result};

/// The samples of one split with their labels.
pub struct Samples {
    content: Content,
    labels: Vec<i64>,
    origin: String,
}

enum Content {
    File(Box<FeatureFile>),
    Pixels(Split),
}

impl Samples {
    /// The samples of a feature file.
    ///
    /// # Errors
    /// When its labels cannot be read.
    pub fn of_file(file: FeatureFile) -> Result<Self> {
        let origin = file.path().display().to_string();
        let labels = file.labels()?;
        Self::checked(Content::File(Box::new(file)), labels, origin)
    }

    /// The images of a split.
    ///
    /// # Errors
    /// When there are none.
    pub(crate) fn of_pixels(split: Split) -> Result<Self> {
        let origin = split.name().to_string();
        let labels = (0..split.len()).map(|index| split.label(index) as i64).collect();
        Self::checked(Content::Pixels(split), labels, origin)
    }

    fn checked(content: Content, labels: Vec<i64>, origin: String) -> Result<Self> {
        if labels.is_empty() {
            return Err(ProbeError::Empty { origin });
        }
        Ok(Self { content, labels, origin })
    }

    /// The feature file's path, or the data set's name.
    pub(crate) fn origin(&self) -> &str {
        &self.origin
    }

    /// The label of every sample.
    pub fn labels(&self) -> &[i64] {
        &self.labels
    }

    /// How many views each sample has.
    pub fn views(&self) -> usize {
        match &self.content {
            Content::File(file) => file.views(),
            Content::Pixels(_) => 1,
        }
    }

    /// How features are stored: `f32`, `f16` or `u8`.
    pub fn dtype(&self) -> &'static str {
        match &self.content {
            Content::File(file) => match file.dtype() {
                FeatureType::F32 => "f32",
                FeatureType::F16 => "f16",
            },
            Content::Pixels(_) => "u8",
        }
    }

    /// What a feature file says of its making.
    pub(crate) fn provenance(&self) -> Option<&Provenance> {
        match &self.content {
            Content::File(file) => Some(file.provenance()),
            Content::Pixels(_) => None,
        }
    }

    /// What is known of where the samples come from.
    pub fn attributes(&self) -> Map<String, Value> {
        match &self.content {
            Content::File(file) => file.attributes(),
            Content::Pixels(split) => {
                let mut attributes = Map::new();
                attributes.insert("data_set".into(), json!(split.name()));
                attributes.insert("shape".into(), json!(split.shape()));
                attributes
            }
        }
    }

    /// The number of features in `features`.
    ///
    /// # Errors
    /// When they do not exist; the message lists those that do.
    pub fn dim(&self, features: &FeatureSet) -> Result<usize> {
        match (&self.content, features) {
            (Content::File(file), FeatureSet::Taps(keys)) => {
                keys.iter().map(|key| file.dim(key).map_err(|_| self.unknown(key))).sum()
            }
            (Content::Pixels(split), FeatureSet::Pixels) => Ok(split.image_len()),
            _ => Err(self.unknown(features)),
        }
    }

    fn unknown(&self, wanted: &dyn std::fmt::Display) -> ProbeError {
        let known = match &self.content {
            Content::File(file) => join(file.keys(), ", "),
            Content::Pixels(_) => "pixels".to_string(),
        };
        ProbeError::UnknownFeature { path: self.origin.clone().into(), wanted: wanted.to_string(), known }
    }

    /// Reads `features` of one view of consecutive samples, `[rows.len(), D]`.
    ///
    /// # Errors
    /// When they cannot be read, or a value is NaN or infinite.
    pub fn read(&self, features: &FeatureSet, view: usize, rows: Range<usize>) -> Result<Array2<f32>> {
        let values = match (&self.content, features) {
            (Content::File(file), FeatureSet::Taps(keys)) => read_taps(file, keys, view, rows.clone())?,
            (Content::Pixels(split), FeatureSet::Pixels) => read_pixels(split, rows.clone())?,
            _ => return Err(self.unknown(features)),
        };
        if let Some(((row, column), &value)) = values.indexed_iter().find(|(_, value)| !value.is_finite()) {
            let (features, column) = self.locate(features, column);
            let row = rows.start + row;
            return Err(ProbeError::NotFinite {
                origin: self.origin.clone(),
                features,
                value,
                row,
                column,
                view,
            });
        }
        Ok(values)
    }

    /// Which part of joined features a column belongs to, and its position there.
    fn locate(&self, features: &FeatureSet, mut column: usize) -> (String, usize) {
        for part in features.parts() {
            match self.dim(&part) {
                Ok(dim) if column >= dim => column -= dim,
                _ => return (part.to_string(), column),
            }
        }
        (features.to_string(), column)
    }
}

fn read_taps(
    file: &FeatureFile,
    keys: &[FeatureKey],
    view: usize,
    rows: Range<usize>,
) -> Result<Array2<f32>> {
    if let [key] = keys {
        return Ok(file.read(key, view, rows)?);
    }
    let dims = keys.iter().map(|key| file.dim(key)).collect::<std::result::Result<Vec<_>, _>>()?;
    let mut joined = Array2::zeros((rows.len(), dims.iter().sum()));
    let mut start = 0;
    for (key, dim) in keys.iter().zip(dims) {
        joined.slice_mut(s![.., start..start + dim]).assign(&file.read(key, view, rows.clone())?);
        start += dim;
    }
    Ok(joined)
}

fn read_pixels(split: &Split, rows: Range<usize>) -> Result<Array2<f32>> {
    let mut values = Array2::zeros((rows.len(), split.image_len()));
    let targets: Vec<_> = values.rows_mut().into_iter().zip(rows).collect();
    targets.into_par_iter().try_for_each(|(mut target, index)| {
        let mut levels = vec![0; split.image_len()];
        split.read(index, &mut levels)?;
        target.iter_mut().zip(levels).for_each(|(value, level)| *value = f32::from(level) / 255.0);
        Ok::<(), ProbeError>(())
    })?;
    Ok(values)
}
