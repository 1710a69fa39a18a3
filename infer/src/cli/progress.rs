//! Images that have gone through the network.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use ddae_base::progress::{self, left, rate, shown_rate};

/// Counts images, from any thread.
pub struct Progress {
    shown: progress::Progress,
    /// Images in all.
    total: u64,
    /// Network calls for each.
    calls: u64,
    done: AtomicU64,
    begun: Instant,
}

impl Progress {
    /// For `total` images of `calls` network calls each.
    pub fn new(total: usize, calls: usize, quiet: bool) -> Progress {
        let (total, calls) = (total as u64, calls.max(1) as u64);
        let shown = progress::Progress::job(total * calls, quiet);
        Progress { shown, total, calls, done: AtomicU64::new(0), begun: Instant::now() }
    }

    /// A network call for `images` is done.
    pub fn add(&self, images: usize) {
        let done = self.done.fetch_add(images as u64, Ordering::Relaxed) + images as u64;
        self.shown.show(done, "", || {
            let (total, images, spent) = (self.total, done / self.calls, self.begun.elapsed());
            let rate = shown_rate(rate(done as f64 / self.calls as f64, spent));
            format!("{images}/{total} images {rate}/s {}", left(spent, done, total * self.calls))
        });
    }

    /// Takes the bar away. Returns the seconds since the start.
    pub fn finish(&self) -> f64 {
        self.shown.finish();
        self.begun.elapsed().as_secs_f64()
    }
}
