//! The heads of many features, trained side by side: each reads its features once and has its own weights, and all see
//! the samples in the same order. As many are trained at a time as there are threads, or as fit into memory.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use ddae_base::memory;
use ddae_classify::labels::Classes;
use ddae_classify::linear::{self, TrainingSummary};
use ddae_classify::logistic::chance_loss;
use ddae_classify::mlp;
use ddae_classify::ranking::Ranks;
use ddae_classify::rows::{self, Rows};
use ddae_classify::scaling::Scaled;
use ddae_classify::{ClassifyError, attention};

use super::epochs::Epochs;
use super::places::{MapLayout, Places, ScaledMaps};
use super::{Layers, TrainedProbe};
use crate::error::{ProbeError, Result};
use crate::experiment::{Progress, TOP, Tables, describe};

/// What a head that was trained makes of the rows to measure on.
pub(super) struct Trained {
    pub(super) ranks: Ranks,
    pub(super) summary: TrainingSummary,
    /// The loss of guessing.
    pub(super) chance: f64,
    /// Number of features, of maps those of a place.
    pub(super) dim: usize,
}

impl TrainedProbe {
    /// Trains a head for each of several features, and classifies what is measured on.
    pub(super) fn train(&self, tables: &[Tables], progress: &mut dyn Progress) -> Result<Vec<Trained>> {
        let epochs = self.options.epochs;
        let rows = tables.iter().map(|tables| (tables.learn.len() * epochs) as u64).sum();
        let title = match tables {
            [one] => describe(&format!("training {epochs} epochs"), &one.learn),
            _ => format!("training {epochs} epochs: {} heads", tables.len()),
        };
        progress.begin(&title, Some(rows));
        let progress = Mutex::new(progress);
        let advance = |rows| {
            if let Ok(mut progress) = progress.lock() {
                progress.advance(rows);
            }
        };
        let (next, failed) = (AtomicUsize::new(0), AtomicUsize::new(usize::MAX));
        // Each takes the next head when it is done with one; after a failure none begins.
        let work = || {
            let mut trained = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= tables.len() || failed.load(Ordering::Relaxed) < number {
                    return trained;
                }
                let head = self.train_one(&tables[number], &advance);
                if head.is_err() {
                    failed.fetch_min(number, Ordering::Relaxed);
                }
                trained.push((number, head));
            }
        };
        let mut trained = match self.at_a_time(tables)? {
            1 => work(),
            workers => thread::scope(|scope| {
                let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
                let joined = workers
                    .into_iter()
                    .map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
                joined.flatten().collect()
            }),
        };
        trained.sort_by_key(|(number, _)| *number);
        trained.into_iter().map(|(_, head)| head).collect()
    }

    fn train_one(&self, tables: &Tables, advance: &dyn Fn(u64)) -> Result<Trained> {
        let table = &tables.learn;
        let labels = table.labels();
        let classes = Classes::of(&labels)?;
        let indices = classes.indices(&labels, table.origin())?;
        let layout = match self.layers {
            Layers::One | Layers::Two { .. } => None,
            Layers::Attention { .. } => {
                self.check_maps(tables)?;
                Some(MapLayout::of(table)?)
            }
        };
        let scaling = match layout {
            None => self.options.normalisation.fit(table)?,
            Some(layout) => self.options.normalisation.fit(&Places { table, layout })?,
        };
        let mut epochs = Epochs::new(table, &scaling, layout, self.options.seed);
        let (options, count, advance) = (&self.options, classes.len(), &mut |rows| advance(rows));
        let measured = Scaled { rows: &tables.measure, scaling: &scaling };
        if let Some(layout) = layout {
            let measured = ScaledMaps { table: &tables.measure, layout, scaling: &scaling };
            let shape = [layout.dim, self.layers.heads(layout.dim)];
            let (model, summary) = attention::train(&mut epochs, &indices, count, shape, options, advance)?;
            let ranks = rows::rank(&measured, TOP, |block, ranks| model.rank(block, ranks))?;
            return Ok(Trained { ranks, summary, chance: chance_loss(&indices, count), dim: layout.dim });
        }
        let (ranks, summary) = match self.layers.hidden(table.dim()) {
            None => {
                let (model, summary) = linear::train(&mut epochs, &indices, count, options, advance)?;
                (rows::rank(&measured, TOP, |block, ranks| model.rank(block, ranks))?, summary)
            }
            Some(hidden) => {
                let (model, summary) = mlp::train(&mut epochs, &indices, count, hidden, options, advance)?;
                (rows::rank(&measured, TOP, |block, ranks| model.rank(block, ranks))?, summary)
            }
        };
        Ok(Trained { ranks, summary, chance: chance_loss(&indices, count), dim: table.dim() })
    }

    /// Refuses maps that do not fit into memory, or that are not alike in training and test set.
    fn check_maps(&self, tables: &Tables) -> Result<()> {
        let (learn, measure) = (MapLayout::of(&tables.learn)?, MapLayout::of(&tables.measure)?);
        if learn != measure {
            return Err(ProbeError::Usage(format!(
                "{} are maps of {} places in {} and of {} in {}",
                tables.learn.features(),
                learn.places,
                tables.learn.origin(),
                measure.places,
                tables.measure.origin()
            )));
        }
        let needed = (tables.learn.len() as u64).saturating_mul(4 * learn.len() as u64);
        let what = format!(
            "{} maps of {} places and {} features, those of one epoch",
            tables.learn.len(),
            learn.places,
            learn.dim
        );
        memory::check(what, needed, "give fewer samples (--shots N), or smaller maps of another layer")
            .map_err(|error| ProbeError::Classify(ClassifyError::Rows(Box::new(error))))
    }

    /// How many heads are trained at a time: one a thread, where they fit into three quarters of the memory that is free.
    fn at_a_time(&self, tables: &[Tables]) -> Result<usize> {
        let mut largest = 0;
        for tables in tables {
            let classes = Classes::of(&tables.learn.labels())?.len();
            let (rows, dim) = (tables.learn.len(), tables.learn.dim());
            let of_place = match self.layers {
                Layers::Attention { .. } => MapLayout::of(&tables.learn)?.dim,
                _ => dim,
            };
            largest = largest.max(self.bytes(rows, dim, of_place, classes));
        }
        let free = memory::free().map_err(|error| ProbeError::Usage(error.to_string()))?;
        let fit = free.map_or(usize::MAX, |free| (free / 4 * 3 / largest.max(1)) as usize);
        Ok(rayon::current_num_threads().min(tables.len()).min(fit).max(1))
    }

    /// What a head has in memory while it is trained: the rows of an epoch with the blocks they are read in, and the weights of
    /// its layers with their gradients and two moments; with attention also what a batch leaves for its gradient. A row has
    /// `dim` features, and `of_place` of them are of one place.
    fn bytes(&self, rows: usize, dim: usize, of_place: usize, classes: usize) -> u64 {
        let heads = self.layers.heads(of_place) as u64;
        let hidden = self.layers.hidden(dim);
        let [rows, dim, place, classes] = [rows, dim, of_place, classes].map(|size| size as u64);
        let (weights, pass) = match (self.layers, hidden) {
            (Layers::Attention { .. }, _) => {
                // Query, keys, values and the layer; weights of places, what each head looks at, and the maps of a batch.
                let weights = place.saturating_mul(2 * place + classes + 1);
                let of_map = (dim / place.max(1) + 2 * place).saturating_mul(heads).saturating_add(2 * dim);
                (weights, of_map.saturating_mul(4 * self.options.batch as u64))
            }
            (_, None) => (dim.saturating_mul(classes), 0),
            (_, Some(hidden)) => ((hidden as u64).saturating_mul(dim + classes), 0),
        };
        let rows = rows.saturating_mul(dim).saturating_mul(4);
        let blocks = 2 * rows::PASS_BYTES as u64;
        rows.saturating_add(weights.saturating_mul(16)).saturating_add(pass).saturating_add(blocks)
    }
}

