//! The processes of a job: started, watched, killed, waited for.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::moment::{At, Moment};
use super::shim::{Calls, Progress, Shim};
use crate::cargo::ending;
use crate::interrupt;

/// Between two looks at running processes.
const PAUSE: Duration = Duration::from_millis(1);
/// Longer than any job takes.
const LIMIT: Duration = Duration::from_secs(300);
/// When ranks that still wait for one that was killed are asked to end. Those that have met end by themselves before, since they miss
/// it after 5 s (`--rank-timeout`).
const ASKED: Duration = Duration::from_secs(12);
/// How long the others may go on after a rank was killed, or on a full disk.
pub const FAREWELL: Duration = Duration::from_secs(60);

/// A process that has ended.
#[derive(Debug)]
pub struct End {
    /// How.
    pub status: ExitStatus,
    /// What it wrote on stderr.
    pub stderr: String,
    /// Whether it was asked to end, since it waited for a rank that was killed before they had met.
    pub was_asked: bool,
}

/// How a job ended: the process that was started, or its ranks.
#[derive(Debug)]
pub struct Ended {
    /// Its processes.
    pub ends: Vec<End>,
    /// What they did to the folder of the job.
    pub calls: Calls,
    /// How long it ran.
    pub duration: Duration,
    /// Whether something was done to it: a process killed, or a call that failed for want of room.
    pub is_struck: bool,
    /// Whether a process was still there [`FAREWELL`] after it, and was ended.
    pub lingered: bool,
}

impl Ended {
    /// Whether all of it succeeded.
    pub fn is_success(&self) -> bool {
        self.ends.iter().all(|end| end.status.success())
    }

    /// What all processes wrote on stderr.
    pub fn stderr(&self) -> String {
        self.ends.iter().map(|end| end.stderr.as_str()).collect()
    }

    /// How the first process ended that failed, and its last words.
    pub fn failure(&self) -> String {
        let failed = self.ends.iter().find(|end| !end.status.success());
        failed.map_or("nothing failed".to_string(), |end| {
            format!("{}: {}", ending(end.status), last_line(&end.stderr))
        })
    }

    /// # Errors
    /// When a process failed.
    pub fn expect_success(&self, line: &str) -> Result<()> {
        if !self.is_success() {
            bail!("{line}: {}", self.failure());
        }
        Ok(())
    }
}

/// A process at work, which does not outlive this.
struct Running {
    child: Child,
    status: Option<ExitStatus>,
    was_asked: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        // After its end both do nothing.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs the `commands` of a job, told in a `line`, until all of its processes have ended, and does at a moment what the shim does
/// not. What they say goes to files in `folder`.
pub fn run(
    shim: &Shim,
    commands: Vec<Command>,
    line: &str,
    folder: &Path,
    moment: Option<Moment>,
) -> Result<Ended> {
    let is_alone = commands.len() == 1;
    let begun = Instant::now();
    // Files, since nobody reads pipes while the programs run.
    let said = |number: usize| folder.join(format!("stderr.{number}"));
    let mut running = Vec::new();
    for (number, mut command) in commands.into_iter().enumerate() {
        let path = said(number);
        let stderr = File::create(&path).with_context(|| path.display().to_string())?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
        let child = command.spawn().with_context(|| format!("cannot start {line}"))?;
        running.push(Running { child, status: None, was_asked: false });
    }
    let (mut struck, mut lingered): (Option<Instant>, bool) = (None, false);
    loop {
        for of in running.iter_mut().filter(|of| of.status.is_none()) {
            of.status = of.child.try_wait().with_context(|| format!("cannot wait for {line}"))?;
        }
        let is_over = running.iter().all(|of| of.status.is_some());
        let stragglers =
            |progress: Progress| progress.processes.into_iter().filter(move |of| shim.is_alive(*of));
        if moment.is_none() {
            if is_over {
                break;
            }
        } else {
            let progress = shim.progress()?;
            if struck.is_none() && (progress.is_struck || strikes(shim, &running, moment, begun, progress)) {
                struck = Some(Instant::now());
            }
            if is_over && stragglers(progress).next().is_none() {
                break;
            }
            if struck.is_some_and(|struck| struck.elapsed() > FAREWELL) {
                lingered = true;
                stragglers(progress).for_each(|process| send(process, Signal::KILL));
                break;
            }
            if struck.is_some_and(|struck| struck.elapsed() > ASKED) && progress.calls == 0 && !is_alone {
                // Rank 0 has not begun: it may wait for the other for ten minutes, and launchers ask such to end.
                for of in running.iter_mut().filter(|of| of.status.is_none() && !of.was_asked) {
                    send(of.child.id() as i32, Signal::TERM);
                    of.was_asked = true;
                }
            }
        }
        interrupt::check()?;
        if begun.elapsed() > LIMIT {
            bail!("{line}: still running after {} s", LIMIT.as_secs());
        }
        thread::sleep(PAUSE);
    }
    let duration = begun.elapsed();
    let mut ends = Vec::new();
    for (number, mut of) in running.into_iter().enumerate() {
        let path = said(number);
        if lingered {
            let _ = of.child.kill();
        }
        let status = of.child.wait().with_context(|| format!("cannot wait for {line}"))?;
        let stderr = fs::read(&path).with_context(|| path.display().to_string())?;
        let stderr = String::from_utf8_lossy(&stderr).into_owned();
        ends.push(End { status, stderr, was_asked: of.was_asked });
    }
    let calls = shim.calls()?;
    Ok(Ended { ends, calls, duration, is_struck: struck.is_some(), lingered })
}

/// Kills whom a moment is for whose time has come. Whether somebody was killed.
fn strikes(
    shim: &Shim,
    running: &[Running],
    moment: Option<Moment>,
    begun: Instant,
    progress: Progress,
) -> bool {
    let Some(Moment { at: At::Time(delay), rank }) = moment else { return false };
    if begun.elapsed() < delay {
        return false;
    }
    let first = running.first().filter(|of| of.status.is_none()).map(|of| of.child.id() as i32);
    let victim = match rank {
        None => first,
        Some(rank) => progress.processes.get(rank + 1).copied().filter(|process| shim.is_alive(*process)),
    };
    victim.into_iter().for_each(|process| send(process, Signal::KILL));
    victim.is_some()
}

fn send(process: i32, signal: Signal) {
    // One that ends meanwhile needs none.
    let _ = Pid::from_raw(process).map(|process| kill_process(process, signal));
}

/// The last line that says something.
pub fn last_line(text: &str) -> &str {
    text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no message")
}
