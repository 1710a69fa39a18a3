//! The images of a grid: what is learned from, and what the choice is measured on.

use std::collections::BTreeSet;
use std::path::PathBuf;

use ddae_data::datasets::{self, OpenOptions};
use ddae_data::decode::Reading;
use ddae_data::split::Split;

use crate::error::{ProbeError, Result};
use crate::held_out::HeldOut;

/// Which images.
#[derive(Clone, Debug, Default)]
pub struct ImageOptions {
    /// The data set by name or path; none for that of the model's training.
    pub data: Option<String>,
    /// Its folder, or the one above it.
    pub root: Option<PathBuf>,
    /// A table of labels, for images that have none.
    pub labels: Option<PathBuf>,
    /// The split to learn from, where it is not the usual one.
    pub train: Option<String>,
    /// The split to measure on, where it is not the usual one.
    pub test: Option<String>,
    /// Only so many of each, the first.
    pub limit: Option<usize>,
    /// How files become levels.
    pub reading: Reading,
}

/// The images, in the shape that the graph takes.
#[derive(Clone, Debug)]
pub struct GridImages {
    /// What is learned from.
    pub train: Split,
    /// What the choice is measured on.
    pub test: Split,
    /// What the user should know of both.
    pub notes: Vec<String>,
}

/// What the held-out part is for, and how to do without.
pub(super) const PURPOSE: &str = "timestep and layer";
pub(super) const ADVICE: &str = "give more images of it, or leave the class out";

impl ImageOptions {
    /// Opens both splits for a graph that takes images of `shape` and was trained on `trained_on`, and checks what would
    /// otherwise be found after the features of all were computed: labels, classes, and enough images of each to hold out
    /// the share `held_out`, where some are.
    ///
    /// # Errors
    /// When one of them cannot be had, both are the same, or they do not go together.
    pub fn open(
        &self,
        shape: [usize; 3],
        trained_on: Option<&str>,
        held_out: Option<f64>,
    ) -> Result<GridImages> {
        let usage = |reason: String| Err(ProbeError::Usage(reason));
        let Some(name) = self.data.as_deref().or(trained_on) else {
            return usage(
                "--data is needed: the model does not say which images its network was trained on"
                    .to_string(),
            );
        };
        let options = OpenOptions { labels: self.labels.clone(), reading: self.reading.clone() };
        let set = datasets::open_with(name, self.root.as_deref(), &options)?;
        let train = set.split(self.train.as_deref(), "train")?;
        let test = set.split(self.test.as_deref(), "test")?;
        let mut notes = set.notes.clone();
        let mut prepared = Vec::new();
        for chosen in [train, test] {
            notes.extend(chosen.note);
            chosen.split.check_labels("a grid")?;
            let split = chosen.split.fit(shape)?;
            let count = self.limit.map_or(split.len(), |limit| limit.min(split.len()));
            if count == 0 {
                return Err(ProbeError::Empty { origin: split.name().to_string() });
            }
            prepared.push(match count == split.len() {
                true => split,
                false => split.subset(&(0..count).collect::<Vec<_>>())?,
            });
        }
        let (Some(test), Some(train)) = (prepared.pop(), prepared.pop()) else {
            return Err(ProbeError::Empty { origin: name.to_string() });
        };
        if train.name() == test.name() {
            return usage(format!(
                "{} would be both learned from and measured on: give --train-split and --test-split with two of its splits, or \
                 data that has a test split",
                train.name()
            ));
        }
        if train.classes() != test.classes() {
            return usage(format!(
                "{} has the classes {} and {} has {}: both must have the same",
                train.name(),
                train.classes().join(", "),
                test.name(),
                test.classes().join(", ")
            ));
        }
        let images = GridImages { train, test, notes };
        let labels = images.labels();
        // The draw itself is made where it is needed.
        if let Some(held_out) = held_out {
            HeldOut::draw(&labels, held_out, 0, PURPOSE, ADVICE)?;
        }
        let learned: BTreeSet<i64> = labels.into_iter().collect();
        if let Some(index) =
            (0..images.test.len()).find(|&i| !learned.contains(&(images.test.label(i) as i64)))
        {
            let class = &images.test.classes()[images.test.label(index)];
            return usage(format!(
                "{} has images of {class} and {} has none: what is not learned cannot be found",
                images.test.name(),
                images.train.name()
            ));
        }
        Ok(images)
    }
}

impl GridImages {
    /// The labels of the training images.
    pub fn labels(&self) -> Vec<i64> {
        (0..self.train.len()).map(|index| self.train.label(index) as i64).collect()
    }
}
