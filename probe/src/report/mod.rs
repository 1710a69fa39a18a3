//! What a probe reports: accuracy, confusion matrix and the protocol behind them.
//!
//! Every accuracy comes with its standard error: that of a share of so many test samples ([`standard_error`]). What other
//! draws of training samples or of a probe's weights would change comes on top ([`Repeats`]).

mod repeats;
pub(crate) mod text;

use ddae_classify::ConfusionMatrix;
use ddae_classify::labels::Classes;
use ddae_classify::ranking::Ranks;
use serde::Serialize;
use serde_json::{Map, Value};

pub use self::repeats::{NoiseRepeats, Repeats};
use crate::error::Result;
use crate::experiment::{Probe, TOP};
use crate::paired::Discordant;
use crate::predictions::comparison::Comparison;
use crate::predictions::{About, Predictions, THIS_RUN};
use crate::source::ProbeSource;
use crate::source::feature_set::FeatureSet;
use crate::source::samples::Samples;

/// The result of a probe; serialised as the object that `--json` prints. Accuracies are between 0 and 1.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The command's name.
    pub probe: &'static str,
    #[serde(skip)]
    title: &'static str,
    /// The features that were used.
    pub features: String,
    /// Their number.
    pub dim: usize,
    /// Accuracy on the test set.
    pub accuracy: f64,
    /// Its standard error.
    pub standard_error: f64,
    /// The share of test samples whose class is among the five best; none of five classes or fewer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_5_accuracy: Option<f64>,
    /// Its standard error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_5_standard_error: Option<f64>,
    /// Test samples whose class was found.
    pub correct: usize,
    /// The accuracies of all seeds, where there are several; the rest of the report is about the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seeds: Option<Repeats>,
    /// What each setting that was asked for gives on the test set, where there are several. Nothing was chosen by it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub settings: Vec<SettingReport>,
    /// How this compares with earlier predictions, where there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comparison: Option<Comparison>,
    /// Accuracy of every class.
    pub classes: Vec<ClassReport>,
    /// `[true class][predicted class]`: number of test samples.
    pub confusion: Vec<Vec<usize>>,
    /// How the features and settings were chosen.
    pub selection: SelectionReport,
    /// Everything that the numbers depend on, beside the features themselves.
    pub protocol: Map<String, Value>,
    /// The training split.
    pub train: SplitReport,
    /// The test split.
    pub test: SplitReport,
    /// What the reader should know before trusting the numbers.
    pub warnings: Vec<String>,
    /// What was predicted of each test sample.
    #[serde(skip)]
    pub predictions: Predictions,
}

/// The standard error of a share of `samples` independent samples, √(p (1 - p) / n); 0 without samples. Where all or none
/// were found it is 0, too, and says nothing.
pub fn standard_error(share: f64, samples: usize) -> f64 {
    if samples == 0 { 0.0 } else { (share * (1.0 - share) / samples as f64).max(0.0).sqrt() }
}

/// One of several settings on the test set.
#[derive(Clone, Debug, Serialize)]
pub struct SettingReport {
    /// The setting, in words.
    pub setting: String,
    /// Accuracy on the test set.
    pub accuracy: f64,
    /// Its standard error.
    pub standard_error: f64,
    /// The share of test samples whose class is among the five best; none of five classes or fewer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_5_accuracy: Option<f64>,
    /// Its standard error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_5_standard_error: Option<f64>,
}

/// What a probe made of the test samples, by classes' positions.
pub(crate) struct Measured<'a> {
    /// The true classes.
    pub(crate) truth: &'a [usize],
    /// The best classes of each.
    pub(crate) ranks: &'a Ranks,
    /// The same with each of several settings.
    pub(crate) by_setting: &'a [(String, Ranks)],
}

/// One class on the test set.
#[derive(Clone, Debug, Serialize)]
pub struct ClassReport {
    /// Its label.
    pub label: i64,
    /// Its name, or the label where it has none.
    pub name: String,
    /// Test samples of this class.
    pub samples: usize,
    /// Those that were found.
    pub correct: usize,
    /// The share that was found; none without samples.
    pub accuracy: Option<f64>,
    /// Its standard error.
    pub standard_error: Option<f64>,
}

/// How features and settings were chosen.
#[derive(Clone, Debug, Serialize)]
pub struct SelectionReport {
    /// How the features were chosen.
    pub features: &'static str,
    /// Training samples that were held out for choices, 0 if there was nothing to choose.
    pub held_out_samples: usize,
    /// What was tried, in order.
    pub trials: Vec<Trial>,
}

/// One choice of features that was tried.
#[derive(Clone, Debug, Serialize)]
pub struct Trial {
    /// The features.
    pub features: String,
    /// Accuracy of the best setting on the held-out samples, where it was measured.
    pub held_out_accuracy: Option<f64>,
    /// Its standard error.
    pub held_out_standard_error: Option<f64>,
    /// Number of those samples, where it is not that of all trials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub samples: Option<usize>,
    /// Accuracy on the test set, where features were chosen there.
    pub test_accuracy: Option<f64>,
    /// Its standard error.
    pub test_standard_error: Option<f64>,
    /// Where features were chosen on the test set, how the best (the first of the pair) compares with these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub against_best: Option<Discordant>,
    /// The probe's settings that were tried, with their accuracy on the held-out samples and its standard error.
    pub settings: Vec<(String, f64, f64)>,
}

