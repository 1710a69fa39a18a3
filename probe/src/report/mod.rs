//! What a probe reports: accuracy, confusion matrix and the protocol behind them.

mod text;

use ddae_classify::ConfusionMatrix;
use ddae_classify::labels::Classes;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::error::Result;
use crate::experiment::Probe;

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
    /// Test samples whose class was found.
    pub correct: usize,
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
    /// Accuracy on the test set, where features were chosen there.
    pub test_accuracy: Option<f64>,
    /// The probe's settings that were tried, with their accuracy on the held-out samples.
    pub settings: Vec<(String, f64)>,
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
    fn new(samples: &Samples) -> Self {
        Self {
            origin: samples.origin().to_string(),
            samples: samples.len(),
            views: samples.views(),
            attributes: samples.attributes(),
        }
    }
}

impl Report {
    /// A report without the probe's own part of the protocol.
    ///
    /// # Errors
    /// When the source does not have the features.
    pub fn new<P: Probe>(
        probe: &P,
        source: &ProbeSource,
        features: &FeatureSet,
        classes: &Classes,
        matrix: ConfusionMatrix,
        selection: SelectionReport,
    ) -> Result<Self> {
        let class_reports =
            classes.labels().iter().zip(matrix.counts()).enumerate().map(|(i, (&label, row))| {
                let (samples, correct) = (row.iter().sum(), row[i]);
                let accuracy = (samples > 0).then(|| correct as f64 / samples as f64);
                ClassReport { label, name: source.class_name(label), samples, correct, accuracy }
            });
        let mut report = Self {
            probe: probe.name(),
            title: probe.title(),
            features: features.to_string(),
            dim: source.train.dim(features)?,
            accuracy: matrix.accuracy(),
            correct: matrix.correct(),
            classes: class_reports.collect(),
            confusion: matrix.counts().to_vec(),
            selection,
            protocol: Map::new(),
            train: SplitReport::new(&source.train),
            test: SplitReport::new(&source.test),
            warnings: source.notes.clone(),
        };
        report.warn_of_choice();
        report.warn_of_same_split();
        Ok(report)
    }

    fn warn_of_choice(&mut self) {
        let trials = self.selection.trials.iter().filter(|trial| trial.test_accuracy.is_some()).count();
        if trials > 1 {
            self.warnings.push(format!(
                "the features were chosen on the test set, as published: the best of {trials} is somewhat too good"
            ));
        }
    }

    fn warn_of_same_split(&mut self) {
        let same = [&["images_digest"][..], &["data_set", "split"]].into_iter().any(|names| {
            let all = |split: &SplitReport| {
                names.iter().map(|name| split.attributes.get(*name).cloned()).collect::<Option<Vec<_>>>()
            };
            all(&self.train).is_some_and(|train| all(&self.test) == Some(train))
        });
        if same || self.train.origin == self.test.origin {
            self.warnings.push(format!(
                "{} and {} hold the same split: the accuracy says nothing about new images",
                self.train.origin, self.test.origin
            ));
        }
    }
}
