//! The same experiment with several seeds.

use super::run::open_choice;
use super::{ExperimentPlan, Probe, Progress, run};
use crate::error::{ProbeError, Result};
use crate::report::{Repeats, Report};
use crate::source::ProbeSource;

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
    let of_seed = |number: u64, progress: &mut dyn Progress| {
        let seed = plan.seed.wrapping_add(number);
        run(source, &probe_of(seed), &ExperimentPlan { seed, ..plan.clone() }, progress)
    };
    if seeds > 1 {
        check_drawn(source, &probe_of(plan.seed), plan, seeds)?;
    }
    let mut report = of_seed(0, progress)?;
    if seeds < 2 {
        return Ok(report);
    }
    let mut accuracies = vec![report.accuracy];
    let mut features = vec![report.features.clone()];
    for number in 1..seeds {
        let next = of_seed(number, progress)?;
        for warning in next.warnings {
            if !report.warnings.contains(&warning) {
                report.warnings.push(warning);
            }
        }
        accuracies.push(next.accuracy);
        features.push(next.features);
    }
    let repeats = Repeats::new(plan.seed, accuracies, features);
    report.warnings.extend(repeats.disagreement());
    report.seeds = Some(repeats);
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