#[cfg(test)]
mod tests {
    use ddae_classify::linear::Preset;

    use super::*;

    #[test]
    fn the_weights_of_wide_layers_count() {
        let of = |layers| TrainedProbe { preset: Preset::Ddae, options: Preset::Ddae.options(), layers };
        let blocks = 2 * rows::PASS_BYTES as u64;
        assert_eq!(of(Layers::One).bytes(1000, 64, 64, 10), 4 * 64_000 + 16 * 640 + blocks);
        let hidden = Some(1 << 20);
        assert_eq!(
            of(Layers::Two { hidden }).bytes(1000, 64, 64, 10),
            4 * 64_000 + ((16 * 74) << 20) + blocks
        );
        assert_eq!(of(Layers::Two { hidden: None }).bytes(1, 64, 64, 10), 4 * 64 + 16 * 128 * 74 + blocks);
        assert_eq!(of(Layers::Two { hidden: Some(usize::MAX) }).bytes(1, 64, 64, 10), u64::MAX);
        // Maps of 16 places and 256 features: keys and values are more than the layer.
        let attention = of(Layers::Attention { heads: Some(4) });
        let weights = 256 * (2 * 256 + 10 + 1);
        let pass = 4 * 128 * (4 * (16 + 2 * 256) + 2 * 4096);
        assert_eq!(attention.bytes(10, 4096, 256, 10), 4 * 40_960 + 16 * weights + pass + blocks);
    }
}
