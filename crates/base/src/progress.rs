//! How far something is, on stderr: a bar on a terminal, plain lines elsewhere.

use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::stderr::tell;
use crate::text::plain;
use crate::verbosity::is_quiet;

/// Time between plain lines.
const PLAIN_INTERVAL: Duration = Duration::from_secs(30);

/// What a task counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Bytes, with their rate.
    Bytes,
    /// Images, with their rate.
    Images,
    /// Something that means nothing to the reader: its share is shown.
    Share,
}

/// A bar, or the plain lines in its place. Counted from any thread; dropped, the bar disappears.
#[derive(Debug)]
pub struct Progress {
    bar: Option<ProgressBar>,
    quiet: bool,
    last_line: Mutex<Instant>,
}

impl Progress {
    /// A job that says by itself how far it is ([`Progress::show`]), of `total` units; without a terminal every 30
    /// seconds. Where `quiet`, or with `-q`, it says nothing.
    pub fn job(total: u64, quiet: bool) -> Progress {
        let quiet = quiet || is_quiet();
        let bar = (!quiet && is_terminal()).then(|| {
            let target = ProgressDrawTarget::stderr_with_hz(4);
            let bar = ProgressBar::with_draw_target(Some(total), target);
            bar.with_style(style("{prefix}{wide_bar:.cyan/blue} {msg}"))
        });
        Progress { bar, quiet, last_line: Mutex::new(Instant::now()) }
    }

    /// A task called `what` of `total` units, if that is known. Without a terminal, its name is all that is said; with
    /// `-q`, nothing is.
    pub fn task(what: &str, total: Option<u64>, unit: Unit) -> Progress {
        let bar = match total {
            _ if is_quiet() => None,
            _ if !is_terminal() => {
                tell(plain(what));
                None
            }
            Some(total) => Some(ProgressBar::new(total).with_style(style(match unit {
                Unit::Bytes => "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
                Unit::Images => "{msg} {wide_bar} {human_pos}/{human_len} {per_sec} {eta}",
                Unit::Share => "{msg} {wide_bar} {percent} %  {eta} left",
            }))),
            None => {
                Some(ProgressBar::new_spinner().with_style(style("{spinner} {msg}  {pos} steps  {elapsed}")))
            }
        };
        if let Some(bar) = &bar {
            bar.set_message(plain(what));
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        Progress { bar, quiet: is_quiet(), last_line: Mutex::new(Instant::now()) }
    }

    /// Stands at `done` units.
    pub fn set(&self, done: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(done);
        }
    }

    /// Adds to what is done.
    pub fn advance(&self, units: u64) {
        if let Some(bar) = &self.bar {
            bar.inc(units);
        }
    }

    /// Stands at `done` units, with a text before and one behind the bar; a plain line has both.
    pub fn show(&self, done: u64, before: &str, behind: impl FnOnce() -> String) {
        let separator = if before.is_empty() { "" } else { " " };
        if let Some(bar) = &self.bar {
            bar.set_prefix(format!("{before}{separator}"));
            bar.set_message(behind());
            bar.set_position(done);
            return;
        }
        let mut last = self.last_line.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.quiet && last.elapsed() >= PLAIN_INTERVAL {
            *last = Instant::now();
            tell(format_args!("{before}{separator}{}", behind()));
        }
    }

    /// Writes a line of its own, above the bar where there is one.
    pub fn line(&self, text: &str) {
        match &self.bar {
            _ if self.quiet => {}
            Some(bar) => bar.suspend(|| tell(text)),
            None => tell(text),
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}

/// The shortest time that tells a speed: less is that of a clock, not of a job.
const SHORTEST: Duration = Duration::from_micros(1);

/// Units per second; none where nothing was done, or in no time that can be measured.
pub fn rate(done: f64, spent: Duration) -> Option<f64> {
    (done > 0.0 && spent >= SHORTEST).then(|| done / spent.as_secs_f64())
}

/// A rate as it is shown: `12.3`, or `-` where it is not known yet.
pub fn shown_rate(rate: Option<f64>) -> String {
    rate.map_or_else(|| "-".to_string(), |rate| format!("{rate:.1}"))
}

/// How long the rest takes after `done` of `total` units took `spent`: `3m left`, or `- left` where nothing tells.
pub fn left(spent: Duration, done: u64, total: u64) -> String {
    if done < total && rate(done as f64, spent).is_none() {
        return "- left".to_string();
    }
    let rest = spent.as_secs_f64() / done.max(1) as f64 * total.saturating_sub(done) as f64;
    let rest = HumanDuration(Duration::try_from_secs_f64(rest).unwrap_or(Duration::MAX));
    format!("{rest:#} left")
}

fn is_terminal() -> bool {
    std::io::stderr().is_terminal()
}

/// The style of a template, which is one of those above.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_takes_as_long_as_what_is_done() {
        assert_eq!(left(Duration::from_secs(60), 1, 4), "3m left");
        assert_eq!(left(Duration::from_secs(60), 4, 4), "0s left");
        assert_eq!(left(Duration::ZERO, 4, 4), "0s left");
        assert!(left(Duration::MAX, 1, u64::MAX).ends_with(" left"));
    }

    #[test]
    fn no_time_tells_no_rate() {
        assert_eq!(rate(64.0, Duration::from_secs(2)), Some(32.0));
        for (done, spent) in
            [(64.0, Duration::ZERO), (64.0, Duration::from_nanos(1)), (0.0, Duration::from_secs(1))]
        {
            assert_eq!(rate(done, spent), None, "{done} in {spent:?}");
        }
        assert_eq!((shown_rate(Some(31.96)), shown_rate(None)), ("32.0".to_string(), "-".to_string()));
        for (spent, done) in [(Duration::ZERO, 0), (Duration::ZERO, 2), (Duration::from_secs(9), 0)] {
            assert_eq!(left(spent, done, 4), "- left", "{done} in {spent:?}");
        }
    }

    #[test]
    fn all_templates_are_understood() {
        for template in [
            "{prefix}{wide_bar:.cyan/blue} {msg}",
            "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
            "{msg} {wide_bar} {human_pos}/{human_len} {per_sec} {eta}",
            "{msg} {wide_bar} {percent} %  {eta} left",
            "{spinner} {msg}  {pos} steps  {elapsed}",
        ] {
            ProgressStyle::with_template(template).expect("a template");
        }
    }

    #[test]
    fn a_quiet_job_computes_no_text() {
        let progress = Progress::job(3, true);
        *progress.last_line.lock().expect("alone") = Instant::now() - 2 * PLAIN_INTERVAL;
        progress.show(1, "epoch 1/2", || unreachable!("nobody reads it"));
        progress.line("unread");
        assert!(progress.bar.is_none());
    }
}
