//! The rows that a probe sees.

use std::ops::Range;

use ddae_classify::error as classify;
use ddae_classify::rows::{PASS_BYTES, Rows};
use ndarray::{Array2, s};

use super::feature_set::FeatureSet;
use super::samples::Samples;
use crate::error::Result;

/// What becomes of the views of a training sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Views {
    /// One row: the mean of the views.
    Average,
    /// One row: the first view.
    First,
    /// One row for each view, all with the sample's label.
    All,
    /// One row: any view, drawn anew each time a probe passes over the training set. Of test
    /// samples, and where nothing draws, the first.
    Drawn,
}

impl Views {
    /// The name on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Average => "average",
            Self::First => "first",
            Self::All => "all",
            Self::Drawn => "drawn",
        }
    }

    /// How the views of a test sample become its one row.
    pub(crate) fn for_test(self) -> Self {
        match self {
            Self::All => Self::Average,
            Self::Drawn => Self::First,
            Self::Average | Self::First => self,
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
        self.subset.map_or(self.samples.len(), <[usize]>::len)
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

    /// The shape of a row that is a map ([`Samples::map_shape`]).
    pub(crate) fn map_shape(&self) -> Option<Vec<usize>> {
        self.samples.map_shape(self.features)
    }

    /// What becomes of the views of a sample.
    pub fn views(&self) -> Views {
        self.views
    }

    /// How many views each sample has.
    pub(crate) fn view_count(&self) -> usize {
        self.samples.views()
    }

    /// Where the samples come from.
    pub(crate) fn origin(&self) -> &str {
        self.samples.origin()
    }

    fn rows_per_sample(&self) -> usize {
        if self.views == Views::All { self.samples.views() } else { 1 }
    }

    /// Reads the samples at the positions `range`, each in the view that `view_of` gives for its position:
    /// `[range.len(), D]`. Every view that is asked for is read once.
    ///
    /// # Errors
    /// As [`Rows::read`].
    pub(crate) fn read_drawn(
        &self,
        range: Range<usize>,
        view_of: &dyn Fn(usize) -> usize,
    ) -> Result<Array2<f32>> {
        let views: Vec<usize> = range.clone().map(view_of).collect();
        let mut rows = Array2::zeros((range.len(), self.dim));
        for view in 0..self.samples.views() {
            if !views.contains(&view) {
                continue;
            }
            let block = self.read_view(view, range.clone())?;
            for (row, _) in views.iter().enumerate().filter(|(_, drawn)| **drawn == view) {
                rows.row_mut(row).assign(&block.row(row));
            }
        }
        Ok(rows)
    }

    /// Reads one view of the samples at the positions `range` of the subset.
    fn read_view(&self, view: usize, range: Range<usize>) -> Result<Array2<f32>> {
        let Some(subset) = self.subset else {
            return self.samples.read(self.features, view, range);
        };
        let mut left = &subset[range];
        let mut rows = Array2::zeros((left.len(), self.dim));
        let mut targets = rows.rows_mut().into_iter();
        // The samples between those of a sparse subset are read along with them, a block at a time.
        let longest = (PASS_BYTES / (4 * self.dim.max(1))).max(1);
        while let Some(&first) = left.first() {
            let (near, far) = left.split_at(left.partition_point(|&sample| sample - first < longest));
            let last = near[near.len() - 1];
            let block = self.samples.read(self.features, view, first..last + 1)?;
            for (&sample, mut target) in near.iter().zip(&mut targets) {
                target.assign(&block.row(sample - first));
            }
            left = far;
        }
        Ok(rows)
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
    fn read(&self, range: Range<usize>) -> classify::Result<Array2<f32>> {
        match self.views {
            Views::First | Views::Drawn => Ok(self.read_view(0, range)?),
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

#[cfg(test)]
mod tests {
    use ddae_data::Split;

    use super::*;

    /// Images so large that four of them are a block.
    #[test]
    fn sparse_subsets_are_read_block_by_block() {
        let (count, size) = (12, 1 << 20);
        let level = |i: usize| (i / size * 20 + i % 7) as u8;
        let levels = (0..count * size).map(level).collect();
        let classes = vec!["a".into(), "b".into()];
        let split = Split::in_memory("large", classes, vec![0; count], [1, 1024, 1024], levels);
        let samples = Samples::of_pixels(split.expect("consistent")).expect("samples");
        let subset = [0, 3, 4, 9, 10, 11];
        let table =
            Table::new(&samples, &FeatureSet::Pixels, Views::Average, Some(&subset)).expect("a table");
        let rows = table.read(1..6).expect("rows");
        assert_eq!(rows.dim(), (5, size));
        for (row, sample) in rows.rows().into_iter().zip(&subset[1..]) {
            let expected = |i: usize| f32::from(level(sample * size + i)) / 255.0;
            assert!((0..size).all(|i| row[i] == expected(i)), "sample {sample}");
        }
        assert_eq!(table.read(2..2).expect("no rows").dim(), (0, size));
    }
}
