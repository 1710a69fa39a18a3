//! One split: features, labels, and where they come from.

use std::ops::Range;

use ddae_data::split::Split;
use ddae_store::{FeatureFile, FeatureKey, FeatureType, Provenance};
use ndarray::{Array2, s};
use rayon::prelude::*;
use serde_json::{Map, Value, json};

use super::feature_set::{FeatureSet, join};
use super::foreign::{Foreign, UNKNOWN_MAKING};
use crate::error::{ProbeError, Result};

/// The samples of one split with their labels.
pub struct Samples {
    content: Content,
    /// Empty where none are needed.
    labels: Vec<i64>,
    len: usize,
    origin: String,
}

enum Content {
    File(Box<FeatureFile>),
    /// Rows of several files after each other; never empty.
    Parts(Vec<FeatureFile>),
    Pixels(Split),
    Foreign(Box<Foreign>),
}

impl Samples {
    /// The samples of a feature file.
    ///
    /// # Errors
    /// When its labels cannot be read.
    pub fn of_file(file: FeatureFile) -> Result<Self> {
        let labels = file.labels()?;
        Self::of_labelled_file(file, labels)
    }

    /// The samples of several feature files of one data set, those of the first before those of the next. They have the
    /// features that the last one has.
    ///
    /// # Errors
    /// When there is none, or its labels cannot be read.
    pub(crate) fn of_parts(files: Vec<FeatureFile>) -> Result<Self> {
        let mut labels = Vec::new();
        for file in &files {
            labels.extend(file.labels()?);
        }
        let paths: Vec<String> = files.iter().map(|file| file.path().display().to_string()).collect();
        let (origin, len) = (paths.join(" and "), labels.len());
        Self::checked(Content::Parts(files), labels, len, origin)
    }

    /// The samples of a feature file, with labels from elsewhere.
    pub(super) fn of_labelled_file(file: FeatureFile, labels: Vec<i64>) -> Result<Self> {
        let origin = file.path().display().to_string();
        let len = file.len();
        Self::checked(Content::File(Box::new(file)), labels, len, origin)
    }

    /// Features that others computed; `labels` is empty where none are needed.
    pub(crate) fn of_foreign(foreign: Foreign, labels: Vec<i64>, origin: String) -> Result<Self> {
        let len = foreign.rows();
        Self::checked(Content::Foreign(Box::new(foreign)), labels, len, origin)
    }

    /// The images of a split.
    ///
    /// # Errors
    /// When there are none.
    pub(crate) fn of_pixels(split: Split) -> Result<Self> {
        let origin = split.name().to_string();
        let (len, labels) = (split.len(), (0..split.len()).map(|index| split.label(index) as i64).collect());
        Self::checked(Content::Pixels(split), labels, len, origin)
    }

    fn checked(content: Content, labels: Vec<i64>, len: usize, origin: String) -> Result<Self> {
        if len == 0 {
            return Err(ProbeError::Empty { origin });
        }
        Ok(Self { content, labels, len, origin })
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The feature file's path, or the data set's name.
    pub(crate) fn origin(&self) -> &str {
        &self.origin
    }

    /// The feature file, where they are of one of ours.
    pub(crate) fn file(&self) -> Option<&FeatureFile> {
        match &self.content {
            Content::File(file) => Some(file),
            Content::Parts(_) | Content::Pixels(_) | Content::Foreign(_) => None,
        }
    }

    /// What each row is called: the path of its image, or its number.
    ///
    /// # Errors
    /// When the paths cannot be read.
    pub(crate) fn keys(&self) -> Result<Vec<String>> {
        match self.file().filter(|file| file.has_paths()) {
            Some(file) => Ok(file.paths(0..self.len)?),
            None => Ok((0..self.len).map(|row| row.to_string()).collect()),
        }
    }

    /// The label of every sample.
    pub fn labels(&self) -> &[i64] {
        &self.labels
    }

    /// How many views each sample has.
    pub fn views(&self) -> usize {
        match &self.content {
            Content::File(file) => file.views(),
            Content::Parts(files) => files.iter().map(FeatureFile::views).min().unwrap_or(1),
            Content::Pixels(_) | Content::Foreign(_) => 1,
        }
    }

    /// How features are stored: `f32`, `f16` or `u8`, or as another program stores them.
    pub fn dtype(&self) -> &'static str {
        let of_type = |dtype| match dtype {
            FeatureType::F32 => "f32",
            FeatureType::F16 => "f16",
        };
        match &self.content {
            Content::File(file) => of_type(file.dtype()),
            Content::Parts(files) => files.last().map_or("f32", |file| of_type(file.dtype())),
            Content::Pixels(_) => "u8",
            Content::Foreign(foreign) => foreign.stored_as(),
        }
    }

