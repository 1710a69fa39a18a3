//! Jobs that are killed again and again, and what comes of it.

use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::compare;
use super::jobs::Job;
use super::moment::{At, Moment, Random};
use super::processes::{End, Ended, FAREWELL, last_line};
use super::scene::Scene;
use crate::interrupt;

/// Most kills of a job until it may end.
const CHAIN: u64 = 3;
/// Kills between two lines that say how far it is.
const TELL_EVERY: u64 = 50;

/// How long a campaign goes on.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// Kills, all jobs together.
    pub kills: u64,
    /// When no further job is begun.
    pub end: Option<Instant>,
}

/// What is known of a job, and what happened to it.
#[derive(Debug)]
pub struct Row {
    /// The job.
    pub job: Job,
    /// Kinds of the calls that the undisturbed job makes.
    pub kinds: Vec<u8>,
    /// How long it takes.
    pub duration: Duration,
    /// Kills.
    pub kills: u64,
    /// Starts after a kill.
    pub resumes: u64,
    /// What was found.
    pub failures: Vec<Failure>,
}

/// A fault, and how to find it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The job.
    pub job: Job,
    /// When it was killed, one time after the other.
    pub moments: Vec<Moment>,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.job.name(), self.what)
    }
}

impl Failure {
    /// The options of the command that does the same again.
    pub fn again(&self) -> String {
        let moments: Vec<String> = self.moments.iter().map(Moment::to_string).collect();
        format!("--job {} --at {}", self.job.name(), moments.join(","))
    }
}

impl Row {
    /// Makes the undisturbed result of a job, and counts its calls while it makes it again.
    pub fn begin(scene: &Scene, job: Job) -> Result<Row> {
        scene.prepare(job)?;
        let undisturbed = || -> Result<Ended> {
            scene.lay_out(job)?;
            let ended = scene.run(job, &job.start(), None)?;
            ended.expect_success(&job.start())?;
            Ok(ended)
        };
        undisturbed()?;
        scene.keep_result(job)?;
        let ended = undisturbed()?;
        if let Some(fault) = compare::same(&scene.work(), &scene.result(job))? {
            bail!("{}: two undisturbed runs differ: {fault}", job.start());
        }
        let (kinds, duration) = (ended.calls.kinds, ended.duration);
        Ok(Row { job, kinds, duration, kills: 0, resumes: 0, failures: Vec::new() })
    }

    /// Kills the job at these moments, one after the other, then lets it end. Ends at the first fault, and before a moment
    /// that the job does not reach.
    pub fn round(&mut self, scene: &Scene, moments: &[Moment]) -> Result<Option<Failure>> {
        scene.lay_out(self.job)?;
        let mut reached: Vec<Moment> = Vec::new();
        // What happened last, for whom it concerns.
        let mut after = String::new();
        for moment in moments.iter().copied().map(Some).chain([None]) {
            let outcome = self.proceed(scene, moment, !reached.is_empty())?;
            let fault = match outcome {
                Outcome::Killed(at) => {
                    self.kills += 1;
                    reached.extend(moment);
                    after = format!("{at}: ");
                    compare::left(&scene.work(), &scene.result(self.job), &self.others(scene))?
                        .map(|fault| format!("{fault} at once"))
                }
                Outcome::Ended => {
                    let fault = compare::same(&scene.work(), &scene.result(self.job))?;
                    if fault.is_none() {
                        return Ok(None);
                    }
                    fault.map(|fault| format!("{fault} after going on"))
                }
                Outcome::Failed(what) => Some(what),
            };
            if let Some(fault) = fault {
                let failure = Failure { job: self.job, moments: reached, what: format!("{after}{fault}") };
                self.failures.push(failure.clone());
                return Ok(Some(failure));
            }
        }
        Ok(None)
    }

    fn others(&self, scene: &Scene) -> Vec<std::path::PathBuf> {
        if self.job.has_shards() { vec![scene.shards()] } else { Vec::new() }
    }

    /// Starts the job or goes on with it, as the documentation and then the program itself say.
    fn proceed(&mut self, scene: &Scene, moment: Option<Moment>, was_killed: bool) -> Result<Outcome> {
        let mut added = if was_killed { self.job.go_on() } else { "" };
        let mut advice = self.job.advice().iter();
        loop {
            let line = format!("{} {added}", self.job.start());
            self.resumes += u64::from(was_killed);
            let ended = scene.run(self.job, &line, moment)?;
            // What was killed when it had ended was not killed.
            let is_struck = ended.is_struck && !ended.is_success();
            if let Some(moment) = moment.filter(|_| is_struck) {
                let at = place(moment, &ended);
                let is_done = || Ok(compare::same(&scene.work(), &scene.result(self.job))?.is_none());
                return Ok(match untold(self.job, moment, &ended, is_done)? {
                    None => Outcome::Killed(at),
                    Some(fault) => Outcome::Failed(format!("{at}: {fault}")),
                });
            }
            if ended.is_success() {
                return Ok(Outcome::Ended);
            }
            let stderr = ended.stderr();
            let advised = advice.find(|(words, _)| was_killed && stderr.contains(words));
            match advised {
                Some((_, option)) => added = option,
                None => return Ok(Outcome::Failed(format!("`{}`: {}", line.trim(), ended.failure()))),
            }
        }
    }
}

