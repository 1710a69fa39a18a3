//! Where samples come from: feature files, or the pixels of a data set.
//!
//! | module | subject |
//! | --- | --- |
//! | [`samples`] | one split: features by name and view, labels, checked values |
//! | [`table`] | the rows that a probe sees: a choice of features, views and samples |
//! | [`feature_set`] | the names of features: `t11/out_6`, `t11/out_6+t11/out_7`, `pixels` |
//! | `agreement` | whether two feature files belong together |

pub(crate) mod agreement;
pub mod feature_set;
pub mod samples;
pub mod table;

use std::path::Path;

use ddae_store::{FeatureFile, Pairing};

use crate::error::{ProbeError, Result};
use feature_set::FeatureSet;
use samples::Samples;

/// A training and a test split with the same features and classes.
pub struct ProbeSource {
    /// What a probe learns from.
    pub train: Samples,
    /// What it is measured on.
    pub test: Samples,
    /// Names of the classes by label, where they are known.
    class_names: Vec<String>,
    /// What there is to choose from.
    available: Vec<FeatureSet>,
    /// What the reader should know before trusting numbers of both.
    pub(crate) notes: Vec<String>,
}

impl ProbeSource {
    /// Opens two feature files and checks that they belong together.
    ///
    /// # Errors
    /// When a file cannot be read, the files were made in different ways, or they share no features.
    pub fn open(train: &Path, test: &Path) -> Result<Self> {
        let (train_file, test_file) = (FeatureFile::open(train)?, FeatureFile::open(test)?);
        agreement::check_whole(&train_file)?;
        agreement::check_whole(&test_file)?;
        let notes = agreement::check(&train_file, &test_file, Pairing::TrainTest)?;
        let class_names = train_file.provenance().classes.clone().unwrap_or_default();
        let available = agreement::common_features(&train_file, &test_file)?;
        Ok(Self {
            train: Samples::of_file(train_file)?,
            test: Samples::of_file(test_file)?,
            class_names,
            available,
            notes,
        })
    }

    /// Opens a data set (see [`ddae_data::datasets::open`]) as features in [0, 1], one for each level of an image.
    ///
    /// # Errors
    /// When the data set cannot be read or has no test images.
    pub fn open_pixels(name: &str, root: Option<&Path>) -> Result<Self> {
        let data = ddae_data::datasets::open(name, root)?;
        let (train, test) = (data.split(Some("train"), "train")?, data.split(Some("test"), "test")?);
        for split in [&train.split, &test.split] {
            split.check_labels("a probe")?;
        }
        let notes = data.notes.iter().cloned().chain(train.note).chain(test.note).collect();
        let class_names = train.split.classes().to_vec();
        Ok(Self {
            train: Samples::of_pixels(train.split)?,
            test: Samples::of_pixels(test.split)?,
            class_names,
            available: vec![FeatureSet::Pixels],
            notes,
        })
    }

    /// The features that both splits have, in the order of the training file.
    pub(crate) fn available(&self) -> &[FeatureSet] {
        &self.available
    }

    /// Checks that both splits have `features`, with the same width.
    ///
    /// # Errors
    /// When one has not; the message lists what it has.
    pub fn check(&self, features: &FeatureSet) -> Result<()> {
        for part in features.parts() {
            let (train_dim, test_dim) = (self.train.dim(&part)?, self.test.dim(&part)?);
            if train_dim != test_dim {
                return Err(ProbeError::Dims {
                    features: part.to_string(),
                    train: self.train.origin().into(),
                    test: self.test.origin().into(),
                    train_dim,
                    test_dim,
                });
            }
        }
        Ok(())
    }

    /// The name of a class, or its label where it has none.
    pub(crate) fn class_name(&self, label: i64) -> String {
        let name = usize::try_from(label).ok().and_then(|label| self.class_names.get(label));
        name.map_or_else(|| label.to_string(), Clone::clone)
    }
}
