//! The rows that each epoch sees: features of one timestep and view of each sample, with the timestep behind them.

use ddae_base::random::{Purpose, stream};
use ddae_classify::error::Result;
use ddae_classify::linear::TrainingRows;
use ddae_classify::rows::{PASS_BYTES, Rows, blocks};
use ddae_classify::scaling::{Normalisation, Scaling};
use ndarray::{Array2, ArrayView2, s};

use crate::source::table::Table;

/// A training set at several timesteps, of which each epoch draws one for each sample, and a view of it, all equally likely.
/// The rows of an epoch are in memory, 4 bytes a feature.
pub(super) struct NoiseRows<'a> {
    /// The same samples at each timestep.
    tables: &'a [Table<'a>],
    timesteps: &'a [i64],
    scaling: &'a Scaling,
    seed: u64,
    /// `[N, D + 1]`
    rows: Array2<f32>,
}

impl<'a> NoiseRows<'a> {
    /// Nothing is read yet.
    pub(super) fn new(
        tables: &'a [Table<'a>],
        timesteps: &'a [i64],
        scaling: &'a Scaling,
        seed: u64,
    ) -> Self {
        let rows = Array2::zeros((tables[0].len(), tables[0].dim() + 1));
        Self { tables, timesteps, scaling, seed, rows }
    }

    /// The timestep, by its place, and the view of a sample in an epoch.
    fn draw(&self, epoch: usize, row: usize) -> (usize, usize) {
        let views = self.tables[0].view_count();
        let mut stream = stream(self.seed, Purpose::Augment, row as u64, epoch as u64);
        let drawn = stream.below((self.tables.len() * views) as u64) as usize;
        (drawn / views, drawn % views)
    }
}

impl TrainingRows for NoiseRows<'_> {
    fn size(&self) -> [usize; 2] {
        [self.rows.nrows(), self.rows.ncols()]
    }

    fn of_epoch(&mut self, epoch: usize) -> Result<ArrayView2<'_, f32>> {
        let (samples, dim) = (self.rows.nrows(), self.rows.ncols() - 1);
        for range in blocks(samples, dim, PASS_BYTES) {
            let draws: Vec<(usize, usize)> = range.clone().map(|row| self.draw(epoch, row)).collect();
            let mut drawn = Array2::zeros((range.len(), dim));
            for (place, table) in self.tables.iter().enumerate() {
                if draws.iter().all(|(timestep, _)| *timestep != place) {
                    continue;
                }
                let block = table.read_drawn(range.clone(), &|row| draws[row - range.start].1)?;
                for (row, _) in draws.iter().enumerate().filter(|(_, draw)| draw.0 == place) {
                    drawn.row_mut(row).assign(&block.row(row));
                }
            }
            self.scaling.apply(&mut drawn);
            let mut target = self.rows.slice_mut(s![range, ..]);
            target.slice_mut(s![.., ..dim]).assign(&drawn);
            for (mut row, (place, _)) in target.rows_mut().into_iter().zip(draws) {
                row[dim] = self.timesteps[place] as f32;
            }
        }
        Ok(self.rows.view())
    }
}

/// The rows of several tables, one after the other.
struct All<'a>(&'a [Table<'a>]);

impl Rows for All<'_> {
    fn len(&self) -> usize {
        self.0.iter().map(|table| table.len()).sum()
    }

    fn dim(&self) -> usize {
        self.0[0].dim()
    }

    fn read(&self, range: std::ops::Range<usize>) -> Result<Array2<f32>> {
        let mut rows = Array2::zeros((range.len(), self.dim()));
        let (mut first, mut filled) = (0, 0);
        for table in self.0 {
            let part = range.start.max(first)..range.end.min(first + table.len());
            if part.start < part.end {
                let block = table.read(part.start - first..part.end - first)?;
                rows.slice_mut(s![filled..filled + block.nrows(), ..]).assign(&block);
                filled += block.nrows();
            }
            first += table.len();
        }
        Ok(rows)
    }
}

/// What is learned of the training features at all timesteps together.
pub(super) fn scaling_of_all(normalisation: Normalisation, tables: &[Table]) -> Result<Scaling> {
    normalisation.fit(&All(tables))
}
