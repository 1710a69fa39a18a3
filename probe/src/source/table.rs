//! The rows that a probe sees.

use std::ops::Range;

use ndarray::{Array2, Axis, s};

use super::feature_set::FeatureSet;
use super::samples::Samples;
use crate::error::Result;
use crate::rows::Rows;

/// What becomes of the views of a training sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Views {
    /// One row: the mean of the views.
    Average,
    /// One row: the first view.
    First,
    /// One row for each view, all with the sample's label.
    All,
}

impl Views {
    /// The name on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Average => "average",
            Self::First => "first",
            Self::All => "all",
        }
    }

    /// How the views of a test sample become its one row.
    pub fn for_test(self) -> Self {
        match self {
            Self::All => Self::Average,
            other => other,
        }
    }
}

/// Some features of some samples, as rows.
pub struct Table<'a> {
    samples: &'a Samples,
    features: &'a FeatureSet,
    views: Views,
    /// Positions of the samples, ascending; none for all.
    subset: Option<&'a [usize]>,
    dim: usize,
}

impl<'a> Table<'a> {
    /// The rows of `samples`, or of those at the positions `subset` (ascending).
    ///
    /// # Errors
    /// When the samples do not have the features.
    pub fn new(
        samples: &'a Samples,
        features: &'a FeatureSet,
        views: Views,
        subset: Option<&'a [usize]>,
    ) -> Result<Self> {
        Ok(Self { samples, features, views, subset, dim: samples.dim(features)? })
    }

    /// The number of samples.
    pub fn samples(&self) -> usize {
        self.subset.map_or(self.samples.labels().len(), <[usize]>::len)
    }

    /// The label of every row.
    pub fn labels(&self) -> Vec<i64> {
        let labels = self.samples.labels();
        let of_samples: Vec<i64> = match self.subset {
            Some(subset) => subset.iter().map(|&sample| labels[sample]).collect(),
            None => labels.to_vec(),
        };
        of_samples.repeat(self.rows_per_sample())
    }

    /// Which features the rows hold.
    pub fn features(&self) -> &FeatureSet {
        self.features
    }

    /// Where the samples come from.
    pub fn origin(&self) -> &str {
        self.samples.origin()
    }

    fn rows_per_sample(&self) -> usize {
        if self.views == Views::All { self.samples.views() } else { 1 }
    }

    /// Reads one view of the samples at the positions `range` of the subset.
    fn read_view(&self, view: usize, range: Range<usize>) -> Result<Array2<f32>> {
        let Some(subset) = self.subset else {
            return self.samples.read(self.features, view, range);
        };
        let subset = &subset[range];
        let (Some(&first), Some(&last)) = (subset.first(), subset.last()) else {
            return Ok(Array2::zeros((0, self.dim)));
        };
        let span = self.samples.read(self.features, view, first..last + 1)?;
        let positions: Vec<usize> = subset.iter().map(|sample| sample - first).collect();
        Ok(span.select(Axis(0), &positions))
    }
}

impl Rows for Table<'_> {
    fn len(&self) -> usize {
        self.samples() * self.rows_per_sample()
    }

    fn dim(&self) -> usize {
        self.dim
    }

    /// With [`Views::All`] the rows are all samples in their first view, then all in their second, and so on.
    fn read(&self, range: Range<usize>) -> Result<Array2<f32>> {
        match self.views {
            Views::First => self.read_view(0, range),
            Views::Average => {
                let mut sum = self.read_view(0, range.clone())?;
                for view in 1..self.samples.views() {
                    sum += &self.read_view(view, range.clone())?;
                }
                if self.samples.views() > 1 {
                    sum /= self.samples.views() as f32;
                }
                Ok(sum)
            }
            Views::All => {
                let samples = self.samples();
                let mut rows = Array2::zeros((range.len(), self.dim));
                let mut start = range.start;
                while start < range.end {
                    let view = start / samples;
                    let end = range.end.min((view + 1) * samples);
                    let part = self.read_view(view, start - view * samples..end - view * samples)?;
                    rows.slice_mut(s![start - range.start..end - range.start, ..]).assign(&part);
                    start = end;
                }
                Ok(rows)
            }
        }
    }
}
