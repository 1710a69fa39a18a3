//! Feature files of one job with several seeds, whose noise and crops differ and nothing else.

use std::collections::BTreeSet;

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

/// The seeds of several pairs of files, which differ in them alone, and what to know of what was drawn with them.
///
/// # Errors
/// When files are not of `ddae-infer` or do not say their seed, nothing in them is drawn, two have the same seed, other
/// features are named of one than of another, some share latents and others do not, or they differ in something else,
/// which is named.
pub(crate) fn check(sources: &[ProbeSource]) -> Result<(Vec<NoiseSeed>, Vec<String>)> {
    let named = |source: &ProbeSource| {
        source.available().iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    };
    if let [first, others @ ..] = sources
        && let Some(other) = others.iter().find(|other| other.available() != first.available())
    {
        return Err(ProbeError::Usage(format!(
            "{} gives the features {} and {} gives {}: several files are to differ in their noise alone, so name the same \
             features of each",
            first.train.origin(),
            named(first),
            other.train.origin(),
            named(other)
        )));
    }
    let (train, of_train) = of_side(sources.iter().map(|source| &source.train).collect(), true)?;
    let (test, of_test) = of_side(sources.iter().map(|source| &source.test).collect(), false)?;
    let notes = of_train.into_iter().chain(of_test).collect();
    let seeds = train.into_iter().zip(test).map(|(train, test)| NoiseSeed { train, test }).collect();
    Ok((seeds, notes))
}

/// Whether the draws of latents vary with the seeds of files; a note where they are the same in all.
fn latents_of(known: &[(u64, &FeatureFile)]) -> Result<Option<String>> {
    let latents: Vec<&FeatureFile> =
        known.iter().map(|(_, file)| *file).filter(|file| file.provenance().draws_latents()).collect();
    // Latents by the way have the seed of their file, and so have others that say nothing else.
    let is_stored = |file: &&&FeatureFile| file.provenance().latents_seed.flatten().is_some();
    let Some(stored) = latents.iter().find(is_stored).filter(|_| known.len() > 1) else { return Ok(None) };
    let seeds: Vec<Option<u64>> =
        latents.iter().map(|file| file.provenance().effective_latents_seed()).collect();
    let different: BTreeSet<Option<u64>> = seeds.iter().copied().collect();
    if different.len() == 1 {
        return Ok(Some(format!(
            "copies, crops and flips of {} and the files beside it are those of one seed of their latents: only the model's \
             noise differs, and what the noise changes is underestimated",
            stored.path().display()
        )));
    }
    if different.len() < seeds.len() {
        return Err(ProbeError::Usage(format!(
            "some of the files beside {} share the seed of their latents and others do not: make all of latents of one seed, or \
             each of latents of its own",
            stored.path().display()
        )));
    }
    Ok(None)
}

/// The seeds of the files of one side, of which those that are learned from are drawn, and what to know of them.
fn of_side(samples: Vec<&Samples>, is_drawn: bool) -> Result<(Vec<u64>, Option<String>)> {
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
    let note = latents_of(&known)?;
    Ok((known.into_iter().map(|(seed, _)| seed).collect(), note))
}