/// What was done to a job, in words.
fn place(Moment { at, rank }: Moment, ended: &Ended) -> String {
    let call = ended.calls.last.as_deref().unwrap_or("a call");
    let when = match at {
        At::Before(number) => format!("before call {number} ({call})"),
        At::After(number) => format!("after call {number} ({call})"),
        At::Time(time) => format!("after {} ms and {} calls", time.as_millis(), ended.calls.kinds.len()),
        At::Full(number) => return format!("without room on its disk from call {number} ({call}) on"),
    };
    match rank {
        Some(rank) => format!("without rank {rank}, killed {when}"),
        None => format!("killed {when}"),
    }
}

/// What is wrong with how a job ended to which something was done: it takes too long, does not say the true reason, or a rank passes for
/// successful although rank 0 ended before all `is_done`.
fn untold(
    job: Job,
    Moment { at, rank }: Moment,
    ended: &Ended,
    is_done: impl FnOnce() -> Result<bool>,
) -> Result<Option<String>> {
    if ended.lingered {
        return Ok(Some(format!("not all of its processes had ended {} s later", FAREWELL.as_secs())));
    }
    let is_success = |end: &End| end.status.success();
    let survivor =
        ended.ends.iter().position(is_success).filter(|_| !ended.ends.first().is_some_and(is_success));
    if let Some(survivor) = survivor
        && !is_done()?
    {
        return Ok(Some(format!("rank {survivor} ended with success, and rank 0 did not")));
    }
    let words = match (at, rank) {
        (At::Full(_), _) => "no space is left on its disk".to_string(),
        _ if job.ranks() == 0 => return Ok(None),
        // Nobody is left to tell that the process that starts ranks was killed; all must end.
        (At::Time(_), None) if !job.is_apart() => return Ok(None),
        (_, rank) => {
            // Only rank 0 writes.
            let lost = format!("error: rank {} of {} was", rank.unwrap_or(0), job.ranks());
            if job.is_apart() {
                format!("{lost} lost")
            } else {
                format!("{lost} ended by signal 9 (SIGKILL)")
            }
        }
    };
    // Advice is also a reason.
    if job.advice().iter().any(|(advice, _)| ended.stderr().contains(advice)) {
        return Ok(None);
    }
    // Who was killed, or asked to end, had nothing to say.
    let speaks = |end: &&End| !end.status.success() && !end.was_asked && end.status.signal() != Some(9);
    let silent = ended.ends.iter().filter(speaks).find(|end| !end.stderr.contains(&words));
    Ok(silent.map(|end| format!("the reason is not told: {}", last_line(&end.stderr))))
}

/// How a start ended.
enum Outcome {
    /// By a kill, and where.
    Killed(String),
    /// With success.
    Ended,
    /// Otherwise, and why.
    Failed(String),
}

/// Kills jobs in turn, at moments that depend on the seed.
pub fn run(scene: &Scene, rows: &mut [Row], seed: u64, extent: Extent) -> Result<()> {
    let kills = |rows: &[Row]| rows.iter().map(|row| row.kills).sum::<u64>();
    let (mut told, mut idle) = (0, 0);
    for number in 0.. {
        interrupt::check()?;
        let before = kills(rows);
        if before >= extent.kills || extent.end.is_some_and(|end| Instant::now() >= end) {
            break;
        }
        if before - told >= TELL_EVERY {
            told = before;
            let failures: usize = rows.iter().map(|row| row.failures.len()).sum();
            eprintln!("# {before} kills, {failures} failures");
        }
        let count = rows.len() as u64;
        let row = &mut rows[(number % count) as usize];
        let mut random = Random::new(seed, number);
        let chain = (1 + random.below(CHAIN)).min(extent.kills - before);
        let moments: Vec<Moment> = (0..chain)
            .map(|_| Moment::draw(&mut random, &row.kinds, row.duration, row.job.ranks()))
            .collect();
        if let Some(failure) = row.round(scene, &moments)? {
            eprintln!("failure: {failure}");
        }
        idle = if kills(rows) == before { idle + 1 } else { 0 };
        if idle > 20 * count {
            bail!("the jobs end before they can be killed");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::process::ExitStatus;

    use super::*;
    use crate::soak::shim::Calls;

    /// Ranks that ended with these states of the system, and what they said.
    fn ended(ends: [(i32, &str); 2]) -> Ended {
        let end = |(status, stderr): (i32, &str)| {
            let status = ExitStatus::from_raw(status);
            End { status, stderr: stderr.to_string(), was_asked: false }
        };
        let (calls, duration) = (Calls { kinds: Vec::new(), last: None }, Duration::from_secs(3));
        Ended { ends: ends.map(end).into(), calls, duration, is_struck: true, lingered: false }
    }

    #[test]
    fn a_rank_that_passes_for_successful_is_a_fault() {
        let moment = "r0:350ms".parse().expect("a moment");
        let untold = |second, is_done: bool| {
            let ended = ended([(9, ""), second]);
            untold(Job::RanksApart, moment, &ended, || Ok(is_done)).expect("a verdict")
        };
        let told = (1 << 8, "error: rank 0 of 2 was lost: no sign of life for 5 s");
        assert_eq!(untold(told, false), None);
        let fault = untold((0, ""), false);
        assert_eq!(fault.as_deref(), Some("rank 1 ended with success, and rank 0 did not"));
        assert_eq!(untold((0, ""), true), None, "rank 0 was killed when all was done");
        let fault = untold((1 << 8, "error: something else"), false);
        assert_eq!(fault.as_deref(), Some("the reason is not told: error: something else"));
    }
}
