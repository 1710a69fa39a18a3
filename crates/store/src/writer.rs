//! Writing one shard of a feature job.

use std::ops::Range;
use std::path::{Path, PathBuf};

use half::f16;
use ndarray::{Array2, ArrayView, ArrayView2, s};

use super::file::Unfinished;
use super::header::Header;
use super::reader::{IMAGE_KEYS, PATHS};
use super::shards::{check_shards, shard_path, shard_rows};
use super::{FeatureError, FeatureKey, FeatureType, Layout, dimensions};

/// Paths that are in memory at a time.
pub(super) const PATH_ROWS: usize = 4096;

/// Writes the rows of one shard, in any order, which will be `prefix.0003-of-0010.h5`; [`ShardWriter::finish`] gives
/// the file its name, and nobody else writes it until then. Dropped before that, or after an error, it leaves nothing.
///
/// Rows are counted from the shard's first. Memory: about 64 KiB for every dataset and view.
pub struct ShardWriter {
    target: Unfinished,
    /// The numbers of the datasets in `target`.
    features: Vec<usize>,
    labels: usize,
    indices: usize,
    layout: Layout,
    rows: Range<usize>,
    /// What was written so far: the features by key and view, then the labels.
    written: Vec<Coverage>,
    /// The number of the dataset of the images' keys, and what was written of it, where the file is to have it.
    image_keys: Option<(usize, Coverage)>,
}

/// Bytes of the key of an image.
const IMAGE_KEY_BYTES: usize = 64;

impl ShardWriter {
    /// Begins shard `shard` (counted from 0) of `of`; `rows` are its rows in the job, as [`shard_rows`] says. The folder
    /// is created if there is none. An existing shard stays until this one is finished, and is then replaced.
    pub fn create(
        prefix: impl AsRef<Path>,
        shard: usize,
        of: usize,
        rows: Range<usize>,
        layout: &Layout,
    ) -> Result<Self, FeatureError> {
        layout.check()?;
        check_shards(layout, shard, of)?;
        let expected = shard_rows(layout.total, shard, of);
        if rows != expected {
            let total = layout.total;
            let reason =
                format!("shard {shard} of {of} of {total} rows holds rows {expected:?}, not {rows:?}");
            return Err(FeatureError::Layout(reason));
        }
        let mut target = Unfinished::create(&shard_path(prefix, shard, of))?;
        Header::new(layout.clone(), rows.clone(), Vec::new()).begin(&mut target)?;
        let keys = layout.keys.iter();
        let features = keys
            .map(|(key, width)| target.add_features(&key.dataset(), *width, rows.len(), layout))
            .collect::<Result<_, _>>()?;
        let labels = target.add_column::<i64>("labels", rows.len())?;
        let indices = target.add_column::<u64>("indices", rows.len())?;
        let numbers: Vec<u64> = rows.clone().map(|row| row as u64).collect();
        target.write(indices, ArrayView::from(&numbers), s![..])?;
        let written = vec![Coverage::default(); layout.keys.len() * layout.views + 1];
        let layout = layout.clone();
        Ok(Self { target, features, labels, indices, layout, rows, written, image_keys: None })
    }

    /// Writes the features of `view` for the rows from `row_offset` on; `features` is [rows, D].
    ///
    /// # Errors
    /// For a key, view, row or width that the layout does not have; for features that are not finite, or too large
    /// for f16; when the disk is full.
    pub fn write(
        &mut self,
        key: &FeatureKey,
        view: usize,
        row_offset: usize,
        features: ArrayView2<'_, f32>,
    ) -> Result<(), FeatureError> {
        let path = self.target.path();
        let range = |what: String| FeatureError::Range { path: path.to_path_buf(), what };
        let (place, width) = self.layout.find(key).ok_or_else(|| FeatureError::UnknownKey {
            path: path.to_path_buf(),
            key: key.clone(),
            known: self.layout.known(),
        })?;
        if view >= self.layout.views {
            return Err(range(format!("view {view} of {} (counted from 0)", self.layout.views)));
        }
        if features.ncols() != width {
            return Err(range(format!("{key} has {width} features, {} were given", features.ncols())));
        }
        let rows = self.checked_rows(row_offset, features.nrows())?;
        let limit = match self.layout.dtype {
            FeatureType::F32 => f32::MAX,
            // From here on half-precision numbers round to infinity.
            FeatureType::F16 => 65519.996,
        };
        let unfit = |value: &f32| value.is_nan() || value.abs() > limit;
        if let Some(((row, _), &value)) = features.indexed_iter().find(|(_, value)| unfit(value)) {
            let row = self.rows.start + row_offset + row;
            let advice = if value.is_finite() {
                "too large for f16, store f32"
            } else {
                "not a number that can be stored, check the model's weights and its precision"
            };
            return Err(FeatureError::Value { key: key.clone(), view, row, value, advice });
        }
        let (dataset, selection) = (self.features[place], s![view, rows.clone(), ..]);
        match self.layout.dtype {
            FeatureType::F32 => {
                self.target.write(dataset, features.as_standard_layout().view(), selection)?
            }
            FeatureType::F16 => {
                // In row-major order, whatever the layout of the view.
                let half = Array2::from_shape_fn(features.dim(), |at| f16::from_f32(features[at]));
                self.target.write(dataset, half.view(), selection)?;
            }
        }
        self.written[place * self.layout.views + view].add(rows);
        Ok(())
    }

    /// Writes the labels of the rows from `row_offset` on.
    pub fn write_labels(&mut self, row_offset: usize, labels: &[i64]) -> Result<(), FeatureError> {
        let rows = self.checked_rows(row_offset, labels.len())?;
        self.target.write(self.labels, ArrayView::from(labels), s![rows.clone()])?;
        if let Some(coverage) = self.written.last_mut() {
            coverage.add(rows);
        }
        Ok(())
    }

