//! How much slower training is while another process keeps one core busy.

use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

use super::Measure;
use super::figures::{Figure, parse};
use crate::cargo::run;
use crate::repository;

/// The most that a step may take of its time alone.
pub const BOUND: f64 = 2.5;

/// Seconds per image alone and beside another process, in rounds that take turns.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slowdown {
    alone: f64,
    beside: f64,
    threads: usize,
}

/// A process that does nothing else than keep a core busy; it ends with this value.
struct Busy(Child);

impl Busy {
    fn start() -> Result<Busy> {
        let mut shell = Command::new("sh");
        shell.args(["-c", "while :; do :; done"]).stdin(Stdio::null());
        Ok(Busy(shell.spawn().context("cannot start sh")?))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

/// Measures the training step of a small network, for which threads wait for each other most often.
pub fn measure(measure: &Measure) -> Result<Slowdown> {
    eprintln!("# Measuring training beside another process, {} rounds", measure.rounds);
    let program = measure.programs.path("step_speed")?;
    let step = || -> Result<(f64, usize)> {
        let mut command = Command::new(program);
        command.args([
            "--network",
            "small",
            "--work",
            "train",
            "--precision",
            "fp32",
            "--rounds",
            "1",
            "--json",
        ]);
        let printed = run(command.current_dir(repository()))?;
        let figures = parse(&printed, |figure: &Figure| figure.gflops_per_second)?;
        let step =
            figures.iter().find(|figure| figure.images_per_second.is_some()).context("no training step")?;
        Ok((step.images_per_second.unwrap_or(f64::NAN).recip(), step.threads))
    };
    let (mut alone, mut beside, mut threads) = (Vec::new(), Vec::new(), 0);
    for _ in 0..measure.rounds {
        let (seconds, of_step) = step()?;
        threads = of_step;
        alone.push(seconds);
        let _busy = Busy::start()?;
        beside.push(step()?.0);
    }
    Ok(Slowdown { alone: median(alone), beside: median(beside), threads })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The figures as text.
pub fn table(slowdown: &Slowdown) -> String {
    let Slowdown { alone, beside, threads } = slowdown;
    let ratio = beside / alone;
    let met = if ratio <= BOUND { "met" } else { "not met" };
    format!(
        "training a small network with {threads} threads, median of the rounds\n\
         \x20 alone                           {:8.1} images/s\n\
         \x20 beside one busy process         {:8.1} images/s, {ratio:.2} times as long (at most {BOUND}: {met})",
        alone.recip(),
        beside.recip(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_is_held_against_the_bound() {
        let told = table(&Slowdown { alone: 0.01, beside: 0.02, threads: 2 });
        assert!(
            told.contains("100.0 images/s\n")
                && told.contains("50.0 images/s, 2.00 times as long (at most 2.5: met)")
        );
        let told = table(&Slowdown { alone: 0.01, beside: 0.6, threads: 2 });
        assert!(told.ends_with("60.00 times as long (at most 2.5: not met)"), "{told}");
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
    }
}
