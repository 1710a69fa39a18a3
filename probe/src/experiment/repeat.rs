//! The same experiment with several seeds, of the probe and of the noise in its features.

use super::run::open_choice;
use super::{ExperimentPlan, Probe, Progress, run};
use crate::error::{ProbeError, Result};
use crate::report::{Repeats, Report};
use crate::source::{ProbeSource, noise_seeds};

/// [`run`] with `seeds` seeds, from that of the plan on, each with the probe that `probe_of` gives for it. The report is that
/// of the first, with the accuracies of all.
///
/// # Errors
/// As [`run`], and when nothing is drawn from several seeds: all would give the same.
pub fn repeat<P: Probe>(
    source: &ProbeSource,
    probe_of: impl Fn(u64) -> P,
    plan: &ExperimentPlan,
    seeds: u64,
    progress: &mut dyn Progress,
) -> Result<Report> {
    repeat_with_noise(std::slice::from_ref(source), probe_of, plan, seeds, progress)
}

/// The same on several sources that differ in the seed of their noise alone: each with each seed of the probe. The report is
/// that of the first source and seed, with the accuracies of all.
///
/// # Errors
/// As [`repeat`], and when sources differ in anything else or share a seed.
///
/// # Panics
/// Without a source.
pub fn repeat_with_noise<P: Probe>(
    sources: &[ProbeSource],
    probe_of: impl Fn(u64) -> P,
    plan: &ExperimentPlan,
    seeds: u64,
    progress: &mut dyn Progress,
) -> Result<Report> {
    let (noise_seeds, notes) =
        if sources.len() > 1 { noise_seeds::check(sources)? } else { (Vec::new(), Vec::new()) };
    if seeds > 1 {
        check_drawn(&sources[0], &probe_of(plan.seed), plan, seeds)?;
    }
    let mut first: Option<Report> = None;
    let (mut accuracies, mut features) = (Vec::new(), Vec::new());
    for source in sources {
        for number in 0..seeds.max(1) {
            let seed = plan.seed.wrapping_add(number);
            let next = run(source, &probe_of(seed), &ExperimentPlan { seed, ..plan.clone() }, progress)?;
            accuracies.push(next.accuracy);
            features.push(next.features.clone());
            match &mut first {
                None => first = Some(next),
                Some(report) => {
                    let new = next.warnings.into_iter();
                    let new: Vec<String> = new.filter(|warning| !report.warnings.contains(warning)).collect();
                    report.warnings.extend(new);
                }
            }
        }
    }
    let mut report = first.expect("a source");
    report.warnings.extend(notes);
    if accuracies.len() > 1 {
        let repeats = Repeats::new(plan.seed, accuracies, features).with_noise(noise_seeds);
        report.warnings.extend(repeats.disagreement());
        report.seeds = Some(repeats);
    }
    Ok(report)
}

/// Refuses several seeds where nothing is drawn: their deviation of 0 would say nothing.
fn check_drawn<P: Probe>(source: &ProbeSource, probe: &P, plan: &ExperimentPlan, seeds: u64) -> Result<()> {
    let candidates = if plan.features.is_empty() { source.available() } else { &plan.features };
    if probe.draws() || plan.shots.is_some() || open_choice(probe, plan, candidates.len()).is_some() {
        return Ok(());
    }
    Err(ProbeError::Usage(format!(
        "--seeds {seeds}: nothing is drawn here, so that all seeds give the same: leave out --seeds, or give --shots, or several \
         features to choose from on held-out samples"
    )))
}
