//! What was predicted of each test sample, as a file: a table with a row for each sample, in the order of the test file.
//!
//! | column | content |
//! | --- | --- |
//! | `sample` | the row of the test file, from 0 on |
//! | `label` | the true label |
//! | `prediction` | the predicted label |
//!
//! The name says the form: `.csv`, or `.parquet`, which also says what was predicted by what of which images (key
//! `ddae_predictions`).

pub mod comparison;
mod parquet;

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use ddae_base::files::write_whole;
use serde::{Deserialize, Serialize};

use crate::error::{ProbeError, Result};
use crate::source::ProbeSource;
use comparison::{Of, check_same};

/// The name of what a run predicts itself.
pub(crate) const THIS_RUN: &str = "this run";

/// The columns.
const COLUMNS: [&str; 3] = ["sample", "label", "prediction"];

/// Labels of test samples, true and predicted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Predictions {
    /// The true label of each.
    pub labels: Vec<i64>,
    /// The predicted label of each.
    pub predictions: Vec<i64>,
    /// What they are of, where that is known.
    pub about: Option<About>,
}

/// What predictions say of themselves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct About {
    /// The probe's name.
    pub probe: String,
    /// The features.
    pub features: String,
    /// The test file, or the data set.
    pub test: String,
    /// Which images they are of, where that is known.
    pub images_digest: Option<String>,
}

/// The form that a name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Csv,
    Parquet,
}

/// The form of a file by its name.
///
/// # Errors
/// When it is neither `.csv` nor `.parquet`.
fn form(path: &Path) -> Result<Form> {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("csv") => Ok(Form::Csv),
        Some("parquet") => Ok(Form::Parquet),
        _ => Err(ProbeError::Usage(format!(
            "{}: predictions are written as .csv or .parquet; give a name that ends so",
            path.display()
        ))),
    }
}

/// Refuses a name of predictions that says no form.
///
/// # Errors
/// When it is neither `.csv` nor `.parquet`.
pub fn check_name(path: &Path) -> Result<()> {
    form(path).map(|_| ())
}

impl Predictions {
    /// What tells of which samples they are.
    fn of(&self) -> Of<'_> {
        let about = self.about.as_ref();
        Of { labels: &self.labels, images_digest: about.and_then(|about| about.images_digest.as_deref()) }
    }

    /// Whether they, called `name`, can be compared with those of a run on `source`, before it does its work.
    ///
    /// # Errors
    /// When they are of other samples than its test set.
    pub fn check_against(&self, name: &str, source: &ProbeSource) -> Result<()> {
        let attributes = source.test.attributes();
        let images_digest = attributes.get("images_digest").and_then(|digest| digest.as_str());
        let of_run = Of { labels: source.test.labels(), images_digest };
        check_same((THIS_RUN, &of_run), (name, &self.of())).map(|_| ())
    }

    /// Writes them.
    ///
    /// # Errors
    /// When the name says no form, or the file cannot be written; nothing is left half-written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let failed = |source| ProbeError::Write { path: path.to_path_buf(), source };
        let bytes = match form(path)? {
            Form::Csv => self.csv().map_err(|error| failed(io::Error::other(error)))?,
            Form::Parquet => parquet::bytes(self).map_err(|error| failed(io::Error::other(error)))?,
        };
        write_whole(path, |out| out.write_all(&bytes)).map_err(|error| failed(error.source))
    }

    fn csv(&self) -> std::result::Result<Vec<u8>, csv::Error> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(COLUMNS)?;
        for (sample, (label, prediction)) in self.labels.iter().zip(&self.predictions).enumerate() {
            writer.write_record([sample.to_string(), label.to_string(), prediction.to_string()])?;
        }
        writer.into_inner().map_err(|error| error.into_error().into())
    }

    /// Reads what [`Predictions::write`] wrote, or another table with the columns `label` and `prediction`.
    ///
    /// # Errors
    /// When it cannot be read, has no such columns, a value is no whole number, or a column `sample` does not count the rows.
    pub fn read(path: &Path) -> Result<Self> {
        let wrong = |reason: String| ProbeError::File { path: path.to_path_buf(), reason };
        let form = form(path)?;
        let file = File::open(path).map_err(|error| wrong(error.to_string()))?;
        let read = match form {
            Form::Csv => read_csv(file),
            Form::Parquet => parquet::read(file),
        };
        let read = read.map_err(wrong)?;
        if read.labels.is_empty() {
            return Err(wrong("it has no rows".to_string()));
        }
        Ok(read)
    }
}

