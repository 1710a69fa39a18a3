//! Two noisings of the same images: two views in one feature file, or one view in each of two.

use std::ops::Range;

use ddae_store::{Pairing, Provenance};
use ndarray::Array2;

use crate::error::{ProbeError, Result};
use crate::source::feature_set::FeatureSet;
use crate::source::opened::{Content, Input, Opened, common_features};
use crate::source::{self, samples::Samples};

/// Features of images at two independent noisings.
pub struct Noisings {
    first: Samples,
    /// Where the second noising is; none where it is the second view of `first`.
    second: Option<Samples>,
    /// The features that both noisings have, one by one.
    available: Vec<FeatureSet>,
    /// What the reader should know before trusting the numbers.
    pub(crate) notes: Vec<String>,
}

impl Noisings {
    /// Opens a feature file with at least two views, or two files with the same images. Labels are not needed.
    ///
    /// # Errors
    /// When a file cannot be read or is a shard, there is one view only, or the files hold other images or were made in
    /// other ways.
    pub fn open(first: &Input, second: Option<&Input>) -> Result<Self> {
        let flatten = first.flatten;
        let first = Opened::open(first, false)?;
        let Some(second) = second else {
            source::refuse_flatten(flatten, &[&first])?;
            let available = common_features(&first, &first)?;
            match &first.content {
                Content::Own { file, .. } if file.views() >= 2 => {}
                Content::Own { file, .. } => {
                    return Err(ProbeError::OneView { path: file.path().to_path_buf() });
                }
                Content::Foreign(_) => {
                    let reason = "it holds one row for each image, and alignment compares two noisings: give a second \
                                  file with the features of the same images at other noise"
                        .to_string();
                    return Err(ProbeError::File { path: first.origin.into(), reason });
                }
            }
            let notes = first.notes();
            return Ok(Self { first: source::samples(first, Vec::new())?, second: None, available, notes });
        };
        let second = Opened::open(second, false)?;
        source::refuse_flatten(flatten, &[&first, &second])?;
        let notes = source::compare(&first, &second, Pairing::Noisings)?;
        check_images(&first, &second)?;
        refuse_without_noise(&first)?;
        let available = common_features(&first, &second)?;
        let first = source::samples(first, Vec::new())?;
        Ok(Self { first, second: Some(source::samples(second, Vec::new())?), available, notes })
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.first.len()
    }

    /// Whether there are none; never so.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a file that others wrote is among them: its features are named with the file, and not chosen.
    pub fn is_foreign(&self) -> bool {
        [Some(&self.first), self.second.as_ref()]
            .into_iter()
            .flatten()
            .any(|samples| samples.read_as().is_some())
    }

    /// The features that both noisings have, one by one.
    pub(super) fn available(&self) -> &[FeatureSet] {
        &self.available
    }

    /// The number of features in `features`.
    ///
    /// # Errors
    /// When they do not exist, or the files disagree.
    pub fn dim(&self, features: &FeatureSet) -> Result<usize> {
        let dim = self.first.dim(features)?;
        if let Some(second) = &self.second {
            let second_dim = second.dim(features)?;
            if dim != second_dim {
                return Err(ProbeError::Dims {
                    features: features.to_string(),
                    train: self.first.origin().into(),
                    test: second.origin().into(),
                    train_dim: dim,
                    test_dim: second_dim,
                });
            }
        }
        Ok(dim)
    }

    /// Reads `features` of consecutive images at both noisings, `[rows.len(), D]` each.
    ///
    /// # Errors
    /// When they cannot be read, or a value is NaN or infinite.
    pub fn read(&self, features: &FeatureSet, rows: Range<usize>) -> Result<(Array2<f32>, Array2<f32>)> {
        let first = self.first.read(features, 0, rows.clone())?;
        let second = match &self.second {
            Some(second) => second.read(features, 0, rows)?,
            None => self.first.read(features, 1, rows)?,
        };
        Ok((first, second))
    }

    /// The files.
    pub(crate) fn origin(&self) -> String {
        match &self.second {
            Some(second) => format!("{} and {}", self.first.origin(), second.origin()),
            None => self.first.origin().to_string(),
        }
    }

    /// Which views of which files the noisings are.
    pub(crate) fn describe(&self) -> String {
        match &self.second {
            Some(_) => format!("the first views of {}", self.origin()),
            None => format!("the first two of {} views of {}", self.first.views(), self.origin()),
        }
    }

    /// How features are stored: `f32` or `f16`, or as another program stores them.
    pub fn dtype(&self) -> &'static str {
        self.first.dtype()
    }

    /// What becomes of numbers that another program stored.
    pub(super) fn read_as(&self) -> Option<&'static str> {
        self.first.read_as()
    }

    /// What is known of where the features come from; of the first file.
    pub(super) fn provenance(&self) -> Provenance {
        self.first.provenance().cloned().unwrap_or_default()
    }
}

/// Refuses features of images that were seen without noise: of the same images they would be the same.
fn refuse_without_noise(opened: &Opened) -> Result<()> {
    let Content::Own { file, .. } = &opened.content else { return Ok(()) };
    if !file.provenance().is_without_noise() {
        return Ok(());
    }
    let reason = "it was extracted with --noise none, and alignment compares two noisings: extract again without --noise, \
                  with --views 2, or twice with other seeds";
    Err(ProbeError::File { path: opened.origin.clone().into(), reason: reason.to_string() })
}

/// Checks that the rows of two files are the same images in the same order, as far as they say which they are.
fn check_images(first: &Opened, second: &Opened) -> Result<()> {
    let other = |what: String| {
        Err(ProbeError::OtherImages {
            first: first.origin.clone().into(),
            second: second.origin.clone().into(),
            what,
        })
    };
    if first.len() != second.len() {
        return other(format!("the first has {} and the second {}", first.len(), second.len()));
    }
    let (Content::Own { file: a, .. }, Content::Own { file: b, .. }) = (&first.content, &second.content)
    else {
        return Ok(());
    };
    let indices = a.indices()?.into_iter().zip(b.indices()?);
    if let Some((row, (a, b))) = indices.enumerate().find(|(_, (a, b))| a != b) {
        return other(format!("row {row} is image {a} in the first and image {b} in the second"));
    }
    Ok(())
}