    /// What becomes of stored numbers that others wrote, in words; none where that goes without saying.
    pub(crate) fn read_as(&self) -> Option<&'static str> {
        match &self.content {
            Content::File(_) | Content::Parts(_) | Content::Pixels(_) => None,
            Content::Foreign(foreign) => Some(foreign.read_as()),
        }
    }

    /// What a feature file says of its making.
    pub(crate) fn provenance(&self) -> Option<&Provenance> {
        match &self.content {
            Content::File(file) => Some(file.provenance()),
            Content::Parts(_) | Content::Pixels(_) | Content::Foreign(_) => None,
        }
    }

    /// What is known of where the samples come from.
    pub fn attributes(&self) -> Map<String, Value> {
        match &self.content {
            Content::File(file) => file.attributes(),
            Content::Parts(files) => files.last().map(FeatureFile::attributes).unwrap_or_default(),
            Content::Pixels(split) => {
                let mut attributes = Map::new();
                attributes.insert("data_set".into(), json!(split.name()));
                attributes.insert("shape".into(), json!(split.shape()));
                attributes
            }
            Content::Foreign(foreign) => {
                let mut attributes = Map::new();
                attributes.insert("made".into(), json!(UNKNOWN_MAKING));
                attributes.insert("format".into(), json!(foreign.format));
                attributes.insert("array".into(), json!(foreign.name));
                attributes.insert("stored_as".into(), json!(foreign.stored_as()));
                attributes.insert("read_as".into(), json!(foreign.read_as()));
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
            (Content::Parts(files), FeatureSet::Taps(keys)) => {
                let file = files.last();
                let of = |key: &FeatureKey| {
                    file.and_then(|file| file.dim(key).ok()).ok_or_else(|| self.unknown(key))
                };
                keys.iter().map(of).sum()
            }
            (Content::Pixels(split), FeatureSet::Pixels) => Ok(split.image_len()),
            (Content::Foreign(foreign), features) if is_one(features) => Ok(foreign.dim()),
            _ => Err(self.unknown(features)),
        }
    }

    /// The shape of what is stored as a row of `features`, where a feature file says it: `[D, H, W]` of a map, `[T, D]` of tokens;
    /// none of pooled features and of several joined.
    pub(crate) fn map_shape(&self, features: &FeatureSet) -> Option<Vec<usize>> {
        let (Content::File(file), FeatureSet::Taps(keys)) = (&self.content, features) else { return None };
        let [key] = keys.as_slice() else { return None };
        file.map_shape(key)
    }

    fn unknown(&self, wanted: &dyn std::fmt::Display) -> ProbeError {
        let known = match &self.content {
            Content::File(file) => join(file.keys(), ", "),
            Content::Parts(files) => files.last().map(|file| join(file.keys(), ", ")).unwrap_or_default(),
            Content::Pixels(_) => "pixels".to_string(),
            Content::Foreign(foreign) => format!("one table of {} features", foreign.dim()),
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
            (Content::Parts(files), FeatureSet::Taps(keys)) => {
                read_parts(files, keys, view, rows.clone(), self.dim(features)?)?
            }
            (Content::Pixels(split), FeatureSet::Pixels) => read_pixels(split, rows.clone())?,
            (Content::Foreign(foreign), features) if is_one(features) => {
                let reason = |reason| ProbeError::File { path: self.origin.clone().into(), reason };
                foreign.read(rows.clone()).map_err(reason)?
            }
            _ => return Err(self.unknown(features)),
        };
        if let Some(((row, column), &value)) = values.indexed_iter().find(|(_, value)| !value.is_finite()) {
            let (features, column) = self.locate(features, column);
            let row = rows.start + row;
            if let Content::Foreign(_) = self.content {
                let reason = format!(
                    "{features} is {value} in row {row}, column {column} (both counted from 0): every feature must be a \
                     finite number; repair or leave out the row"
                );
                return Err(ProbeError::File { path: self.origin.clone().into(), reason });
            }
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

/// Whether features are one table, as that of a file that others wrote: it stands for a tap of a feature file beside it.
fn is_one(features: &FeatureSet) -> bool {
    match features {
        FeatureSet::Matrix(_) => true,
        FeatureSet::Taps(keys) => keys.len() == 1,
        FeatureSet::Pixels => false,
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

/// Rows that lie in several files after each other, `[rows.len(), dim]`.
fn read_parts(
    files: &[FeatureFile],
    keys: &[FeatureKey],
    view: usize,
    rows: Range<usize>,
    dim: usize,
) -> Result<Array2<f32>> {
    let mut all = Array2::zeros((rows.len(), dim));
    let mut start = 0;
    for file in files {
        let of_file = start..start + file.len();
        let (first, last) = (rows.start.max(of_file.start), rows.end.min(of_file.end));
        if first < last {
            let part = read_taps(file, keys, view, first - start..last - start)?;
            all.slice_mut(s![first - rows.start..last - rows.start, ..]).assign(&part);
        }
        start = of_file.end;
    }
    Ok(all)
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
