//! Rows of features, read block by block.

use std::ops::Range;

use ndarray::{Array2, ArrayView2, s};

use crate::error::Result;
use crate::ranking::Ranks;

/// A table of float32 features that is read in blocks of rows, so that it need not fit in memory.
pub trait Rows {
    /// Number of rows.
    fn len(&self) -> usize;

    /// Number of features in a row.
    fn dim(&self) -> usize;

    /// Reads rows `[range.len(), dim]`. All values are finite.
    ///
    /// # Errors
    /// When the source cannot be read or a value is not finite; the message names the row.
    fn read(&self, range: Range<usize>) -> Result<Array2<f32>>;

    /// Whether there are no rows.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Rows in memory.
impl Rows for ArrayView2<'_, f32> {
    fn len(&self) -> usize {
        self.nrows()
    }

    fn dim(&self) -> usize {
        self.ncols()
    }

    fn read(&self, range: Range<usize>) -> Result<Array2<f32>> {
        Ok(self.slice(s![range, ..]).to_owned())
    }
}

/// Blocks of rows that cover `0..len`, each of about `bytes` bytes of float32.
pub fn blocks(len: usize, dim: usize, bytes: usize) -> impl Iterator<Item = Range<usize>> {
    let rows = (bytes / (4 * dim.max(1))).max(1);
    (0..len).step_by(rows).map(move |start| start..(start + rows).min(len))
}

/// Bytes of a block when a whole table passes by once.
pub const PASS_BYTES: usize = 16 << 20;

/// The best classes of all rows, at most `most` of each: `rank` adds those of a block.
///
/// # Errors
/// As [`Rows::read`].
pub fn rank(
    rows: &dyn Rows,
    most: usize,
    mut rank: impl FnMut(ArrayView2<f32>, &mut Ranks),
) -> Result<Ranks> {
    let mut ranks = Ranks::new(most);
    for range in blocks(rows.len(), rows.dim(), PASS_BYTES) {
        rank(rows.read(range)?.view(), &mut ranks);
    }
    Ok(ranks)
}

/// Reads all rows as float64.
///
/// # Errors
/// As [`Rows::read`].
pub fn read_all(rows: &dyn Rows) -> Result<Array2<f64>> {
    let mut all = Array2::zeros((rows.len(), rows.dim()));
    for range in blocks(rows.len(), rows.dim(), PASS_BYTES) {
        all.slice_mut(s![range.clone(), ..]).assign(&rows.read(range)?.mapv(f64::from));
    }
    Ok(all)
}
