//! Progress on stderr: a bar on a terminal, plain lines elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Counts pictures.
pub struct Progress {
    bar: ProgressBar,
    plain: bool,
    total: u64,
    done: u64,
    begun: Instant,
    last: Instant,
}

impl Progress {
    /// For `total` pictures.
    pub fn new(total: usize) -> Progress {
        let plain = !std::io::stderr().is_terminal();
        let bar = if plain { ProgressBar::hidden() } else { ProgressBar::new(total as u64) };
        let template = "{bar:32} {pos}/{len} pictures  {per_sec}  {eta} left";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        let now = Instant::now();
        Progress { bar, plain, total: total as u64, done: 0, begun: now, last: now }
    }

    /// `count` more are done.
    pub fn add(&mut self, count: usize) {
        self.done += count as u64;
        self.bar.set_position(self.done);
        if self.plain && self.last.elapsed() > Duration::from_secs(10) {
            self.last = Instant::now();
            let rate = self.rate();
            let left = (self.total - self.done.min(self.total)) as f64 / rate.max(1e-9);
            eprintln!("{}/{} pictures, {rate:.1}/s, {left:.0} s left", self.done, self.total);
        }
    }

    /// Pictures per second so far.
    pub fn rate(&self) -> f64 {
        self.done as f64 / self.begun.elapsed().as_secs_f64().max(1e-9)
    }

    /// Seconds since the start.
    pub fn seconds(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
