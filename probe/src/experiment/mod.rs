//! A probe from the choice of features to the report.
//!
//! | module | subject |
//! | --- | --- |
//! | `run` | one experiment: choices, and the accuracy on the test set |
//! | `repeat` | the same with several seeds |

mod repeat;
mod run;

use ddae_classify::labels::Classes;
use ddae_classify::ranking::Ranks;
use ddae_classify::rows::Rows;
use serde_json::{Map, Value};

use crate::error::Result;
use crate::source::feature_set::FeatureSet;
use crate::source::table::{Table, Views};

pub use repeat::{repeat, repeat_with_noise};
pub use run::run;
pub(crate) use run::tune;

/// How many guesses count as one of the best.
pub const TOP: usize = 5;

/// Told how work advances.
pub trait Progress: Send {
    /// A piece of work begins; `total` is its size where that is known, in units of [`Progress::advance`].
    fn begin(&mut self, what: &str, total: Option<u64>);
    /// Some of it is done.
    fn advance(&mut self, by: u64);
}

/// Tells nobody.
impl Progress for () {
    fn begin(&mut self, _: &str, _: Option<u64>) {}
    fn advance(&mut self, _: u64) {}
}

/// A way to measure features by classifying with them.
pub trait Probe {
    /// What the probe chooses for itself on held-out samples; `()` for a probe without such a choice.
    type Setting: Copy;

    /// The command's name, such as `knn`.
    fn name(&self) -> &'static str;

    /// For people, such as `k-nearest neighbours`.
    fn title(&self) -> &'static str;

    /// Whether there is a [`Probe::Setting`] to choose: what it is called, and how to do without the choice.
    fn open_setting(&self) -> Option<(&'static str, &'static str)> {
        None
    }

    /// Whether training draws from a seed: initial weights, order, views.
    fn draws(&self) -> bool {
        false
    }

    /// Learns with each setting and measures it, for each of several features; what is measured on is held out of the
    /// training set.
    ///
    /// # Errors
    /// When features cannot be read or nothing can be learned.
    fn tune(&self, tables: &[Tables], progress: &mut dyn Progress) -> Result<Vec<Tuned<Self::Setting>>>;

    /// Learns and classifies what is measured on, for each of several features with its setting: what [`Probe::tune`]
    /// chose, none if it was not asked.
    ///
    /// # Errors
    /// When features cannot be read or nothing can be learned.
    fn classify(
        &self,
        tables: &[Tables],
        settings: &[Option<Self::Setting>],
        progress: &mut dyn Progress,
    ) -> Result<Vec<Classified>>;
}

/// The same features of the samples to learn from and of those to measure on.
pub struct Tables<'a> {
    /// What a probe learns from.
    pub(crate) learn: Table<'a>,
    /// What it is measured on.
    pub(crate) measure: Table<'a>,
}

impl Tables<'_> {
    /// The share of the rows to measure on whose best class is the true one.
    pub(crate) fn accuracy(&self, ranks: &Ranks) -> Result<f64> {
        let classes = Classes::of(&self.learn.labels())?;
        let truth = classes.indices(&self.measure.labels(), self.measure.origin())?;
        let correct = ranks.best().iter().zip(&truth).filter(|(found, class)| found == class).count();
        Ok(correct as f64 / truth.len().max(1) as f64)
    }
}

/// The best setting of a probe on held-out samples.
pub struct Tuned<S> {
    /// The setting.
    pub setting: S,
    /// Its accuracy.
    pub accuracy: f64,
    /// Every setting that was tried, in words, with its accuracy.
    pub tried: Vec<(String, f64)>,
}

/// What a probe makes of a test set.
pub struct Classified {
    /// The best classes of every test row, at most [`TOP`], as indices into the training set's classes.
    pub(crate) ranks: Ranks,
    /// The same with each setting that was asked for, in words, where there are several.
    pub(crate) by_setting: Vec<(String, Ranks)>,
    /// The probe's part of the protocol.
    pub protocol: Map<String, Value>,
    /// What the reader should know before trusting the numbers.
    pub warnings: Vec<String>,
}

/// Which features, and how they are chosen.
#[derive(Clone, Debug)]
pub struct ExperimentPlan {
    /// What to choose from; everything that both splits have if empty.
    pub features: Vec<FeatureSet>,
    /// Where the choice among several is made.
    pub selection: Selection,
    /// The held-out part of the smallest training class, above 0 and below 1.
    pub held_out: f64,
    /// What becomes of the views of training samples.
    pub views: Views,
    /// Of the draw of the held-out part, and of the samples that [`ExperimentPlan::shots`] leaves.
    pub seed: u64,
    /// How many samples of each class are learned from, drawn at random; none for all.
    pub shots: Option<usize>,
}

/// Where features are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selection {
    /// On a part of the training set.
    HeldOut,
    /// On the test set, as published: the reported accuracy is then the largest of several and too good.
    Published,
}

impl Selection {
    /// The name on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::HeldOut => "held-out",
            Self::Published => "published",
        }
    }
}

/// The title of a piece of work: what is done with which rows.
pub(crate) fn describe(what: &str, train: &Table) -> String {
    format!("{what}: {}, {} x {}", train.features(), train.len(), train.dim())
}
