//! The published noise-conditional head: one head for the features of a layer at many timesteps, and its accuracy at each.
//!
//! | module | subject |
//! | --- | --- |
//! | `rows` | what each epoch sees: of each sample one timestep and view, drawn anew |
//! | [`report`] | accuracy by timestep |
//!
//! Published, a timestep is drawn among all of the process, and the feature is computed for it. Here it is drawn among those
//! that the file has: with 20 of 1,000 the head learns these 20.

pub mod report;
mod rows;

use ddae_classify::labels::Classes;
use ddae_classify::linear::{LinearOptions, Preset};
use ddae_classify::logistic::chance_loss;
use ddae_classify::noise_mlp::train;
use ddae_classify::ranking::Ranks;
use ddae_classify::rows::Rows;
use ddae_classify::scaling::Scaled;
use ddae_store::FeatureKey;
use serde_json::{Map, json};

use crate::error::{ProbeError, Result};
use crate::experiment::{Progress, TOP};
use crate::source::ProbeSource;
use crate::source::feature_set::{FeatureSet, join};
use crate::source::table::{Table, Views};
use crate::trained::at_chance;
use report::{NoiseReport, TimestepReport};
use rows::{NoiseRows, scaling_of_all};

/// The head with its settings.
#[derive(Clone, Debug)]
pub struct NoiseProbe {
    /// The layer whose features are used; none where the files have only one.
    pub tap: Option<String>,
    /// How to train; batch normalisation is no part of it.
    pub options: LinearOptions,
}

impl NoiseProbe {
    /// The published settings: as DDAE's linear probe.
    pub fn published() -> Self {
        Self { tap: None, options: Preset::Ddae.options() }
    }

    /// Trains the head and measures it at every timestep.
    ///
    /// # Errors
    /// When there are not features of one layer at two timesteps or more, they cannot be read, or the
    /// training diverges.
    pub fn run(&self, source: &ProbeSource, progress: &mut dyn Progress) -> Result<NoiseReport> {
        let keys = self.keys(source)?;
        let sets: Vec<FeatureSet> = keys.iter().map(|key| FeatureSet::Taps(vec![key.clone()])).collect();
        for features in &sets {
            source.check(features)?;
        }
        let tables = |samples, views| {
            sets.iter().map(|features| Table::new(samples, features, views, None)).collect::<Result<Vec<_>>>()
        };
        let (learn, measure) = (tables(&source.train, Views::Drawn)?, tables(&source.test, Views::First)?);
        let classes = Classes::of(source.train.labels())?;
        let indices = classes.indices(source.train.labels(), source.train.origin())?;
        let truth = classes.indices(source.test.labels(), source.test.origin())?;
        let timesteps: Vec<i64> = keys.iter().map(|key| key.timestep).collect();
        let scaling = scaling_of_all(self.options.normalisation, &learn)?;
        let total = (learn[0].len() * self.options.epochs) as u64;
        let title =
            format!("training {} epochs: {} at {} timesteps", self.options.epochs, keys[0].tap, keys.len());
        progress.begin(&title, Some(total));
        let mut rows = NoiseRows::new(&learn, &timesteps, &scaling, self.options.seed);
        let advance = &mut |rows| progress.advance(rows);
        let (model, summary) = train(&mut rows, &indices, classes.len(), &self.options, advance)?;
        let mut by_timestep = Vec::with_capacity(keys.len());
        for (table, &timestep) in measure.iter().zip(&timesteps) {
            let rows = Scaled { rows: table, scaling: &scaling };
            let rank =
                |block: ndarray::ArrayView2<f32>, ranks: &mut Ranks| model.rank(block, timestep, ranks);
            let ranks = ddae_classify::rows::rank(&rows, TOP, rank)?;
            by_timestep.push(TimestepReport::new(timestep, &ranks, &truth, classes.len()));
        }
        let mut protocol = Map::new();
        let LinearOptions { epochs, batch, learning_rate, normalisation, seed, .. } = self.options;
        for (name, value) in [
            (
                "head",
                json!(
                    "linear(2 d) of feature + embedding(t), silu, linear; embedding of d / 4 sines and cosines"
                ),
            ),
            ("timesteps", json!("drawn among those of the file, anew in every epoch")),
            ("train_views", json!(if source.train.views() == 1 { "the only one" } else { "drawn" })),
            ("test_views", json!(if source.test.views() == 1 { "the only one" } else { "first" })),
            ("normalise", json!(normalisation.name())),
            ("optimiser", json!("adam")),
            ("learning_rate", json!(learning_rate)),
            ("schedule", json!("cosine to 0, stepped per epoch")),
            ("epochs", json!(epochs)),
            ("batch", json!(batch)),
            ("steps", json!(summary.steps)),
            ("training_seed", json!(seed)),
            ("last_training_loss", json!(summary.last_loss)),
            ("computed_in", json!("f32")),
        ] {
            protocol.insert(name.to_string(), value);
        }
        let mut report = NoiseReport::new(source, &keys[0].tap, learn[0].dim(), by_timestep, protocol);
        report.warnings.extend(at_chance(summary.last_loss, chance_loss(&indices, classes.len())));
        Ok(report)
    }

    /// The features of the layer that both files have, by timestep.
    fn keys(&self, source: &ProbeSource) -> Result<Vec<FeatureKey>> {
        let mut keys: Vec<FeatureKey> = Vec::new();
        for features in source.available() {
            let FeatureSet::Taps(of_set) = features else { continue };
            keys.extend(of_set.iter().cloned());
        }
        let mut taps: Vec<&str> = keys.iter().map(|key| key.tap.as_str()).collect();
        taps.dedup();
        taps.sort_unstable();
        taps.dedup();
        let tap = match (&self.tap, taps.as_slice()) {
            (Some(tap), _) if taps.contains(&tap.as_str()) => tap.clone(),
            (None, [one]) => one.to_string(),
            (None, []) => {
                return Err(wanted(
                    "features of ddae-infer are wanted, which say their timestep".to_string(),
                ));
            }
            (None, _) => {
                return Err(wanted(format!(
                    "the files have several layers: name one with --tap, of {}",
                    join(&taps, ", ")
                )));
            }
            (Some(tap), _) => {
                return Err(wanted(format!("--tap {tap}: both files have {}", join(&taps, ", "))));
            }
        };
        keys.retain(|key| key.tap == tap);
        keys.sort_by_key(|key| key.timestep);
        if keys.len() < 2 {
            return Err(wanted(format!(
                "{} is the only timestep of {tap} in both files: a noise-conditional head learns from several (ddae-infer \
                 features --timesteps 1:951:50)",
                join(&keys, ", ")
            )));
        }
        Ok(keys)
    }
}

fn wanted(reason: String) -> ProbeError {
    ProbeError::Usage(reason)
}
