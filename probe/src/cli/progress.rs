//! What a probe is doing, on stderr.

use ddae_base::progress::{self, Unit};
use ddae_probe::experiment::Progress;

/// Shows one task after the other.
#[derive(Default)]
pub struct Shown(Option<progress::Progress>);

impl Progress for Shown {
    fn begin(&mut self, what: &str, total: Option<u64>) {
        // The bar of the last task goes before the next one's comes.
        self.0 = None;
        self.0 = Some(progress::Progress::task(what, total, Unit::Share));
    }

    fn advance(&mut self, by: u64) {
        if let Some(task) = &self.0 {
            task.advance(by);
        }
    }
}