/// One split.
#[derive(Clone, Debug, Serialize)]
pub struct SplitReport {
    /// The feature file, or the data set.
    pub(crate) origin: String,
    /// Number of samples.
    pub samples: usize,
    /// Views of each sample in the file.
    pub views: usize,
    /// What the file says of its features: model, config, seed and so on.
    pub attributes: Map<String, Value>,
}

impl SplitReport {
    pub(crate) fn new(samples: &Samples) -> Self {
        Self {
            origin: samples.origin().to_string(),
            samples: samples.len(),
            views: samples.views(),
            attributes: samples.attributes(),
        }
    }

    /// What predictions of this split say of themselves.
    fn about(&self, probe: &str, features: &str) -> About {
        let attribute = |name: &str| self.attributes.get(name).and_then(Value::as_str).map(str::to_string);
        About {
            probe: probe.to_string(),
            features: features.to_string(),
            test: self.origin.clone(),
            images_digest: attribute("images_digest"),
        }
    }
}

impl SettingReport {
    fn new(setting: &str, ranks: &Ranks, truth: &[usize], classes: &Classes) -> Self {
        let samples = truth.len();
        let best = ranks.best();
        let correct = best.iter().zip(truth).filter(|(found, class)| found == class).count();
        let share = |found: usize| found as f64 / samples.max(1) as f64;
        let top = (classes.len() > TOP).then(|| share(ranks.hits(truth)));
        Self {
            setting: setting.to_string(),
            accuracy: share(correct),
            standard_error: standard_error(share(correct), samples),
            top_5_accuracy: top,
            top_5_standard_error: top.map(|share| standard_error(share, samples)),
        }
    }
}

impl Report {
    /// A report without the probe's own part of the protocol.
    ///
    /// # Errors
    /// When the source does not have the features.
    pub(crate) fn new<P: Probe>(
        probe: &P,
        source: &ProbeSource,
        features: &FeatureSet,
        classes: &Classes,
        measured: &Measured,
        selection: SelectionReport,
    ) -> Result<Self> {
        let predicted = measured.ranks.best();
        let matrix = ConfusionMatrix::new(measured.truth, &predicted, classes.len());
        let class_reports =
            classes.labels().iter().zip(matrix.counts()).enumerate().map(|(i, (&label, row))| {
                let (samples, correct) = (row.iter().sum(), row[i]);
                let accuracy = (samples > 0).then(|| correct as f64 / samples as f64);
                let standard_error = accuracy.map(|accuracy| standard_error(accuracy, samples));
                ClassReport {
                    label,
                    name: source.class_name(label),
                    samples,
                    correct,
                    accuracy,
                    standard_error,
                }
            });
        let settings = measured.by_setting.iter();
        let settings =
            settings.map(|(setting, ranks)| SettingReport::new(setting, ranks, measured.truth, classes));
        let of_all = SettingReport::new("", measured.ranks, measured.truth, classes);
        let test = SplitReport::new(&source.test);
        let mut report = Self {
            probe: probe.name(),
            title: probe.title(),
            features: features.to_string(),
            dim: source.train.dim(features)?,
            accuracy: of_all.accuracy,
            standard_error: of_all.standard_error,
            top_5_accuracy: of_all.top_5_accuracy,
            top_5_standard_error: of_all.top_5_standard_error,
            seeds: None,
            settings: settings.collect(),
            comparison: None,
            correct: matrix.correct(),
            classes: class_reports.collect(),
            confusion: matrix.counts().to_vec(),
            selection,
            protocol: Map::new(),
            train: SplitReport::new(&source.train),
            warnings: source.notes.clone(),
            predictions: Predictions {
                labels: source.test.labels().to_vec(),
                predictions: predicted.iter().map(|&class| classes.labels()[class]).collect(),
                about: Some(test.about(probe.name(), &features.to_string())),
            },
            test,
        };
        report.warn_of_choice();
        report.warnings.extend(same_split(&report.train, &report.test));
        Ok(report)
    }

    /// What the probe is called, for people.
    pub(crate) fn title(&self) -> &'static str {
        self.title
    }

    /// Compares with earlier predictions of the same test samples, those of `name`.
    ///
    /// # Errors
    /// When they are of other samples.
    pub fn compare(&mut self, name: &str, earlier: &Predictions) -> Result<()> {
        let comparison = Comparison::new((THIS_RUN, &self.predictions), (name, earlier))?;
        self.warnings.extend(comparison.warnings.iter().cloned());
        self.comparison = Some(comparison);
        Ok(())
    }

    fn warn_of_choice(&mut self) {
        let trials = self.selection.trials.iter().filter(|trial| trial.test_accuracy.is_some()).count();
        if trials > 1 {
            self.warnings.push(format!(
                "the features were chosen on the test set, as published: the best of {trials} is somewhat too good"
            ));
        }
    }
}

/// What should be known where both splits are the same, as far as the files tell.
pub(crate) fn same_split(train: &SplitReport, test: &SplitReport) -> Option<String> {
    let same = [&["images_digest"][..], &["data_set", "split"]].into_iter().any(|names| {
        let all = |split: &SplitReport| {
            names.iter().map(|name| split.attributes.get(*name).cloned()).collect::<Option<Vec<_>>>()
        };
        all(train).is_some_and(|of_train| all(test) == Some(of_train))
    });
    (same || train.origin == test.origin).then(|| {
        let (train, test) = (&train.origin, &test.origin);
        format!("{train} and {test} hold the same split: the accuracy says nothing about new images")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standard_errors_by_hand() {
        assert!((standard_error(0.9, 100) - 0.03).abs() < 1e-12);
        assert_eq!((standard_error(1.0, 50), standard_error(0.5, 0)), (0.0, 0.0));
    }
}
