//! Where features and labels come from.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use ddae_base::shell;
use ddae_probe::ProbeError;
use ddae_probe::source::{Input, ProbeSource};

/// The files of a probe, or the data set in place of them.
#[derive(Args, Debug)]
pub struct FileOptions {
    /// File with the features to learn from: of ddae-infer, or another's
    ///
    /// Beside the HDF5 files of ddae-infer: .npy, .npz, safetensors, parquet, CSV and any HDF5 file, told by their content.
    /// Features are [N, D]. Arrays are found by their usual names (features, x, embeddings; labels, y, targets) or named
    /// behind a colon: FILE.npz:EMB,CLASS, FILE.h5:/train/x,/train/y. Of a table, all columns of numbers are features but
    /// the label, or its column of lists; some of them as FILE.csv:feat_*. Of a file of ddae-infer, FILE.h5:t11/out_6 is one feature.
    ///
    /// Several files, with as many of --test, are those of one job with other seeds of the noise (`ddae-infer features --seed`):
    /// all are measured, and what the noise changes is told beside what --seeds does.
    #[arg(long, value_name = "FILE[:NAMES]", num_args = 1.., requires = "test", required_unless_present = "pixels")]
    train: Vec<PathBuf>,

    /// File with the features to measure on, made in the same way; of several, in the order of --train
    #[arg(long, value_name = "FILE[:NAMES]", num_args = 1.., requires = "train")]
    test: Vec<PathBuf>,

    /// File with the labels of --train, in its order, where they are not beside the features
    ///
    /// An array (.npy, .npz, safetensors, HDF5), a table with a label column, or a text file with one label a line. Labels are
    /// whole numbers of any value, or texts, which are classes in sorted order.
    #[arg(long, value_name = "FILE[:NAME]", requires = "train")]
    labels: Option<PathBuf>,

    /// The same of --test
    #[arg(long, value_name = "FILE[:NAME]", requires = "test")]
    test_labels: Option<PathBuf>,

    /// Column of a table that holds the labels; of one without names, its number from 0 on [default: label, y, target, ...]
    #[arg(long, value_name = "NAME", requires = "train", allow_hyphen_values = true)]
    label_column: Option<String>,

    /// Read arrays of more than two axes as one row for each index of the first
    #[arg(long, requires = "train")]
    flatten: bool,

    /// Use the raw pixels of a data set in place of feature files: the baseline
    ///
    /// Every level of an image becomes one feature in [0, 1]. `ddae-data --help` lists what can be given: data sets by name,
    /// folders, lists, .tar and .parquet files.
    #[arg(long, value_name = "SOURCE", conflicts_with_all = ["train", "test"])]
    pub pixels: Option<String>,

    /// Folder of the data set for --pixels, or the one above it [default: $DDAE_DATA, or ./datasets]
    #[arg(long, value_name = "DIR", visible_alias = "data-root", requires = "pixels",
          conflicts_with_all = ["train", "test"])]
    root: Option<PathBuf>,
}

impl FileOptions {
    /// Opens what was given.
    ///
    /// # Errors
    /// When it cannot be read, or there are several files.
    pub fn open(&self) -> Result<ProbeSource> {
        let mut sources = self.open_all()?;
        match (sources.pop(), sources.len()) {
            (Some(source), 0) => Ok(source),
            (_, others) => Err(ProbeError::Usage(format!(
                "--train and --test name {} files each, and one is wanted here: several are for probes that are repeated",
                others + 1
            ))
            .into()),
        }
    }

    /// Opens what was given: several sources where several files were.
    ///
    /// # Errors
    /// When one cannot be read, or there are not as many files to learn from as to measure on.
    pub fn open_all(&self) -> Result<Vec<ProbeSource>> {
        if let Some(name) = &self.pixels {
            return Ok(vec![ProbeSource::open_pixels(name, self.root.as_deref())?]);
        }
        if self.train.is_empty() {
            // clap asks for one of the two.
            anyhow::bail!("give --train and --test, or --pixels");
        }
        if self.train.len() != self.test.len() {
            let (train, test) = (self.train.len(), self.test.len());
            return Err(ProbeError::Usage(format!(
                "--train names {train} file{} and --test {test}: one of --test is wanted for each",
                if train == 1 { "" } else { "s" }
            ))
            .into());
        }
        let input = |path, labels, labels_option| Input {
            path,
            labels,
            label_column: self.label_column.as_deref(),
            flatten: self.flatten,
            labels_option,
        };
        let pairs = self.train.iter().zip(&self.test).map(|(train, test)| {
            let train = input(train.as_path(), self.labels.as_deref(), "--labels");
            let test = input(test.as_path(), self.test_labels.as_deref(), "--test-labels");
            Ok(ProbeSource::open(&train, &test)?)
        });
        pairs.collect()
    }

    /// The options as they are typed into a shell.
    pub fn typed(&self) -> String {
        let mut words = Vec::new();
        let files = |files: &[PathBuf]| files.iter().map(shell::word).collect::<Vec<_>>().join(" ");
        if !self.train.is_empty() {
            words.push(format!("--train {}", files(&self.train)));
            words.push(format!("--test {}", files(&self.test)));
        }
        let mut option = |name: &str, value: Option<&Path>| {
            if let Some(value) = value {
                words.push(format!("{name} {}", shell::word(value)));
            }
        };
        option("--labels", self.labels.as_deref());
        option("--test-labels", self.test_labels.as_deref());
        option("--label-column", self.label_column.as_deref().map(Path::new));
        option("--pixels", self.pixels.as_deref().map(Path::new));
        option("--root", self.root.as_deref());
        if self.flatten {
            words.push("--flatten".to_string());
        }
        words.join(" ")
    }
}
