//! A probe from the choice of features to the report.

use ddae_classify::ConfusionMatrix;
use ddae_classify::labels::Classes;
use ddae_classify::rows::Rows;
use serde_json::{Map, Value, json};

use crate::error::{ProbeError, Result};
use crate::held_out::HeldOut;
use crate::report::{Report, SelectionReport, Trial};
use crate::source::ProbeSource;
use crate::source::feature_set::FeatureSet;
use crate::source::table::{Table, Views};

/// Told how work advances.
pub trait Progress {
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

    /// Learns from `train` with each setting and measures it on `held_out`.
    ///
    /// # Errors
    /// When features cannot be read or nothing can be learned.
    fn tune(
        &self,
        train: &Table,
        held_out: &Table,
        progress: &mut dyn Progress,
    ) -> Result<Tuned<Self::Setting>>;

    /// Learns from `train` and classifies `test`. `setting` is what [`Probe::tune`] chose, none if it was not asked.
    ///
    /// # Errors
    /// When features cannot be read or nothing can be learned.
    fn classify(
        &self,
        train: &Table,
        test: &Table,
        setting: Option<Self::Setting>,
        progress: &mut dyn Progress,
    ) -> Result<Classified>;
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
    /// The class of every test row, as an index into the training set's classes.
    pub(crate) predictions: Vec<usize>,
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
    /// Of the draw of the held-out part.
    pub seed: u64,
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

/// What was tried for one choice of features.
struct Attempt<'a, S> {
    features: &'a FeatureSet,
    tuned: Option<Tuned<S>>,
    classified: Option<Classified>,
    /// On the test set if that is where features are chosen, or else on the held-out part; 0 without a choice.
    accuracy: f64,
}

/// Chooses features and settings, fits on the whole training set and measures on the test set.
///
/// # Errors
/// When features do not exist or cannot be read, labels do not agree, or a probe learns nothing.
pub fn run<P: Probe>(
    source: &ProbeSource,
    probe: &P,
    plan: &ExperimentPlan,
    progress: &mut dyn Progress,
) -> Result<Report> {
    let candidates = if plan.features.is_empty() { source.available() } else { &plan.features };
    for features in candidates {
        source.check(features)?;
    }
    let classes = Classes::of(source.train.labels())?;
    let truth = classes.indices(source.test.labels(), source.test.origin())?;
    let on_test = candidates.len() > 1 && plan.selection == Selection::Published;
    let held_out = held_out_if_needed(source, probe, plan, candidates.len())?;

    let mut attempts = Vec::with_capacity(candidates.len());
    for features in candidates {
        let tuned = match &held_out {
            Some(part) => Some(tune(source, probe, plan, features, part, progress)?),
            None => None,
        };
        let mut attempt = Attempt {
            features,
            accuracy: tuned.as_ref().map_or(0.0, |t| t.accuracy),
            tuned,
            classified: None,
        };
        if on_test {
            let classified = classify(source, probe, plan, &attempt, progress)?;
            attempt.accuracy =
                ConfusionMatrix::new(&truth, &classified.predictions, classes.len()).accuracy();
            attempt.classified = Some(classified);
        }
        attempts.push(attempt);
    }
    let trials = attempts.iter().map(|attempt| attempt.trial(on_test)).collect();
    // The first of the best: `max_by` would take the last.
    let best =
        attempts.into_iter().reduce(|best, next| if next.accuracy > best.accuracy { next } else { best });
    let Some(mut best) = best else {
        return Err(ProbeError::Empty { origin: source.train.origin().to_string() });
    };
    let classified = match best.classified.take() {
        Some(classified) => classified,
        None => classify(source, probe, plan, &best, progress)?,
    };
    let matrix = ConfusionMatrix::new(&truth, &classified.predictions, classes.len());
    let choice = SelectionReport {
        features: match (candidates.len(), plan.selection) {
            (1, _) if plan.features.is_empty() => "the only ones",
            (1, _) => "given",
            (_, Selection::HeldOut) => "chosen on held-out training samples",
            (_, Selection::Published) => "chosen on the test set",
        },
        held_out_samples: held_out.map_or(0, |part| part.measure.len()),
        trials,
    };
    let mut report = Report::new(probe, source, best.features, &classes, matrix, choice)?;
    report.protocol = protocol(plan, source, classified.protocol);
    report.warnings.extend(classified.warnings);
    Ok(report)
}

