//! Progress on stderr: a bar on a terminal, plain lines elsewhere.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Time between plain lines.
const PLAIN_INTERVAL: Duration = Duration::from_secs(30);

/// Counts images, from any thread.
pub struct Progress {
    bar: Option<ProgressBar>,
    quiet: bool,
    /// Images in all.
    total: u64,
    /// Network calls for each.
    calls: u64,
    done: AtomicU64,
    begun: Instant,
    last_line: Mutex<Instant>,
}

impl Progress {
    /// For `total` images of `calls` network calls each.
    pub fn new(total: usize, calls: usize, quiet: bool) -> Progress {
        let (total, calls) = (total as u64, calls.max(1) as u64);
        let style = ProgressStyle::with_template("{wide_bar:.cyan/blue} {msg}");
        let bar = match style {
            Ok(style) if !quiet && std::io::stderr().is_terminal() => {
                let target = ProgressDrawTarget::stderr_with_hz(4);
                let bar = ProgressBar::with_draw_target(Some(total * calls), target);
                bar.set_style(style);
                Some(bar)
            }
            _ => None,
        };
        let now = Instant::now();
        Progress { bar, quiet, total, calls, done: AtomicU64::new(0), begun: now, last_line: Mutex::new(now) }
    }

    /// A network call for `images` is done.
    pub fn add(&self, images: usize) {
        let done = self.done.fetch_add(images as u64, Ordering::Relaxed) + images as u64;
        if let Some(bar) = &self.bar {
            bar.set_position(done);
            bar.set_message(self.message(done));
            return;
        }
        let mut last = self.last_line.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.quiet && last.elapsed() >= PLAIN_INTERVAL {
            *last = Instant::now();
            ddae_base::tell(self.message(done));
        }
    }

    fn message(&self, done: u64) -> String {
        let (total, images) = (self.total, done / self.calls);
        let seconds = self.begun.elapsed().as_secs_f64();
        let left = seconds / done.max(1) as f64 * (total * self.calls).saturating_sub(done) as f64;
        let left = HumanDuration(Duration::try_from_secs_f64(left).unwrap_or(Duration::MAX));
        let rate = done as f64 / self.calls as f64 / seconds.max(1e-9);
        format!("{images}/{total} images {rate:.1}/s {left:#} left")
    }

    /// Takes the bar away. Returns the seconds since the start.
    pub fn finish(&self) -> f64 {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        self.begun.elapsed().as_secs_f64()
    }
}
