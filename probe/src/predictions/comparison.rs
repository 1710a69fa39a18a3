//! Two predictions of the same samples, compared.

use std::fmt;

use ddae_base::plain;
use serde::Serialize;

use super::Predictions;
use crate::error::{ProbeError, Result};
use crate::paired::Discordant;
use crate::report::standard_error;
use crate::report::text::{p, share};

/// How two predictions of the same samples compare; accuracies and their difference are between -1 and 1.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// Samples that both predict.
    pub samples: usize,
    /// The first.
    pub first: Side,
    /// The second.
    pub second: Side,
    /// Samples that both have right.
    pub both: usize,
    /// Samples that neither has right.
    pub neither: usize,
    /// Samples that one has right, and McNemar's p value.
    #[serde(flatten)]
    pub discordant: Discordant,
    /// The first accuracy less the second.
    pub difference: f64,
    /// The standard error of the difference: of pairs, so that what both have right or wrong does not count.
    pub difference_standard_error: f64,
    /// What the reader should know before trusting the numbers.
    pub warnings: Vec<String>,
}

/// One of the two.
#[derive(Clone, Debug, Serialize)]
pub struct Side {
    /// The file, or `this run`.
    pub name: String,
    /// The probe, where that is known.
    pub probe: Option<String>,
    /// The features, where they are known.
    pub features: Option<String>,
    /// The share of samples that it has right.
    pub accuracy: f64,
    /// Its standard error.
    pub standard_error: f64,
}

impl Side {
    fn new(name: &str, predictions: &Predictions) -> Self {
        let samples = predictions.labels.len();
        let pairs = predictions.labels.iter().zip(&predictions.predictions);
        let accuracy =
            pairs.filter(|(label, prediction)| label == prediction).count() as f64 / samples as f64;
        let about = predictions.about.as_ref();
        Self {
            name: plain(name),
            probe: about.map(|about| plain(&about.probe)),
            features: about.map(|about| plain(&about.features)),
            accuracy,
            standard_error: standard_error(accuracy, samples),
        }
    }
}

/// What tells of which samples predictions are.
pub(crate) struct Of<'a> {
    pub(crate) labels: &'a [i64],
    pub(crate) images_digest: Option<&'a str>,
}

/// Compares of which samples two are, with their names; what should be known where only labels tell.
///
/// # Errors
/// When their number, labels or images differ.
pub(crate) fn check_same(first: (&str, &Of), second: (&str, &Of)) -> Result<Option<String>> {
    let ((first_name, first), (second_name, second)) = (first, second);
    let other = |what| ProbeError::OtherSamples {
        first: first_name.to_string(),
        second: second_name.to_string(),
        what,
    };
    let (one, another) = (first.labels, second.labels);
    if one.len() != another.len() {
        return Err(other(format!("{} samples and {}", one.len(), another.len())));
    }
    if let Some(row) = (0..one.len()).find(|&row| one[row] != another[row]) {
        let (one, another) = (one[row], another[row]);
        return Err(other(format!("sample {row} has label {one} in the first and {another} in the second")));
    }
    match (first.images_digest, second.images_digest) {
        (Some(one), Some(another)) if one != another => {
            Err(other("they say that they are of different images".to_string()))
        }
        (Some(_), Some(_)) => Ok(None),
        _ => Ok(Some(
            "nothing says that both are of the same images in the same order but their labels, which agree"
                .to_string(),
        )),
    }
}

impl Comparison {
    /// Compares two predictions with their names.
    ///
    /// # Errors
    /// When they are not of the same samples, as far as their number, labels and images tell.
    pub fn new(first: (&str, &Predictions), second: (&str, &Predictions)) -> Result<Self> {
        let ((first_name, first), (second_name, second)) = (first, second);
        let samples = first.labels.len();
        let warnings = check_same((first_name, &first.of()), (second_name, &second.of()))?;
        let discordant = Discordant::of(&first.labels, &first.predictions, &second.predictions);
        let (one, another) = (Side::new(first_name, first), Side::new(second_name, second));
        let right =
            |predictions: &Predictions, row: usize| predictions.predictions[row] == predictions.labels[row];
        let both = (0..samples).filter(|&row| right(first, row) && right(second, row)).count();
        Ok(Self {
            samples,
            both,
            neither: samples - both - discordant.only_first - discordant.only_second,
            difference: one.accuracy - another.accuracy,
            difference_standard_error: discordant.standard_error(samples),
            first: one,
            second: another,
            discordant,
            warnings: warnings.into_iter().collect(),
        })
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Discordant { only_first, only_second, p_value } = &self.discordant;
        writeln!(f, "  compared on {} samples", self.samples)?;
        for side in [&self.first, &self.second] {
            let of = match (&side.probe, &side.features) {
                (Some(probe), Some(features)) => format!(" ({probe} on {features})"),
                _ => String::new(),
            };
            writeln!(f, "    {:16}  {}{of}", share(side.accuracy, side.standard_error), side.name)?;
        }
        let (difference, error) = (100.0 * self.difference, 100.0 * self.difference_standard_error);
        writeln!(f, "    {difference:+6.2} % ± {error:<5.2}  difference")?;
        writeln!(
            f,
            "    both right {}, neither {}, only the first {only_first}, only the second {only_second}",
            self.both, self.neither
        )?;
        writeln!(f, "    p = {} (McNemar's exact test, two-sided)", p(*p_value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_of_the_same_samples_is_refused() {
        let of = |labels: &[i64]| Predictions {
            labels: labels.to_vec(),
            predictions: vec![1; labels.len()],
            about: None,
        };
        let compared = |first: &[i64], second: &[i64]| {
            Comparison::new(("a.csv", &of(first)), ("b.csv", &of(second))).map_err(|error| error.to_string())
        };
        for (second, wanted) in [
            (&[1, 2][..], "3 samples and 2"),
            (&[1, 3, 2], "sample 1 has label 2 in the first and 3 in the second"),
        ] {
            let error = compared(&[1, 2, 2], second).expect_err("others");
            assert!(
                error.starts_with(&format!(
                    "a.csv and b.csv are not predictions of the same samples: {wanted};"
                )),
                "{error}"
            );
        }
        let same = compared(&[1, 2, 2], &[1, 2, 2]).expect("the same");
        assert_eq!((same.both, same.neither, same.discordant.p_value, same.difference), (1, 2, 1.0, 0.0));
        assert_eq!(same.warnings.len(), 1);
    }
}
