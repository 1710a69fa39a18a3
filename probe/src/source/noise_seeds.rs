//! Feature files of one job with several seeds, whose noise and crops differ and nothing else.

use ddae_store::{FeatureFile, Pairing};
use serde::Serialize;

use super::ProbeSource;
use super::samples::Samples;
use crate::error::{ProbeError, Result};

/// The seeds of a pair of files: of the noise and the crops of its features.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct NoiseSeed {
    /// Of the training features.
    pub train: u64,
    /// Of the test features.
    pub test: u64,
}

/// The seeds of several pairs of files, which differ in them alone.
///
/// # Errors
/// When files are not of `ddae-infer` or do not say their seed, nothing in them is drawn, two have the same seed, or they
/// differ in something else, which is named.
pub(crate) fn check(sources: &[ProbeSource]) -> Result<Vec<NoiseSeed>> {
    let train = of_side(sources.iter().map(|source| &source.train).collect(), true)?;
    let test = of_side(sources.iter().map(|source| &source.test).collect(), false)?;
    Ok(train.into_iter().zip(test).map(|(train, test)| NoiseSeed { train, test }).collect())
}

/// The seeds of the files of one side, of which those that are learned from are drawn.
fn of_side(samples: Vec<&Samples>, is_drawn: bool) -> Result<Vec<u64>> {
    let refuse = |reason: String| Err(ProbeError::Usage(reason));
    let mut known: Vec<(u64, &FeatureFile)> = Vec::new();
    for samples in samples {
        let origin = samples.origin();
        let Some(file) = samples.file() else {
            return refuse(format!(
                "several files are those of one job with several seeds, and {origin} does not say its seed: only files of \
                 ddae-infer do"
            ));
        };
        let Some(seed) = file.provenance().seed else {
            return refuse(format!("{origin} does not say its seed: extract it again"));
        };
        let draws = !matches!(file.provenance().noise_stream, Some(None));
        if !draws && is_drawn {
            return refuse(format!(
                "nothing in the features of {origin} is drawn, so that all seeds give the same: one file is enough"
            ));
        }
        if let Some((_, first)) = known.first() {
            if let Some(difference) = first.layout().difference(file.layout(), Pairing::Seeds) {
                let (first, second) = (first.path().to_path_buf(), file.path().to_path_buf());
                return Err(ProbeError::Mismatch { first, second, difference });
            }
            if first.indices()? != file.indices()? || first.labels()? != file.labels()? {
                return refuse(format!(
                    "{} and {origin} hold other images or labels, and are to differ in their noise alone",
                    first.path().display()
                ));
            }
        }
        if let Some((_, same)) = known.iter().find(|(other, _)| *other == seed && draws) {
            return refuse(format!(
                "{} and {origin} have the same seed, {seed}: extract one of them with another --seed",
                same.path().display()
            ));
        }
        known.push((seed, file));
    }
    Ok(known.into_iter().map(|(seed, _)| seed).collect())
}