/// Draws the held-out part if anything is chosen there: features, or a setting of the probe.
fn held_out_if_needed<P: Probe>(
    source: &ProbeSource,
    probe: &P,
    plan: &ExperimentPlan,
    candidates: usize,
) -> Result<Option<HeldOut>> {
    let (purpose, advice) = match probe.open_setting() {
        _ if candidates > 1 && plan.selection == Selection::HeldOut => {
            ("features", "name one with --features")
        }
        Some(setting) => setting,
        None => return Ok(None),
    };
    HeldOut::draw(source.train.labels(), plan.held_out, plan.seed, purpose, advice).map(Some)
}

/// Learns from one part of the training set and measures on the other.
fn tune<P: Probe>(
    source: &ProbeSource,
    probe: &P,
    plan: &ExperimentPlan,
    features: &FeatureSet,
    part: &HeldOut,
    progress: &mut dyn Progress,
) -> Result<Tuned<P::Setting>> {
    let train = Table::new(&source.train, features, plan.views, Some(&part.fit))?;
    let measure = Table::new(&source.train, features, plan.views.for_test(), Some(&part.measure))?;
    probe.tune(&train, &measure, progress)
}

/// Learns from the whole training set and classifies the test set.
fn classify<P: Probe>(
    source: &ProbeSource,
    probe: &P,
    plan: &ExperimentPlan,
    attempt: &Attempt<P::Setting>,
    progress: &mut dyn Progress,
) -> Result<Classified> {
    let train = Table::new(&source.train, attempt.features, plan.views, None)?;
    let test = Table::new(&source.test, attempt.features, plan.views.for_test(), None)?;
    probe.classify(&train, &test, attempt.tuned.as_ref().map(|tuned| tuned.setting), progress)
}

impl<S> Attempt<'_, S> {
    fn trial(&self, on_test: bool) -> Trial {
        Trial {
            features: self.features.to_string(),
            held_out_accuracy: self.tuned.as_ref().map(|tuned| tuned.accuracy),
            test_accuracy: on_test.then_some(self.accuracy),
            settings: self.tuned.as_ref().map_or_else(Vec::new, |tuned| tuned.tried.clone()),
        }
    }
}

/// The protocol: the probe's part and what all probes share.
fn protocol(
    plan: &ExperimentPlan,
    source: &ProbeSource,
    mut protocol: Map<String, Value>,
) -> Map<String, Value> {
    for (name, value) in [
        ("train_views", describe_views(plan.views, source.train.views())),
        ("test_views", describe_views(plan.views.for_test(), source.test.views())),
        ("stored_as", json!(source.train.dtype())),
        ("selection", json!(plan.selection.name())),
        ("held_out", json!(plan.held_out)),
        ("seed", json!(plan.seed)),
    ] {
        protocol.insert(name.to_string(), value);
        if let Some(read_as) = source.train.read_as().filter(|_| name == "stored_as") {
            protocol.insert("read_as".to_string(), json!(read_as));
        }
    }
    protocol
}

fn describe_views(views: Views, count: usize) -> Value {
    if count == 1 { json!("the only one") } else { json!(format!("{} of {count}", views.name())) }
}

/// The title of a piece of work: what is done with which rows.
pub(crate) fn describe(what: &str, train: &Table) -> String {
    format!("{what}: {}, {} x {}", train.features(), train.len(), train.dim())
}
