//! Accuracy by timestep, for people and as JSON.

use std::fmt;

use ddae_base::plain;
use ddae_classify::ranking::Ranks;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::experiment::TOP;
use crate::report::text::{plain as plain_value, share};
use crate::report::{SplitReport, same_split, standard_error};
use crate::source::ProbeSource;

/// What a noise-conditional head makes of the test set; serialised as the object that `--json` prints. Accuracies are
/// between 0 and 1.
#[derive(Clone, Debug, Serialize)]
pub struct NoiseReport {
    /// The layer.
    pub tap: String,
    /// Number of features.
    pub dim: usize,
    /// The accuracy at each timestep, ascending.
    pub timesteps: Vec<TimestepReport>,
    /// Everything that the numbers depend on, beside the features themselves.
    pub protocol: Map<String, Value>,
    /// The training split.
    pub train: SplitReport,
    /// The test split.
    pub test: SplitReport,
    /// What the reader should know before trusting the numbers.
    pub warnings: Vec<String>,
}

/// One timestep on the test set.
#[derive(Clone, Debug, Serialize)]
pub struct TimestepReport {
    /// The timestep.
    pub timestep: i64,
    /// The share of test samples whose class was found.
    pub accuracy: f64,
    /// Its standard error.
    pub standard_error: f64,
    /// Test samples whose class was found.
    pub correct: usize,
    /// The share of test samples whose class is among the five best; none of five classes or fewer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_5_accuracy: Option<f64>,
    /// Its standard error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_5_standard_error: Option<f64>,
}

impl TimestepReport {
    pub(super) fn new(timestep: i64, ranks: &Ranks, truth: &[usize], classes: usize) -> Self {
        let correct = ranks.best().iter().zip(truth).filter(|(found, class)| found == class).count();
        let of = |found: usize| found as f64 / truth.len().max(1) as f64;
        let top = (classes > TOP).then(|| of(ranks.hits(truth)));
        Self {
            timestep,
            accuracy: of(correct),
            standard_error: standard_error(of(correct), truth.len()),
            correct,
            top_5_accuracy: top,
            top_5_standard_error: top.map(|top| standard_error(top, truth.len())),
        }
    }
}

impl NoiseReport {
    pub(super) fn new(
        source: &ProbeSource,
        tap: &str,
        dim: usize,
        timesteps: Vec<TimestepReport>,
        protocol: Map<String, Value>,
    ) -> Self {
        let (train, test) = (SplitReport::new(&source.train), SplitReport::new(&source.test));
        let mut warnings = source.notes.clone();
        warnings.extend(same_split(&train, &test));
        Self { tap: tap.to_string(), dim, timesteps, protocol, train, test, warnings }
    }
}

impl fmt::Display for NoiseReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "noise-conditional head on {} ({} features)\n", plain(&self.tap), self.dim)?;
        writeln!(f, "  timestep  accuracy")?;
        for of_timestep in &self.timesteps {
            let of = share(of_timestep.accuracy, of_timestep.standard_error);
            write!(f, "  {:>8}  {of}", of_timestep.timestep)?;
            if let (Some(top), Some(error)) = (of_timestep.top_5_accuracy, of_timestep.top_5_standard_error) {
                let padding = 16_usize.saturating_sub(of.chars().count());
                write!(f, "{:padding$}  top 5 {}", "", share(top, error))?;
            }
            writeln!(f)?;
        }
        writeln!(f, "\n  protocol")?;
        for (name, value) in &self.protocol {
            writeln!(f, "    {}: {}", name.replace('_', " "), plain_value(value))?;
        }
        writeln!(f, "    errors: ± is one standard error of the test samples' draw")?;
        for (name, split) in [("train", &self.train), ("test", &self.test)] {
            writeln!(f, "    {name}: {} ({} samples)", plain(&split.origin), split.samples)?;
        }
        for warning in &self.warnings {
            writeln!(f, "\nwarning: {}", plain(warning))?;
        }
        Ok(())
    }
}
