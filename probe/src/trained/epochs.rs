//! The rows that each epoch sees.

use ddae_base::random::{Purpose, stream};
use ddae_classify::error::Result;
use ddae_classify::linear::TrainingRows;
use ddae_classify::rows::{PASS_BYTES, Rows, blocks};
use ddae_classify::scaling::Scaling;
use ndarray::{Array2, ArrayView2, s};

use super::places::MapLayout;
use crate::source::table::{Table, Views};

/// A training set as it is seen epoch by epoch: always the same rows, or, with [`Views::Drawn`], of each sample a view
/// that is drawn anew, every view equally likely.
///
/// The rows of one epoch are in memory, 4 bytes a feature. Views are read again for each epoch, block by block.
pub(crate) struct Epochs<'a> {
    table: &'a Table<'a>,
    scaling: &'a Scaling,
    /// How maps lie in rows, where they are seen place by place.
    layout: Option<MapLayout>,
    seed: u64,
    /// `[N, D]`, scaled, of the epoch before; none at the beginning.
    rows: Option<Array2<f32>>,
}

impl<'a> Epochs<'a> {
    /// Of the rows of `table`, with views drawn by `seed`; with a layout, maps are seen place by place and the features of each
    /// are scaled. Nothing is read yet.
    pub fn new(table: &'a Table<'a>, scaling: &'a Scaling, layout: Option<MapLayout>, seed: u64) -> Self {
        Self { table, scaling, layout, seed, rows: None }
    }

    /// Whether epochs differ.
    fn is_drawn(&self) -> bool {
        self.table.views() == Views::Drawn && self.table.view_count() > 1
    }

    /// The view of a row in an epoch.
    fn view(&self, epoch: usize, row: usize) -> usize {
        let views = self.table.view_count() as u64;
        stream(self.seed, Purpose::Augment, row as u64, epoch as u64).below(views) as usize
    }

    /// Reads the rows of an epoch into the memory of those before.
    fn read(&self, epoch: usize, mut rows: Array2<f32>) -> Result<Array2<f32>> {
        for range in blocks(self.table.len(), self.table.dim(), PASS_BYTES) {
            let mut block = match self.is_drawn() {
                true => self.table.read_drawn(range.clone(), &|row| self.view(epoch, row))?,
                false => self.table.read(range.clone())?,
            };
            match self.layout {
                None => self.scaling.apply(&mut block),
                Some(layout) => block = layout.scale(layout.by_places(block), self.scaling),
            }
            rows.slice_mut(s![range, ..]).assign(&block);
        }
        Ok(rows)
    }
}

impl TrainingRows for Epochs<'_> {
    fn size(&self) -> [usize; 2] {
        [self.table.len(), self.table.dim()]
    }

    fn of_epoch(&mut self, epoch: usize) -> Result<ArrayView2<'_, f32>> {
        let rows = match self.rows.take() {
            Some(rows) if !self.is_drawn() => rows,
            Some(rows) => self.read(epoch, rows)?,
            None => self.read(epoch, Array2::zeros(self.size()))?,
        };
        Ok(self.rows.insert(rows).view())
    }
}