    /// Writes which images of the split the rows from `row_offset` on are. Where this is not called, row `i` of the
    /// job is image `i`.
    pub fn write_indices(&mut self, row_offset: usize, indices: &[u64]) -> Result<(), FeatureError> {
        let rows = self.checked_rows(row_offset, indices.len())?;
        self.target.write(self.indices, ArrayView::from(indices), s![rows])
    }

    /// Writes what tells the rows' images from others ([`FeatureFile::paths`](super::FeatureFile::paths)): `path` gives it
    /// for a row of the shard, and is asked twice for each. Where this is not called, the file has none.
    ///
    /// # Errors
    /// When one has a zero in it or more than 65,536 bytes, or was given before; when the disk is full.
    pub fn write_paths(&mut self, path: impl Fn(usize) -> String) -> Result<(), FeatureError> {
        let rows = self.rows.len();
        let longest = (0..rows).map(|row| path(row).len()).max().unwrap_or(0);
        let dataset = self.target.add_texts(PATHS, rows, longest)?;
        for begin in (0..rows).step_by(PATH_ROWS) {
            let paths: Vec<String> = (begin..rows.min(begin + PATH_ROWS)).map(&path).collect();
            self.target.write_texts(dataset, begin, &paths)?;
        }
        Ok(())
    }

    /// Writes what draws for the images of the rows from `row_offset` on are keyed by
    /// ([`FeatureFile::image_keys`](super::FeatureFile::image_keys)): 64 hexadecimal digits each. Where this is not called, the
    /// file has none; else those of all rows are wanted.
    ///
    /// # Errors
    /// When one is longer, or the disk is full.
    pub fn write_image_keys(&mut self, row_offset: usize, keys: &[String]) -> Result<(), FeatureError> {
        let rows = self.checked_rows(row_offset, keys.len())?;
        let (dataset, mut coverage) = match self.image_keys.take() {
            Some(begun) => begun,
            None => {
                (self.target.add_texts(IMAGE_KEYS, self.rows.len(), IMAGE_KEY_BYTES)?, Coverage::default())
            }
        };
        self.target.write_texts(dataset, row_offset, keys)?;
        coverage.add(rows);
        self.image_keys = Some((dataset, coverage));
        Ok(())
    }

    /// The shard's rows `offset..offset + count`, if it has them.
    fn checked_rows(&self, offset: usize, count: usize) -> Result<Range<usize>, FeatureError> {
        let end = offset.checked_add(count).filter(|&end| end <= self.rows.len());
        end.map(|end| offset..end).ok_or_else(|| FeatureError::Range {
            path: self.target.path().to_path_buf(),
            what: format!("{count} rows from row {offset} on do not fit in {}", self.rows.len()),
        })
    }

    /// Closes the shard, brings it to the disk and gives it its name, which is returned.
    ///
    /// # Errors
    /// When rows are missing, or the disk is full. Then there is no shard.
    pub fn finish(mut self) -> Result<PathBuf, FeatureError> {
        for (i, coverage) in self.written.iter().enumerate() {
            if let Some(rows) = coverage.first_gap(self.rows.len()) {
                let what = match self.layout.keys.get(i / self.layout.views) {
                    Some((key, _)) => format!("{key}, view {}", i % self.layout.views),
                    None => "labels".to_string(),
                };
                return Err(FeatureError::Incomplete { path: self.target.path().to_path_buf(), what, rows });
            }
        }
        if let Some(rows) =
            self.image_keys.as_ref().and_then(|(_, coverage)| coverage.first_gap(self.rows.len()))
        {
            let what = "keys of images".to_string();
            return Err(FeatureError::Incomplete { path: self.target.path().to_path_buf(), what, rows });
        }
        let (layout, rows) = (&self.layout, self.rows.len());
        self.target.with_file(|file| dimensions::describe(file, layout, rows))?;
        self.target.finish()
    }
}

/// Which rows were written, as ranges that do not touch, in order.
#[derive(Clone, Debug, Default)]
struct Coverage(Vec<Range<usize>>);

impl Coverage {
    fn add(&mut self, rows: Range<usize>) {
        if rows.is_empty() {
            return;
        }
        // The ranges that overlap or touch the new one become one with it.
        let begin = self.0.partition_point(|other| other.end < rows.start);
        let end = self.0.partition_point(|other| other.start <= rows.end);
        let joined = self.0[begin..end]
            .iter()
            .fold(rows, |joined, other| joined.start.min(other.start)..joined.end.max(other.end));
        self.0.splice(begin..end, [joined]);
    }

    /// The first rows of 0..count that were not written.
    fn first_gap(&self, count: usize) -> Option<Range<usize>> {
        let (begin, rest) = match self.0.first() {
            Some(first) if first.start == 0 => (first.end, &self.0[1..]),
            _ => (0, &self.0[..]),
        };
        let end = rest.first().map_or(count, |next| next.start);
        (begin < count).then_some(begin..end)
    }
}

#[cfg(test)]
mod tests {
    use super::Coverage;

    #[test]
    fn coverage_finds_the_first_gap() {
        let mut coverage = Coverage::default();
        assert_eq!(coverage.first_gap(10), Some(0..10));
        coverage.add(4..6);
        coverage.add(3..3);
        assert_eq!(coverage.first_gap(10), Some(0..4));
        coverage.add(0..2);
        assert_eq!(coverage.first_gap(10), Some(2..4));
        coverage.add(8..10);
        coverage.add(1..5);
        assert_eq!(coverage.first_gap(10), Some(6..8));
        coverage.add(0..10);
        assert_eq!(coverage.first_gap(10), None);
        assert_eq!(coverage.0.len(), 1);
    }
}