/// Where the columns of a table of predictions are.
struct Columns {
    label: usize,
    prediction: usize,
    sample: Option<usize>,
}

impl Columns {
    /// Those of a table whose columns have these `names`.
    fn find(names: &[String]) -> std::result::Result<Columns, String> {
        let place = |name: &str| names.iter().position(|known| known == name);
        let wanted = |name: &str| {
            place(name).ok_or_else(|| {
                format!(
                    "there is no column {name}; predictions have sample, label and prediction, this has {}",
                    names.join(", ")
                )
            })
        };
        Ok(Columns { label: wanted("label")?, prediction: wanted("prediction")?, sample: place("sample") })
    }

    /// Adds a row, of which `number` reads a column.
    fn add(
        &self,
        predictions: &mut Predictions,
        row: usize,
        number: impl Fn(usize) -> std::result::Result<i64, String>,
    ) -> std::result::Result<(), String> {
        if let Some(sample) = self.sample {
            check_sample(row, number(sample)?)?;
        }
        predictions.labels.push(number(self.label)?);
        predictions.predictions.push(number(self.prediction)?);
        Ok(())
    }
}

/// What is wrong with a row whose `sample` is not its place.
fn check_sample(row: usize, sample: i64) -> std::result::Result<(), String> {
    if i64::try_from(row).ok() == Some(sample) {
        return Ok(());
    }
    Err(format!(
        "sample is {sample} in row {row}: samples from 0 on are wanted, in the order of the test file; sort the rows by sample, \
         or leave the column out where it says something else"
    ))
}

fn read_csv(file: File) -> std::result::Result<Predictions, String> {
    let mut reader = csv::Reader::from_reader(file);
    let header = reader.headers().map_err(|error| error.to_string())?;
    let header: Vec<String> = header.iter().map(ddae_base::plain).collect();
    let columns = Columns::find(&header)?;
    let mut read = Predictions::default();
    for (row, record) in reader.records().enumerate() {
        let record = record.map_err(|error| error.to_string())?;
        let number = |column: usize| {
            let text = record.get(column).unwrap_or_default();
            text.trim().parse::<i64>().map_err(|_| {
                format!(
                    "{} is '{}' in row {row}: a whole number is wanted",
                    header[column],
                    ddae_base::plain(text)
                )
            })
        };
        columns.add(&mut read, row, number)?;
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_read_what_was_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let about = About {
            probe: "knn".to_string(),
            features: "t11/out_6".to_string(),
            test: "test.h5".to_string(),
            images_digest: None,
        };
        let predictions =
            Predictions { labels: vec![3, -1, i64::MAX], predictions: vec![3, 3, -1], about: Some(about) };
        for (name, about) in [("a.csv", None), ("a.parquet", predictions.about.clone())] {
            let path = folder.path().join(name);
            predictions.write(&path).expect("written");
            assert_eq!(Predictions::read(&path).expect("read"), Predictions { about, ..predictions.clone() });
        }
        let text = std::fs::read_to_string(folder.path().join("a.csv")).expect("a table");
        assert_eq!(text, "sample,label,prediction\n0,3,3\n1,-1,3\n2,9223372036854775807,-1\n");
        for (text, wanted) in [
            (
                "label,predicted\n1,2\n",
                "there is no column prediction; predictions have sample, label and prediction, this has label, predicted",
            ),
            ("label,prediction\n1,2\n1,ant\n", "prediction is 'ant' in row 1: a whole number is wanted"),
            ("label,prediction\n", "it has no rows"),
            (
                "sample,label,prediction\n0,1,2\n2,1,2\n1,1,1\n",
                "sample is 2 in row 1: samples from 0 on are wanted, in the order of the test file; sort the rows by sample, or \
                 leave the column out where it says something else",
            ),
            ("sample,label,prediction\na.png,1,2\n", "sample is 'a.png' in row 0: a whole number is wanted"),
        ] {
            let path = folder.path().join("b.csv");
            std::fs::write(&path, text).expect("written");
            let error = Predictions::read(&path).expect_err(text).to_string();
            assert_eq!(error, format!("{}: {wanted}", path.display()));
        }
        let error = check_name(Path::new("a.npy")).expect_err("no form");
        assert!(
            error.is_usage()
                && error.to_string().starts_with("a.npy: predictions are written as .csv or .parquet")
        );
    }
}
